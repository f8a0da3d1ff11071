"""Reads ILSVRC 2012 as image-net.org distributes it: a tar of 1,000 tars for training, a tar of validation images.

    >>> read_imagenet(Path("downloads"))["train"].classes[0]      # doctest: +SKIP
    'tench, Tinca tinca'

One folder holds these files, which are never unpacked:

- `ILSVRC2012_img_train.tar`: each member, such as `n01440764.tar`, holds the images of one class;
- `ILSVRC2012_img_val.tar`, and `val.txt` with its labels: one line for each image, such as
  `ILSVRC2012_val_00000001.JPEG 65`, with the number of the class (WordNet ids in alphabetical order, from 0) or its
  WordNet id. Caffe's `caffe_ilsvrc12.tar.gz` contains this file.

One of the two tars is enough.
"""

import tarfile
from pathlib import Path

import numpy as np

from squeezenet.data.classes import Stated, number_classes, state
from squeezenet.data.examples import Examples
from squeezenet.data.shards import Shard, ShardImages, members
from squeezenet.errors import DataError
from squeezenet.files import open_regular
from squeezenet.formats.imagenet import imagenet_ids, imagenet_labels
from squeezenet.formats.label_file import read_labels
from squeezenet.printable import printable
from squeezenet.runtime.folders import is_image

TRAIN = "ILSVRC2012_img_train.tar"
VALIDATION = "ILSVRC2012_img_val.tar"
TRUTH = "val.txt"

_Place = tuple[str, int, int]  # name, offset, size


def is_imagenet(folder: Path) -> bool:
    """Whether the tars of ILSVRC 2012 lie in `folder`."""
    return (folder / TRAIN).is_file() or (folder / VALIDATION).is_file()


def read_imagenet(folder: Path) -> dict[str, Examples]:
    """The splits whose tars exist. Raises `DataError` for a damaged tar, or a validation image without a label."""
    shards = {}
    ids: tuple[str, ...] = ()
    if (folder / TRAIN).is_file():
        shards["train"] = _training(folder / TRAIN)
        assert shards["train"].labels is not None
        ids = shards["train"].labels.names
    if (folder / VALIDATION).is_file():
        shards["validation"] = _validation(folder / VALIDATION, folder / TRUTH, ids or imagenet_ids())
    for shard in shards.values():
        if not len(shard.offsets):
            raise DataError(f"{shard.path}: has no images; download it again")
    classes, labels = number_classes({split: shard.labels for split, shard in shards.items()}, ids or imagenet_ids())
    names = imagenet_labels() if len(classes) == len(imagenet_labels()) else classes
    # One shard for all: the tar is sorted by class, and images are shuffled only within a shard.
    return {
        split: Examples(str(shard.path), ShardImages([shard]), labels[split], names) for split, shard in shards.items()
    }


def _training(path: Path) -> Shard:
    places: dict[str, list[_Place]] = {}
    with open_regular(path) as file:
        for outer in members(path, file):
            if outer.name.endswith(".tar"):
                inner = members(path / outer.name, file, outer.offset_data, outer.size)
                places[Path(outer.name).stem] = [_place(m) for m in inner if is_image(m.name)]
    ids = tuple(sorted(places))
    codes = np.repeat(np.arange(len(ids)), [len(places[name]) for name in ids])
    return _shard(path, [place for name in ids for place in places[name]], Stated(codes, ids, str(path), "name"))


def _validation(path: Path, truth: Path, ids: tuple[str, ...]) -> Shard:
    try:
        lines = [line.split() for line in read_labels(truth)]
        told = {Path(name).name: label for name, label in lines}
    except FileNotFoundError:
        raise DataError(
            f"{truth}: not found; this file must have the labels of {VALIDATION}, one 'NAME LABEL' per line"
        ) from None
    except ValueError:
        raise DataError(f"{truth}: has a line that is not 'NAME LABEL'; Caffe's val.txt is an example") from None
    with open_regular(path) as file:
        places = [_place(m) for m in members(path, file) if is_image(m.name)]
    missing = next((name for name, _, _ in places if Path(name).name not in told), None)
    if missing is not None:
        raise DataError(f"{truth}: has no line for {printable(missing)}; it belongs to another data set")
    labels = [told[Path(name).name] for name, _, _ in places]
    numbered = all(label.isdecimal() for label in labels)
    return _shard(path, places, state(labels, str(truth), "number" if numbered else "name"))


def _place(member: tarfile.TarInfo) -> _Place:
    return member.name, member.offset_data, member.size


def _shard(path: Path, places: list[_Place], labels: Stated) -> Shard:
    keys = tuple(name for name, _, _ in places)
    offsets, sizes = (np.array([place[i] for place in places], np.int64) for i in (1, 2))
    return Shard(path, keys, offsets, sizes, labels)
