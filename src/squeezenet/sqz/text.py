"""Compresses the text section: Lempel-Ziv matches, coded as symbol streams (`huffman`).

    >>> unpack(Cursor(pack(b"tabby cat, tiger cat")))
    b'tabby cat, tiger cat'

Lists of labels become as small as with deflate, and a reader needs only its Huffman decoder. Two builds of zlib may
write different bytes for the same text, but this format promises the same bytes.

A text is: length (varint); number of tokens (varint); symbol streams of the tokens, of the low bytes of `distance` - 1
and of its high bytes. Token t < 256 is a byte; t >= 256 copies t - 256 + 4 bytes from `distance` bytes before.
"""

import numpy as np

from squeezenet.errors import BadStream
from squeezenet.limits import FREE_TEXT, MAX_TEXT, TEXT_A_BYTE
from squeezenet.sqz import huffman
from squeezenet.sqz.cursor import Cursor, put_varint

MIN_MATCH = 4
MAX_MATCH = 67
WINDOW = 65536
_TRIES = 64  # candidates tried per position, the newest first


def pack(text: bytes) -> bytes:
    """Compress `text`."""
    tokens, distances = _parse(text)
    far = np.asarray(distances, np.int64) - 1
    out = bytearray()
    put_varint(out, len(text))
    put_varint(out, len(tokens))
    for symbols in (np.asarray(tokens, np.int64), far & 255, far >> 8):
        out += huffman.encode(symbols)
    return bytes(out)


def unpack(cursor: Cursor) -> bytes:
    """Read a text. Raises `BadStream` or `Truncated`."""
    length = cursor.varint(min(MAX_TEXT, FREE_TEXT + TEXT_A_BYTE * cursor.left))
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


def _parse(text: bytes) -> tuple[list[int], list[int]]:
    """Greedy matches with one step of lookahead."""
    seen: dict[bytes, list[int]] = {}

    def longest(at: int) -> tuple[int, int]:
        best = (0, 0)
        for start in reversed(seen.get(text[at : at + MIN_MATCH], [])[-_TRIES:]):
            if at - start > WINDOW:
                break
            size = MIN_MATCH
            while size < MAX_MATCH and at + size < len(text) and text[start + size] == text[at + size]:
                size += 1
            if size > best[0]:
                best = (size, at - start)
        return best

    def remember(at: int) -> None:
        if at + MIN_MATCH <= len(text):
            seen.setdefault(text[at : at + MIN_MATCH], []).append(at)

    tokens: list[int] = []
    distances: list[int] = []
    at = 0
    while at < len(text):
        size, distance = longest(at)
        remember(at)
        if size and longest(at + 1)[0] <= size:
            tokens.append(256 + size - MIN_MATCH)
            distances.append(distance)
            for i in range(at + 1, at + size):
                remember(i)
            at += size
        else:
            tokens.append(text[at])
            at += 1
    return tokens, distances
