"""The split of a data set that a file or folder holds, from its name.

>>> split_of(Path("flowers-val-00000.parquet"))
'validation'
"""

import re
from pathlib import Path

from squeezenet.errors import DataError

ONE_DATA_SET = "give files of one data set, as in 'flowers-*.parquet'"

_KINDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation", "holdout"),
    "test": ("test", "testing"),
}
_WORDS = "|".join(sorted((word for words in _KINDS.values() for word in words), key=len, reverse=True))
_IN_FILE = re.compile(rf"(?:^|[-_.])({_WORDS})(?:[-_.]|$)", re.IGNORECASE)
_FOLDER = re.compile(rf"({_WORDS})(?:[-_ ]?(?:set|data|images))?", re.IGNORECASE)


def by_split(paths: list[Path]) -> dict[str, list[Path]]:
    """The files of "train" and "validation", one of them, or "all".

    `validation-`, `val-` and, where there is none of them, `test-` files are validation; the name of the folder counts
    where the file's says nothing. Raises `DataError` if only some names tell a split.
    """
    splits: dict[str, list[Path]] = {}
    for path in paths:
        splits.setdefault(split_of(path), []).append(path)
    if len(splits) > 1 and "all" in splits:
        raise DataError(
            f"{splits['all'][0]}: its name says no split (train or validation), but names of other files do; "
            f"{ONE_DATA_SET}"
        )
    validation = next((splits.pop(name) for name in ("validation", "test") if name in splits), None)
    splits.pop("test", None)
    if validation:
        splits["validation"] = validation
    return splits


def split_of(path: Path) -> str:
    """ "train", "validation", "test", or "all" where neither file nor folder tells."""
    match = _IN_FILE.search(path.stem)
    return _kind(match[1]) if match else split_of_folder(path.parent.name)


def split_of_folder(name: str) -> str:
    """ "train", "validation", "test", or "all" where a folder's name, such as "training_set", does not tell."""
    match = _FOLDER.fullmatch(name)
    return _kind(match[1]) if match else "all"


def _kind(word: str) -> str:
    return next(kind for kind, words in _KINDS.items() if word.lower() in words)
