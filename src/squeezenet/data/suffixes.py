"""Which files of a folder or archive are images (from `runtime.folders`), and a warning about the others.

>>> is_image("IMG_0001.JPG"), is_image("notes.txt"), is_litter("Thumbs.db")
(True, False, True)
"""

import logging
from collections import Counter
from pathlib import Path

from squeezenet.printable import printable
from squeezenet.runtime.folders import UNREADABLE, is_image, is_litter

__all__ = ["UNREADABLE", "is_image", "is_litter", "tell"]

_NO_IMAGES = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".log", ".py")

_log = logging.getLogger(__name__)


def tell(where: str | Path, suffixes: Counter[str]) -> None:
    """Warn about files that were not read, by lower-case suffix; texts, tables and the like need no warning."""
    if left := Counter({suffix: count for suffix, count in suffixes.items() if suffix not in _NO_IMAGES}):
        kinds = ", ".join(f"{count:,} {printable(suffix)}" for suffix, count in left.most_common(5))
        _log.warning("%s: files that are no images were not read: %s", printable(str(where)), kinds)
