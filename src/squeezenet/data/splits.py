"""Which split of a data set a file holds, as its name tells.

>>> split_of(Path("flowers-val-00000.parquet"))
'validation'
"""

import re
from pathlib import Path

from squeezenet.errors import DataError

ONE_DATA_SET = "name one data set, as in 'flowers-*.parquet'"

_SPLIT = re.compile(r"(?:^|[-_.])(train|validation|valid|val|dev|test)(?:[-_.]|$)", re.IGNORECASE)


def by_split(paths: list[Path]) -> dict[str, list[Path]]:
    """The files of "train" and "validation", one of them, or "all".

    `validation-`, `val-` and, where there is none of them, `test-` files are validation; the name of the folder counts
    where the file's says nothing. Raises `DataError` if only some names tell a split.
    """
    splits: dict[str, list[Path]] = {}
    for path in paths:
        splits.setdefault(split_of(path), []).append(path)
    if len(splits) > 1 and "all" in splits:
        raise DataError(f"{splits['all'][0]}: its name tells no split, others' do; {ONE_DATA_SET}")
    validation = next((splits.pop(name) for name in ("validation", "test") if name in splits), None)
    splits.pop("test", None)
    if validation:
        splits["validation"] = validation
    return splits


def split_of(path: Path) -> str:
    """ "train", "validation", "test", or "all" where neither file nor folder tells."""
    match = _SPLIT.search(path.stem) or _SPLIT.fullmatch(path.parent.name)
    name = match.group(1).lower() if match else "all"
    return "validation" if name in ("val", "valid", "dev") else name
