"""Lossless coding of lists of float32 numbers (docs/FORMAT.md, "Floats").

    >>> biases = np.array([0.5, -0.25, 0.5], np.float32)
    >>> take(Cursor(shortest(biases)), 3).tolist()
    [0.5, -0.25, 0.5]

Signs and exponents repeat and are coded. Most fractions are random and are stored as they are. The numbers of a
codebook increase, so their differences are coded. The graph determines the length of a list, so it is not stored.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadStream, ModelError
from squeezenet.model import FloatArray
from squeezenet.sqz import huffman
from squeezenet.sqz.cursor import Cursor
from squeezenet.sqz.levels import put_levels, take_levels

_RAW, _CODED, _ZERO = 0, 1, 2  # how one byte plane is stored
_GAPS, _EXPONENTS = 254, 255  # a first byte with one of these values begins another form than byte planes
_FRACTION = 23  # bits of a float32 after its exponent
_FIRST_LENGTH = 31  # expected bits of the first gap: the key of a number between -2 and 0 has so many

MAX_LIST = 65536
"""Most numbers of a list of gaps or of exponents: a reader processes these lists one number at a time."""

Keys = NDArray[np.int64]


def shortest(values: FloatArray) -> bytes:
    """Biases or a codebook in the coding that takes the fewest bytes; among equal ones, the first in `codings`."""
    codings = [planes(values)]
    if 0 < values.size <= MAX_LIST:
        found = keys(values)
        codings.append(_exponents(values))
        if (np.diff(found) > 0).all():
            codings.append(_gaps(found))
    return min(codings, key=len)


def planes(values: FloatArray) -> bytes:
    """`values` as four planes: plane i has byte i of every float. Each plane is raw, Huffman coded, or all zero.

    Numbers that were rounded to fewer bits have planes of zeros, which take no bytes.
    """
    if not np.isfinite(values).all():
        raise ModelError("a weight is not a finite number; the file would be worthless, so it was not written")
    modes = 0
    out = bytearray()
    for i, plane in enumerate(values.astype(">f4").view(np.uint8).reshape(-1, 4).T):
        coded = huffman.encode(plane)
        if not plane.any():
            modes |= _ZERO << 2 * i
        elif len(coded) < plane.size:
            modes |= _CODED << 2 * i
            out += coded
        else:
            out += plane.tobytes()
    return bytes([modes]) + bytes(out)


def take(cursor: Cursor, count: int) -> FloatArray:
    """Read `count` numbers. Raises `BadStream` for any that is not finite."""
    modes = cursor.byte()
    if modes in (_GAPS, _EXPONENTS):
        if not 0 < count <= MAX_LIST:
            raise BadStream(f"{cursor.what}: {count:,} numbers in a form for lists of 1 to {MAX_LIST:,}")
        return _take_gaps(cursor, count) if modes == _GAPS else _take_exponents(cursor, count)
    found = np.zeros((count, 4), np.uint8)
    for i in range(4):
        mode, place = modes >> 2 * i & 3, 3 - i if sys.byteorder == "little" else i
        if mode == _RAW:
            found[:, place] = np.frombuffer(cursor.take(count), np.uint8)
        elif mode == _CODED:
            found[:, place] = huffman.decode(cursor, count, 256)
        elif mode != _ZERO:
            raise BadStream(f"{cursor.what}: unknown coding of a byte plane")
    return _finite(cursor, found.view(np.float32).reshape(-1))


def keys(values: FloatArray) -> Keys:
    """For each float an integer below 2^32. A larger float has a larger integer; -0 counts as less than 0."""
    bits = _bits(values)
    return np.where(bits >> 31, ~bits & 0xFFFFFFFF, bits | 1 << 31)


def _gaps(found: Keys) -> bytes:
    """The differences (gaps) of increasing keys: the bit length of each gap, then each gap without its first bit."""
    gaps = np.diff(found, prepend=0)
    lengths = np.array([gap.bit_length() for gap in gaps.tolist()])
    out = bytearray([_GAPS])
    put_levels(out, np.diff(lengths, prepend=_FIRST_LENGTH))
    return bytes(out) + _pack(gaps, lengths - 1)


def _take_gaps(cursor: Cursor, count: int) -> FloatArray:
    lengths = np.cumsum(take_levels(cursor, (count,)), dtype=np.int64) + _FIRST_LENGTH
    if not 1 <= lengths.min() <= lengths.max() <= 32:
        raise BadStream(f"{cursor.what}: a gap between numbers that is not one")
    found = np.cumsum(_unpack(cursor, lengths - 1) + (1 << lengths - 1))
    if found[-1] >> 32:
        raise BadStream(f"{cursor.what}: numbers increase past the largest")
    bits = np.where(found >> 31, found & 0x7FFFFFFF, ~found & 0xFFFFFFFF)
    return _finite(cursor, bits.astype(np.uint32).view(np.float32))


def _exponents(values: FloatArray) -> bytes:
    """Signs and exponents as levels (magnitude 1: the largest exponent), followed by the fractions."""
    bits = _bits(values)
    exponents = bits >> _FRACTION & 255
    largest = int(exponents.max())
    out = bytearray([_EXPONENTS, largest])
    put_levels(out, np.where(bits >> 31, -1, 1) * (largest - exponents + 1))
    return bytes(out) + _pack(bits, np.full(values.size, _FRACTION))


def _take_exponents(cursor: Cursor, count: int) -> FloatArray:
    largest = cursor.byte()
    if largest > 254:
        raise BadStream(f"{cursor.what}: the exponent of a number is not one")
    levels = take_levels(cursor, (count,)).astype(np.int64)
    exponents = largest + 1 - abs(levels)
    if (levels == 0).any() or (exponents < 0).any():
        raise BadStream(f"{cursor.what}: the exponent of a number is not one")
    fractions = _unpack(cursor, np.full(count, _FRACTION))
    bits = (levels < 0).astype(np.int64) << 31 | exponents << _FRACTION | fractions
    return bits.astype(np.uint32).view(np.float32)


def _bits(values: FloatArray) -> Keys:
    return np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)


def _pack(values: Keys, widths: NDArray[np.integer]) -> bytes:
    """The lowest `width` bits of each value as one string of bits, padded with zeros to a whole byte."""
    pairs = zip(values.tolist(), widths.tolist(), strict=True)
    text = "".join(f"{value & (1 << width) - 1:0{width}b}" for value, width in pairs if width)
    size = -(-len(text) // 8)
    return int(text.ljust(8 * size, "0") or "0", 2).to_bytes(size, "big")


def _unpack(cursor: Cursor, widths: NDArray[np.integer]) -> Keys:
    """The inverse of `_pack`: integers with `widths` bits."""
    total = int(widths.sum())
    size = -(-total // 8)
    text = f"{int.from_bytes(cursor.take(size), 'big'):0{8 * size}b}" if size else ""
    if "1" in text[total:]:
        raise BadStream(f"{cursor.what}: the padding after numbers is not zero")
    ends = np.cumsum(widths).tolist()
    pieces = zip([0, *ends], ends, strict=False)
    return np.array([int(text[start:end] or "0", 2) for start, end in pieces], np.int64)


def _finite(cursor: Cursor, values: FloatArray) -> FloatArray:
    if not np.isfinite(values).all():
        raise BadStream(f"{cursor.what}: a number is not finite")
    return values
