"""The examples of a data set that a user names: `digits`, a folder, Parquet files, shards, or an id on the hub.

>>> data = load_data("digits")
>>> len(data.train), len(data.validation)
(1438, 359)
"""

import glob
import re
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from PIL import Image

from squeezenet.data.classes import as_in_training
from squeezenet.data.examples import Data, Examples, split
from squeezenet.data.folders import read_folder
from squeezenet.data.imagenet import is_imagenet, read_imagenet
from squeezenet.data.splits import split_of
from squeezenet.data.webdataset import expand, read_webdataset
from squeezenet.errors import NoSuchData
from squeezenet.runtime.folders import is_litter

STORED = (".parquet", ".tar")
PACKED = (".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2", ".tgz")  # their reader refuses them and says why
HELD_OUT = 10
"""Where a source has no splits, one image in `HELD_OUT` is held out for validation."""


def load_data(source: str, validation: str | None = None, seed: int = 0) -> Data:
    """The training set and the validation set of `source`; no image is decoded yet.

    The validation set is the source `validation` where it is given, else the validation split of `source`, else 10% of
    every class, chosen by `seed`. Raises `DataError` if nothing is there, or if validation has other classes.
    """
    splits = load_splits(source)
    train = splits.get("train", next(iter(splits.values())))
    if validation is not None:
        return Data(train, as_in_training(load_evaluation(validation), train))
    if "validation" in splits and "train" in splits:
        return Data(train, as_in_training(splits["validation"], train))
    return split(train, HELD_OUT, seed)


def load_evaluation(source: str) -> Examples:
    """The validation split where the source has one, else all images. Raises `DataError`."""
    splits = load_splits(source)
    return splits.get("validation", next(iter(splits.values())))


def load_splits(source: str) -> dict[str, Examples]:
    """The splits of `source`: "train", "validation", or both, or "all". Raises `DataError` if nothing is there."""
    path = Path(source)
    if source == "digits" and not path.exists():
        return _digits()
    if path.is_dir():
        return read_imagenet(path) if is_imagenet(path) else _stored(_files(path)) or read_folder(path)
    if path.is_file():
        if found := _stored([path]):
            return found
        raise NoSuchData(f"{source}: is one file; accepted are {NoSuchData.ACCEPTED}")
    if path.exists():
        raise NoSuchData(f"{source}: is a pipe or a device, not a file; save its contents to a file first")
    named = sorted(Path(p) for p in glob.glob(source, recursive=True))
    if found := _stored(named or (expand(source) if "{" in source else [])):
        return found
    # "owner/name" is a path where the working folder has a folder `owner`, else an id on the hub.
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) and not path.parent.is_dir() and path.suffix not in STORED:
        from squeezenet.data.hub import read_hub

        return read_hub(source)
    beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    near = get_close_matches(path.name, [*beside, "digits"], n=1)
    hint = f"did you mean {near[0]}?" if near else f"accepted are {NoSuchData.ACCEPTED}"
    raise NoSuchData(f"{source}: no such file or folder; {hint}")


def _files(folder: Path) -> list[Path]:
    """All Parquet files below `folder`; without any, the shards in it and in its folders named train, val and so on."""
    depth = len(folder.parts)
    files = [p for p in folder.rglob("*.parquet") if not any(map(is_litter, p.parts[depth:]))]
    shards = [*folder.glob("[!.]*.tar"), *(p for p in folder.glob("[!.]*/[!.]*.tar") if split_of(p) != "all")]
    return sorted(files or shards)


def _stored(paths: list[Path]) -> dict[str, Examples]:
    """The splits of the Parquet files among `paths`, else of the shards; empty if there are neither."""
    if files := [path for path in paths if path.suffix == ".parquet"]:
        from squeezenet.data.parquet import read_parquet  # importing pyarrow takes time

        return read_parquet(files)
    shards = [path for path in paths if path.suffix == ".tar" or path.name.endswith(PACKED)]
    return read_webdataset(shards) if shards else {}


def _digits() -> dict[str, Examples]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels from 0 to 16. One in five of a class is for validation."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    everything = Examples("digits", [Image.fromarray(g) for g in grey], labels, tuple("0123456789"))
    data = split(everything, 5, seed=0)  # always the same, so that accuracies can be compared
    return {"train": data.train, "validation": data.validation}
