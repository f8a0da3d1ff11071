"""The images in folders, by their names.

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
"""Images of kinds that cannot be read: images like others, so that every verb tells how many it left out, and why."""

_LITTER = {
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, of a kind that can be read or not."""
    return name.lower().endswith((*SUFFIXES, *UNREADABLE))


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that operating systems and storage devices leave beside pictures."""
    return name.startswith(".") or name.lower() in _LITTER


def images_below(folder: str) -> Iterator[str]:
    """The paths of all images below `folder`, sorted folder by folder; that of a folder that may not be read, too."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if not is_litter(entry.name)), key=lambda entry: entry.name)
    except PermissionError:
        yield folder
        return
    for entry in visible:
        if entry.is_dir(follow_symlinks=False):  # a link to a folder above would never end
            yield from images_below(entry.path)
        elif is_image(entry.name) and not entry.is_dir():
            yield entry.path
