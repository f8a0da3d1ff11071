"""Files with the names of classes, one per line.

>>> read_labels(Path("classes.txt"))                         # doctest: +SKIP
('cat', 'dog')
"""

from pathlib import Path

from squeezenet.errors import DataError
from squeezenet.files import read_regular
from squeezenet.limits import CLASS_NAME, CLASSES, LABEL_FILE_BYTES


def read_labels(path: str | Path) -> tuple[str, ...]:
    """The lines of a text file in UTF-8, without spaces around them, a byte order mark and empty lines at the end.

    Raises `OSError` if the file cannot be read, `DataError` if it is not a list of names.
    """
    try:
        text = read_regular(path, LABEL_FILE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; write the name of one class a line") from None
    names = [line.strip() for line in text.rstrip().split("\n")]  # splitlines() would split at rarer characters too
    if "" in names:
        raise DataError(f"{path}: line {names.index('') + 1} is empty; write the name of one class a line")
    if len(names) > CLASSES:
        raise DataError(f"{path}: {len(names):,} names are over the limit of {CLASSES:,} classes; is it another file?")
    if long := next((number for number, name in enumerate(names, 1) if len(name) > CLASS_NAME), None):
        raise DataError(f"{path}: line {long} is longer than {CLASS_NAME:,} characters; write shorter names")
    return tuple(names)
