"""A warning about the files of a folder or archive that are no images.

>>> tell("photos", Counter({".mp4": 2}))                     # doctest: +SKIP
photos: files that are no images were not read: 2 .mp4
"""

import logging
from collections import Counter
from pathlib import Path

from squeezenet.printable import printable

_NO_IMAGES = (".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".log", ".py")

_log = logging.getLogger(__name__)


def tell(where: str | Path, suffixes: Counter[str]) -> None:
    """Warn about files that were not read, by lower-case suffix; texts, tables and the like need no warning."""
    if left := Counter({suffix: count for suffix, count in suffixes.items() if suffix not in _NO_IMAGES}):
        kinds = ", ".join(f"{count:,} {printable(suffix)}" for suffix, count in left.most_common(5))
        _log.warning("%s: files that are no images were not read: %s", printable(str(where)), kinds)
