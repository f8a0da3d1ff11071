"""Finds images in folders by their names.

>>> is_image("IMG_0001.JPG"), is_image("notes.txt"), is_litter("Thumbs.db")
(True, False, True)
"""

import os
from collections.abc import Iterator

from squeezenet.runtime.decoding import SUFFIXES

UNREADABLE = (
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".jxr", ".tga", ".ico", ".psd", ".svg", ".eps", ".exr",
    ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2",
)  # fmt: skip
"""Images of formats that cannot be read. They count as images, so that commands can tell how many they did not read."""

_LITTER = {
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip


def is_image(name: str) -> bool:
    """Whether a file name has the suffix of an image, also of a format that cannot be read."""
    return name.lower().endswith((*SUFFIXES, *UNREADABLE))


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or is one that operating systems and storage devices put beside pictures."""
    return name.startswith(".") or name.lower() in _LITTER


def visible(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """The entries of a folder for which `is_litter` is false, sorted by name. Raises `OSError`."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not is_litter(entry.name)), key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether this is a folder or a link to one. A link that cannot be followed, such as a link to itself, is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def images_below(folder: str) -> Iterator[str]:
    """The paths of all images below `folder`, sorted within each folder; also paths of folders that cannot be read."""
    waiting = [(folder, True)]  # a stack of paths, and whether they are folders
    while waiting:
        path, goes_on = waiting.pop()
        try:
            entries = visible(path) if goes_on else None
        except OSError:
            entries = None
        if entries is None:
            yield path
            continue
        for entry in reversed(entries):
            below = entry.is_dir(follow_symlinks=False)  # a link to a parent folder would be followed for ever
            if below or (is_image(entry.name) and not is_folder(entry)):
                waiting.append((entry.path, below))
