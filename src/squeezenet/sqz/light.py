"""Reads the bytes of a file and the strings of its text section, without NumPy.

>>> strings(b"\\x02\\x00conv1\\0cat\\0dog\\0", layers=1, classes=2)
(['conv1'], ('cat', 'dog'), {})
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from squeezenet.errors import BadGraph, BadStream, ModelError, NoSuchModel
from squeezenet.files import read_regular
from squeezenet.limits import MAX_LABELS, MAX_MODEL_FILE, MAX_PAIRS
from squeezenet.sqz.cursor import Cursor

if TYPE_CHECKING:
    from pathlib import Path


def read_bytes(path: "str | Path") -> bytes:
    """The bytes of a file. Raises `ModelError` if it cannot be read or is too large."""
    try:
        return read_regular(path, MAX_MODEL_FILE)
    except OSError as error:
        kind = NoSuchModel if isinstance(error, FileNotFoundError) else ModelError
        raise kind(f"{path}: {error.strerror}") from None


@contextlib.contextmanager
def named(path: "str | Path") -> Iterator[None]:
    """Add the path to the message of a `ModelError` that is raised inside, unless the message has it."""
    try:
        yield
    except ModelError as error:
        if str(path) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from None


def strings(text: bytes, layers: int, classes: int) -> tuple[list[str], tuple[str, ...], dict[str, str]]:
    """Names of layers, labels, and provenance in an unpacked text. Raises a subclass of `FormatError`."""
    raw = Cursor(text, "text")
    label_count, pair_count = raw.varint(MAX_LABELS), raw.varint(MAX_PAIRS)
    if label_count not in (0, classes):
        raise BadStream(f"{label_count} labels for {classes} outputs")
    # Count the strings before they are created: each takes fifty bytes in addition to its characters.
    if text.count(0, raw.at) != layers + label_count + 2 * pair_count or (raw.left and text[-1]):
        raise BadStream("text: more or fewer strings than were promised")
    try:
        found = str(raw.take(raw.left), "utf-8").split("\0")[:-1]
    except UnicodeDecodeError:
        raise BadStream("text: not UTF-8") from None
    names, labels, pairs = found[:layers], found[layers : layers + label_count], found[layers + label_count :]
    if len(set(names)) != layers:
        raise BadGraph("two layers share a name")
    keys = pairs[::2]
    if keys != sorted(set(keys)):
        raise BadStream("text: the keys of the provenance are out of order")
    return names, tuple(labels), dict(zip(keys, pairs[1::2], strict=True))
