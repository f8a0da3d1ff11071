"""Compresses the text section (docs/FORMAT.md, "Text"): mixed predictions, or matches in files of version 1.

    >>> unpack(Cursor(pack(b"tabby cat, tiger cat")), version=2)
    b'tabby cat, tiger cat'

A text of version 2 is its length (varint) and a stream of the range coder (`mixed_text`). The C engine does the coding,
or `mixed_text` if there is no engine; both write the same bytes. Texts of version 1 are only read.
"""

import numpy as np

from squeezenet.errors import BadStream
from squeezenet.limits import FREE_TEXT, MAX_MIXED_TEXT, MAX_TEXT, TEXT_A_BYTE
from squeezenet.sqz import huffman, mixed_text
from squeezenet.sqz.cursor import Cursor, put_varint
from squeezenet.sqz.levels import HAS_ENGINE

if HAS_ENGINE:
    from squeezenet import _engine, _workshop

MIN_MATCH = 4
MAX_MATCH = 67
WINDOW = 65536


def pack(text: bytes) -> bytes:
    """Compress `text`, for a file of version 2."""
    out = bytearray()
    put_varint(out, len(text))
    return bytes(out) + (_workshop.text_encode(text) if HAS_ENGINE else mixed_text.encode(text))


def unpack(cursor: Cursor, version: int) -> bytes:
    """Read the text of a whole section, from a file of `version`. Raises `BadStream` or `Truncated`."""
    longest = MAX_TEXT if version == 1 else MAX_MIXED_TEXT
    length = cursor.varint(min(longest, FREE_TEXT + TEXT_A_BYTE * cursor.left))
    if version == 1:
        return _unpack_matches(cursor, length)
    stream = cursor.take(cursor.left)
    if not HAS_ENGINE:
        return mixed_text.decode(stream, length)
    text = _engine.text_decode(stream, length)
    if isinstance(text, int):
        early = text == _engine.TRUNCATED
        raise BadStream(f"{cursor.what}: the stream {'ends before' if early else 'goes on after'} its last byte")
    return text


def _unpack_matches(cursor: Cursor, length: int) -> bytes:
    """A text of version 1. Token t < 256 is a byte; t >= 256 copies t - 256 + 4 bytes from `distance` bytes before."""
    tokens = huffman.decode(cursor, cursor.varint(length), 256 + MAX_MATCH - MIN_MATCH + 1)
    matches = int(np.count_nonzero(tokens >= 256))
    low = huffman.decode(cursor, matches, 256)
    high = huffman.decode(cursor, matches, WINDOW // 256)
    distances = zip(low.data, high.data, strict=True)
    text = bytearray()
    for token in tokens.data:  # one by one: a list of all tokens would take more memory
        if token < 256:
            text.append(token)
            continue
        size = token - 256 + MIN_MATCH
        near, far = next(distances)
        start = len(text) - (near + 256 * far + 1)
        if start < 0 or len(text) + size > length:
            raise BadStream(f"{cursor.what}: a match reaches outside the text")
        piece = text[start : start + size]
        text += (piece * (size // len(piece) + 1))[:size]
    if len(text) != length:
        raise BadStream(f"{cursor.what}: {len(text)} bytes of text where {length} were promised")
    return bytes(text)
