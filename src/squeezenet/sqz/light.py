"""What reading a file takes without NumPy: its bytes, and the strings of its text.

>>> strings(b"\\x02\\x00conv1\\0cat\\0dog\\0", layers=1, classes=2)
(['conv1'], ('cat', 'dog'), {})
"""

from pathlib import Path

from squeezenet.errors import BadStream, ModelError, NoSuchModel
from squeezenet.files import read_regular
from squeezenet.sqz.cursor import Cursor

MAX_FILE = 1 << 30
MAX_LABELS = 1 << 20
MAX_PAIRS = 256


def read_bytes(path: str | Path) -> bytes:
    """The bytes of a file, unless they are too many. Raises `ModelError`."""
    try:
        return read_regular(path, MAX_FILE)
    except OSError as error:
        kind = NoSuchModel if isinstance(error, FileNotFoundError) else ModelError
        raise kind(f"{path}: {error.strerror}") from None


def strings(text: bytes, layers: int, classes: int) -> tuple[list[str], tuple[str, ...], dict[str, str]]:
    """Names of layers, labels, and provenance in an unpacked text. Raises a subclass of `FormatError`."""
    raw = Cursor(text, "text")
    label_count, pair_count = raw.varint(MAX_LABELS), raw.varint(MAX_PAIRS)
    if label_count not in (0, classes):
        raise BadStream(f"{label_count} labels for {classes} outputs")
    try:
        found = bytes(raw.take(raw.left)).decode().split("\0")
    except UnicodeDecodeError:
        raise BadStream("text: not UTF-8") from None
    if found.pop() or len(found) != layers + label_count + 2 * pair_count:
        raise BadStream("text: more or fewer strings than were promised")
    names, labels, pairs = found[:layers], found[layers : layers + label_count], found[layers + label_count :]
    keys = pairs[::2]
    if keys != sorted(set(keys)):
        raise BadStream("text: the keys of the provenance are out of order")
    return names, tuple(labels), dict(zip(keys, pairs[1::2], strict=True))
