"""Writes `.sqz` bytes part by part, without the product's writer, which would refuse to write hostile ones.

>>> len(sqz(image(4) + operations(op(FLATTEN)), text([])))
42
"""

import struct
from binascii import crc32
from collections.abc import Sequence

from squeezenet.sqz.cursor import put_varint
from squeezenet.sqz.text import pack

CONV, LINEAR, RELU, CAPPED, MAXPOOL, MAXCEIL, AVGPOOL, GLOBAL, LRN, CONCAT, ADD, FLATTEN = range(1, 13)


def varint(*numbers: int) -> bytes:
    """Each number as the format writes it."""
    out = bytearray()
    for number in numbers:
        put_varint(out, number)
    return bytes(out)


def floats(*numbers: float) -> bytes:
    """Each number as float32."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def image(crop: int, resize: int = 0, mean: float = 0.0, std: float = 1.0, colour: bool = False) -> bytes:
    """The preparation of gray images of `crop` x `crop` pixels, or of RGB ones."""
    channels = 3 if colour else 1
    return varint(resize or crop, crop, 0, 0 if colour else 2) + floats(*[mean] * channels, *[std] * channels)


def oblong(resize: tuple[int, int], crop: tuple[int, int], fit: int = 2) -> bytes:
    """The preparation of gray images with heights and widths of their own."""
    return varint(resize[0], crop[0], fit, 2, resize[1], crop[1]) + floats(0.0, 1.0)


def op(kind: int, *fields: int, back: int = 1, reals: Sequence[float] = ()) -> bytes:
    """One operation that reads the value `back` values before its own."""
    return bytes([kind]) + varint(back, *fields) + floats(*reals)


def conv(out: int, kernel: int = 1, *, stride: int = 1, padding: int = 0, groups: int = 1) -> bytes:
    """A convolution with a square kernel."""
    return op(CONV, out, kernel, kernel, stride, stride, padding, padding, groups)


def operations(*ops: bytes) -> bytes:
    """The operations of a graph, their number first."""
    return varint(len(ops)) + b"".join(ops)


def text(strings: Sequence[str], labels: int = 0, pairs: int = 0) -> bytes:
    """The text section with these strings: names of layers, labels, keys and values in turn."""
    raw = varint(labels, pairs) + b"".join(string.encode() + b"\0" for string in strings)
    return pack(raw)


def plain(values: Sequence[float], bias: Sequence[float]) -> bytes:
    """A layer of floats that are stored as they are."""
    planes = [struct.pack(f">{len(v)}f", *v) for v in (values, bias)]
    weight, offset = (b"\0" + b"".join(raw[i::4] for i in range(4)) for raw in planes)
    return b"\0" + weight + offset


ZEROS = b"\0\xaa\xaa"
"""A layer of floats that are all zero, whatever its size."""


def sqz(graph: bytes, strings: bytes, rest: bytes = b"", integer: bool = False) -> bytes:
    """A file of these sections, with the length and the checksum that belong to them."""
    tail = struct.pack("<II", len(graph), len(strings)) + graph + strings + rest
    return struct.pack("<4sBBHII", b"\x89SQZ", 2, integer, 0, 16 + len(tail), crc32(tail)) + tail
