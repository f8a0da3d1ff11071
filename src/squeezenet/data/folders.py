"""A folder of class folders, alone or once under train/ and once under val/.

>>> read_folder(Path("photos"))["all"].classes                # doctest: +SKIP
('cat', 'dog')
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from squeezenet.data.examples import Examples
from squeezenet.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev", "test"),  # the first that is there and has labels
}


def read_folder(folder: Path) -> dict[str, Examples]:
    """The splits below `folder`: train and validation, or "all". Raises `DataError` if there is no image.

    Folders in it are classes, also empty ones; what starts with a dot is ignored; below a class folder, folders do
    not matter. Images without any class folder are read without labels.
    """
    names = [entry.name for entry in _visible(folder) if entry.is_dir()]
    known = {alias: split for split, aliases in SPLITS.items() for alias in aliases}
    if not any(known.get(name.lower()) == "train" for name in names) or any(n.lower() not in known for n in names):
        return {"all": _classes(folder)}  # a class may well be called "train"
    found: dict[str, Examples] = {}
    for name in sorted(names, key=lambda name: list(known).index(name.lower())):
        split = known[name.lower()]
        if split not in found or found[split].labels is None:
            found[split] = _classes(folder / name)
    return found


def _classes(folder: Path) -> Examples:
    names = tuple(entry.name for entry in _visible(folder) if entry.is_dir())
    groups = [list(_images(folder / name)) for name in names]
    paths = [path for group in groups for path in group]
    if paths:
        labels = np.repeat(np.arange(len(names)), [len(group) for group in groups])
        return Examples(str(folder), paths, labels, names)
    if loose := [Path(entry.path) for entry in _visible(folder) if entry.name.lower().endswith(SUFFIXES)]:
        return Examples(str(folder), loose)
    raise DataError(f"{folder}: no images found; expected CLASS/IMAGE files ({' '.join(SUFFIXES)}) or *.parquet")


def _images(folder: str | Path) -> Iterator[Path]:
    for entry in _visible(folder):
        if entry.is_dir(follow_symlinks=False):  # a link to a folder above would never end
            yield from _images(entry.path)
        elif entry.name.lower().endswith(SUFFIXES):
            yield Path(entry.path)


def _visible(folder: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
