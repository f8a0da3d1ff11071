"""What of the files in a folder or an archive is an image, and what was left there beside images.

>>> is_image("IMG_0001.JPG"), is_image("notes.txt"), is_litter("Thumbs.db")
(True, False, True)
"""

import logging
from collections import Counter
from pathlib import Path

from squeezenet.printable import printable
from squeezenet.runtime.image import SUFFIXES

UNREADABLE = (
    ".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpf", ".jxr", ".tga", ".ico", ".psd", ".svg", ".eps", ".exr",
    ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2",
)  # fmt: skip
"""Images of kinds that cannot be read: examples like others, so that every verb tells how many it left out, and why."""

_NO_IMAGES = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".log", ".py")

_LITTER = {
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
}  # fmt: skip

_log = logging.getLogger(__name__)


def is_image(name: str) -> bool:
    """Whether a file is an image by its name, of a kind that can be read or not."""
    return name.lower().endswith((*SUFFIXES, *UNREADABLE))


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or one that operating systems and storage devices leave beside pictures."""
    return name.startswith(".") or name.lower() in _LITTER


def tell(where: str | Path, suffixes: Counter[str]) -> None:
    """Warn of files that were left out, by their suffixes in lower case; nothing is said of texts, tables and such."""
    if left := Counter({suffix: count for suffix, count in suffixes.items() if suffix not in _NO_IMAGES}):
        kinds = ", ".join(f"{count:,} {printable(suffix)}" for suffix, count in left.most_common(5))
        _log.warning("%s: files that are no images were not read: %s", printable(str(where)), kinds)
