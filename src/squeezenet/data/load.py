"""From what the user names to examples: `digits`, a folder, Parquet files, shards, or an id on the Hugging Face hub.

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
from squeezenet.data.suffixes import is_litter
from squeezenet.data.webdataset import expand, read_webdataset
from squeezenet.errors import NoSuchData

ACCEPTED = (
    "a folder of class folders, Parquet files, WebDataset shards, a folder with ImageNet's tars, 'digits', "
    "or owner/name on the Hugging Face hub"
)
STORED = (".parquet", ".tar")
PACKED = (".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2", ".tgz")  # refused where they are read, with the reason
HELD_OUT = 10
"""One image in ten is set aside for validation where a source has no splits."""


def load_data(source: str, validation: str | None = None, seed: int = 0) -> Data:
    """Images to train on and images to judge by; nothing is decoded yet.

    A source without splits gives 10% of every class to validation, chosen by `seed`, unless `validation` names
    another source. Raises `DataError` if nothing is there, or if validation has classes that training lacks.
    """
    splits = load_splits(source)
    train = splits.get("train", next(iter(splits.values())))
    if validation is not None:
        return Data(train, as_in_training(load_evaluation(validation), train))
    if "validation" in splits and "train" in splits:
        return Data(train, as_in_training(splits["validation"], train))
    return split(train, HELD_OUT, seed)


def load_evaluation(source: str) -> Examples:
    """Images to judge by: the validation split where the source has one, else everything. Raises `DataError`."""
    splits = load_splits(source)
    return splits.get("validation", next(iter(splits.values())))


def load_splits(source: str) -> dict[str, Examples]:
    """What `source` has: "train" and "validation", one of them, or "all". Raises `DataError` if nothing is there."""
    path = Path(source)
    if source == "digits" and not path.exists():
        return _digits()
    if path.is_dir():
        return read_imagenet(path) if is_imagenet(path) else _stored(_files(path)) or read_folder(path)
    if path.is_file():
        if found := _stored([path]):
            return found
        raise NoSuchData(f"{source}: is one file; accepted are {ACCEPTED}")
    if path.exists():
        raise NoSuchData(f"{source}: is a pipe or a device, not a file; save its contents to a file first")
    named = sorted(Path(p) for p in glob.glob(source, recursive=True))
    if found := _stored(named or (expand(source) if "{" in source else [])):
        return found
    # "owner/name" is a path like any other as long as there is such a folder beside us.
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) and not path.parent.is_dir() and path.suffix not in STORED:
        from squeezenet.data.hub import read_hub

        return read_hub(source)
    beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    near = get_close_matches(path.name, [*beside, "digits"], n=1)
    hint = f"did you mean {near[0]}?" if near else f"accepted are {ACCEPTED}"
    raise NoSuchData(f"{source}: no such file or folder; {hint}")


def _files(folder: Path) -> list[Path]:
    """Parquet files anywhere below `folder`, else shards in it or in its folders called train, val and so on."""
    depth = len(folder.parts)
    files = [p for p in folder.rglob("*.parquet") if not any(map(is_litter, p.parts[depth:]))]
    shards = [*folder.glob("[!.]*.tar"), *(p for p in folder.glob("[!.]*/[!.]*.tar") if split_of(p) != "all")]
    return sorted(files or shards)


def _stored(paths: list[Path]) -> dict[str, Examples]:
    """What Parquet files or shards hold; nothing if there are none among `paths`."""
    if files := [path for path in paths if path.suffix == ".parquet"]:
        from squeezenet.data.parquet import read_parquet  # pyarrow is only paid for where it is used

        return read_parquet(files)
    shards = [path for path in paths if path.suffix == ".tar" or path.name.endswith(PACKED)]
    return read_webdataset(shards) if shards else {}


def _digits() -> dict[str, Examples]:
    """scikit-learn's 1,797 handwritten digits, 8 x 8 pixels of 0 to 16. One image in five of every class is held."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    everything = Examples("digits", [Image.fromarray(g) for g in grey], labels, tuple("0123456789"))
    data = split(everything, 5, seed=0)  # always the same, so that accuracies can be compared
    return {"train": data.train, "validation": data.validation}
