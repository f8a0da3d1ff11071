"""Reads a folder with one folder per class, or with such folders under train/ and val/.

>>> read_folder(Path("photos"))["all"].classes                # doctest: +SKIP
('cat', 'dog')
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from squeezenet.data.classes import Stated, number_classes, tidy
from squeezenet.data.examples import Examples
from squeezenet.data.splits import split_of_folder
from squeezenet.data.suffixes import tell
from squeezenet.errors import DataError
from squeezenet.printable import counted, printable
from squeezenet.runtime.folders import is_folder, is_image, visible
from squeezenet.runtime.image import SUFFIXES

_log = logging.getLogger(__name__)


@dataclass
class _Found:
    """The images of one split, and the suffixes of its other files."""

    folder: Path
    names: tuple[str, ...]  # of the class folders
    groups: list[list[Path]] = field(default_factory=list)  # images of each
    loose: list[Path] = field(default_factory=list)  # images beside the class folders
    other: Counter[str] = field(default_factory=Counter)

    @property
    def paths(self) -> list[Path]:
        return [path for group in self.groups for path in group]

    @property
    def labels(self) -> Stated | None:
        """The labels, or None if no class folder has an image."""
        codes = np.repeat(np.arange(len(self.names)), [len(group) for group in self.groups])
        if not len(codes):
            return None
        return Stated(codes, tuple(map(tidy, self.names)), str(self.folder), "name")


def read_folder(folder: Path) -> dict[str, Examples]:
    """The splits below `folder`: train and validation, or "all". Raises `DataError` if there is no image.

    Each folder in it is a class, even if it is empty. Hidden files and files of operating systems are ignored. All
    images below a class folder belong to the class. Images without any class folder are read without labels.
    """
    found = {split: _look(below) for split, below in _layout(folder).items()}
    for part in found.values():
        if not part.paths and not part.loose:
            raise DataError(
                f"{part.folder}: no images found; expected CLASS/IMAGE files ({' '.join(SUFFIXES)}) or *.parquet"
            )
        if part.paths and part.loose:
            beside = counted(len(part.loose), "image")
            _log.warning("%s: %s beside the class folders, so not read", _shown(part.folder), beside)
        tell(part.folder, part.other)
    classes, labels = number_classes({split: part.labels for split, part in found.items()})
    return {
        split: Examples(str(part.folder), part.loose)
        if labels[split] is None
        else Examples(str(part.folder), part.paths, labels[split], classes)
        for split, part in found.items()
    }


def _layout(folder: Path) -> dict[str, Path]:
    """Split -> its folder. If the folders in `folder` are classes, `folder` is "all"."""
    folders = [entry.name for entry in visible(folder) if is_folder(entry)]
    splits: dict[str, list[str]] = {"all": [], "train": [], "validation": [], "test": []}
    for name in folders:
        splits[split_of_folder(name)].append(name)
    train, validation = splits["train"], [*splits["validation"], *splits["test"]]
    others = [name for name in splits["all"] if _has_image(folder / name)]
    if train and validation and others:
        _log.warning("%s: %s were not read, only %s", _shown(folder), _shown(*others), _shown(train[0], *validation))
    elif others or not folders:
        # An archive often unpacks to one folder that holds all others. Otherwise "train" may be the name of a class.
        wrapped = len(folders) == 1 and _wraps(folder / folders[0])
        return _layout(folder / folders[0]) if wrapped else {"all": folder}
    held = next((name for name in validation if _labelled(folder / name)), next(iter(validation), None))
    found = {"train": folder / train[0]} if train else {}
    return (found | ({"validation": folder / held} if held else {})) or {"all": folder}


def _wraps(folder: Path) -> bool:
    """Whether `folder` has folders and no images beside them."""
    entries = visible(folder)
    return any(is_folder(entry) for entry in entries) and not any(is_image(entry.name) for entry in entries)


def _labelled(folder: Path) -> bool:
    return any(is_folder(entry) and _has_image(entry.path) for entry in visible(folder))


def _has_image(folder: str | Path) -> bool:
    return next(_images(folder, Counter()), None) is not None


def _look(folder: Path) -> _Found:
    entries = visible(folder)
    found = _Found(folder, tuple(entry.name for entry in entries if is_folder(entry)))
    found.groups = [list(_images(folder / name, found.other)) for name in found.names]
    found.loose = [Path(entry.path) for entry in entries if not is_folder(entry) and is_image(entry.name)]
    return found


def _images(folder: str | Path, other: Counter[str]) -> Iterator[Path]:
    """All images below `folder`; `other` counts the suffixes of the other files."""
    for entry in visible(folder):
        if entry.is_dir(follow_symlinks=False):  # a link to a parent folder would never end
            yield from _images(entry.path, other)
        elif is_image(entry.name):
            yield Path(entry.path)
        elif not is_folder(entry):
            other[os.path.splitext(entry.name)[1].lower() or "without a suffix"] += 1


def _shown(*names: str | Path) -> str:
    return ", ".join(printable(str(name)) for name in names)
