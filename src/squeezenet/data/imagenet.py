"""ILSVRC 2012 as image-net.org hands it out: a tar of 1,000 tars to train on, a tar of images to judge by.

    >>> read_imagenet(Path("downloads"))["train"].classes[0]      # doctest: +SKIP
    'tench, Tinca tinca'

Expected in one folder, never unpacked:

- `ILSVRC2012_img_train.tar`, of which each member `n01440764.tar` holds the images of one class;
- `ILSVRC2012_img_val.tar`, and `val.txt` with its labels, because the tar has none: a line an image, as in
  `ILSVRC2012_val_00000001.JPEG 65`, with the number of the class (WordNet ids in alphabetical order, from 0) or its
  WordNet id. Caffe's `caffe_ilsvrc12.tar.gz` has it.

Either of the two will do.
"""

import tarfile
from pathlib import Path

import numpy as np

from squeezenet.data.examples import Examples
from squeezenet.data.folders import SUFFIXES
from squeezenet.data.webdataset import Shard, ShardImages, members
from squeezenet.errors import DataError
from squeezenet.formats.imagenet import imagenet_labels

TRAIN = "ILSVRC2012_img_train.tar"
VALIDATION = "ILSVRC2012_img_val.tar"
TRUTH = "val.txt"


def is_imagenet(folder: Path) -> bool:
    """Whether the tars of ILSVRC 2012 lie in `folder`."""
    return (folder / TRAIN).is_file() or (folder / VALIDATION).is_file()


def read_imagenet(folder: Path) -> dict[str, Examples]:
    """The splits whose tars are there. Raises `DataError` if one is damaged, or a label of validation is missing."""
    found = {}
    ids: tuple[str, ...] = ()
    if (folder / TRAIN).is_file():
        shard, ids = _training(folder / TRAIN)
        found["train"] = _examples(shard, ids)
    if (folder / VALIDATION).is_file():
        shard, ids = _validation(folder / VALIDATION, folder / TRUTH, ids)
        found["validation"] = _examples(shard, ids)
    return found


def _examples(shard: Shard, ids: tuple[str, ...]) -> Examples:
    if not len(shard.offsets):
        raise DataError(f"{shard.path}: no images found; fetch it again")
    classes = imagenet_labels() if len(ids) == len(imagenet_labels()) else ids
    # All of it is one shard: classes lie one after the other, so that no smaller window would mix them.
    return Examples(str(shard.path), ShardImages([shard]), shard.labels, classes)


def _training(path: Path) -> tuple[Shard, tuple[str, ...]]:
    places: dict[str, list[tuple[str, int, int]]] = {}
    with path.open("rb") as file:
        for outer in members(path, file):
            if outer.name.endswith(".tar"):
                inner = members(path / outer.name, file, outer.offset_data, outer.size)
                places[Path(outer.name).stem] = [(m.name, m.offset_data, m.size) for m in inner if _is_image(m)]
    ids = tuple(sorted(places))
    labels = np.repeat(np.arange(len(ids)), [len(places[name]) for name in ids])
    return _shard(path, [place for name in ids for place in places[name]], labels), ids


def _validation(path: Path, truth: Path, ids: tuple[str, ...]) -> tuple[Shard, tuple[str, ...]]:
    try:
        lines = [line.split() for line in truth.read_text(encoding="utf-8").splitlines() if line.strip()]
        told = {Path(name).name: label for name, label in lines}
    except FileNotFoundError:
        raise DataError(f"{truth}: not found; the labels of {VALIDATION} are expected there, as 'NAME LABEL'") from None
    except (ValueError, UnicodeDecodeError):
        raise DataError(f"{truth}: a line is not 'NAME LABEL'; see Caffe's val.txt") from None
    with path.open("rb") as file:
        places = [(m.name, m.offset_data, m.size) for m in members(path, file) if _is_image(m)]
    missing = next((name for name, _, _ in places if Path(name).name not in told), None)
    if missing is not None:
        raise DataError(f"{truth}: has no line for {missing}; it belongs to another data set")
    labels = [told[Path(name).name] for name, _, _ in places]
    if not all(label.isdecimal() for label in labels):
        ids = ids or tuple(sorted(set(labels)))
        number = {name: str(index) for index, name in enumerate(ids)}
        if unknown := next((label for label in labels if label not in number), None):
            raise DataError(f"{truth}: {unknown} is none of the {len(ids)} classes; it belongs to another data set")
        labels = [number[label] for label in labels]
    numbers = np.array(labels, np.int64)
    ids = ids or tuple(str(i) for i in range(max(int(numbers.max(initial=-1)) + 1, 0)))
    return _shard(path, places, numbers), ids


def _shard(path: Path, places: list[tuple[str, int, int]], labels: np.ndarray) -> Shard:
    keys = tuple(name for name, _, _ in places)
    offsets, sizes = (np.array([place[i] for place in places], np.int64) for i in (1, 2))
    return Shard(path, keys, offsets, sizes, labels.astype(np.int64))


def _is_image(member: tarfile.TarInfo) -> bool:
    return member.name.lower().endswith(SUFFIXES)
