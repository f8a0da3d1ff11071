"""One layer's weight and bias, coded (docs/FORMAT.md, "Weights").

    >>> weight = Shared(np.array([[0, 2], [0, 0]], np.uint16), np.array([-1.0, 0.5], np.float32))
    >>> out = bytearray(); put_weight(out, weight)
    >>> take_weight(Cursor(bytes(out)), (2, 2)).values().tolist()
    [[0.0, 0.5], [0.0, 0.0]]

The writer never changes a value: it picks the smallest of the codings that give every bit back.
"""

from dataclasses import replace
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadStream, ModelError
from squeezenet.graph import Shape
from squeezenet.model import FloatArray, Plain, Shared, Tensor
from squeezenet.sqz import huffman, positions
from squeezenet.sqz.cursor import Cursor, put_varint

SPARSE = 1  # positions of the non-zero weights come first, and only they have values
SHARED = 2  # values are indices into a codebook, not floats

MAX_CODEBOOK = 4096
"""Centroids a layer may have: 12 bits, far past the point where sharing saves anything."""

_Number = TypeVar("_Number", bound=np.generic)

_RAW, _CODED, _ZERO = 0, 1, 2  # how one byte plane of floats is held


def put_weight(out: bytearray, weight: Tensor) -> None:
    """Append a weight in a coding that is exact and small. Raises `ModelError` for values that are not finite."""
    flat: NDArray[np.uint16] | NDArray[np.uint32]
    if isinstance(weight, Shared):
        weight = canonical(weight)
        flat = weight.indices.ravel()
        if weight.codebook.size > MAX_CODEBOOK:
            raise ModelError(f"a codebook of {weight.codebook.size} centroids; the limit is {MAX_CODEBOOK}")
    else:
        values = np.ascontiguousarray(weight.values(), np.float32).ravel()
        flat = values.view(np.uint32)  # keeps -0.0 apart from 0.0
    where = np.flatnonzero(flat)
    longest = positions.choose_longest(where)
    sparse_bytes = positions.coded_size(where, longest)
    if isinstance(weight, Shared):
        with_zeros = huffman.coded_size(np.bincount(flat))
        sparse = sparse_bytes + huffman.coded_size(np.bincount(flat[where] - 1)) < with_zeros
    else:
        sparse = sparse_bytes < (flat.size - where.size) // 2  # a float's zero costs about a bit in each byte plane
    out.append((SPARSE if sparse else 0) | (SHARED if isinstance(weight, Shared) else 0))
    if sparse:
        put_varint(out, where.size)
        put_varint(out, longest)
        symbols = positions.to_symbols(where, longest)
        put_varint(out, symbols.size)
        out += huffman.encode(symbols)
    if isinstance(weight, Shared):
        put_varint(out, weight.codebook.size)
        out += floats(weight.codebook)
        out += huffman.encode(flat[where] - 1 if sparse else flat)
    else:
        out += floats(values[where] if sparse else values)


def take_weight(cursor: Cursor, shape: Shape) -> Tensor:
    """Read a weight of `shape`. Raises a subclass of `FormatError`."""
    kind = cursor.byte()
    if kind & ~(SPARSE | SHARED):
        raise BadStream(f"{cursor.what}: unknown coding {kind}")
    size = prod(shape)
    where = _take_positions(cursor, size) if kind & SPARSE else None
    count = size if where is None else where.size
    if not kind & SHARED:
        values = take_floats(cursor, count)
        return Plain(_scatter(values, where, size).reshape(shape))
    codebook = take_floats(cursor, cursor.varint(MAX_CODEBOOK))
    codes = huffman.decode(cursor, count, codebook.size + (where is None))
    indices = (codes if where is None else codes + 1).astype(np.uint16)
    return Shared(_scatter(indices, where, size).reshape(shape), codebook)


def canonical(weight: Shared) -> Shared:
    """The same weights with a codebook in increasing order, each centroid once and none unused."""
    bits = np.ascontiguousarray(weight.codebook).view(np.uint32)
    key = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))  # integers in the order of the floats
    used = np.bincount(weight.indices.ravel(), minlength=weight.codebook.size + 1)[1:] > 0
    kept, first = np.unique(key[used], return_index=True)
    new_index = np.zeros(weight.codebook.size + 1, np.uint16)
    new_index[1:][used] = np.searchsorted(kept, key[used]) + 1
    return replace(weight, indices=new_index[weight.indices], codebook=weight.codebook[used][first])


def floats(values: FloatArray) -> bytes:
    """Code float32 values byte plane by byte plane, most significant first; a plane is raw, Huffman coded or all zero.

    Signs and exponents repeat, and values rounded to fewer bits have planes of zeros, which cost nothing.
    """
    if not np.isfinite(values).all():
        raise ModelError("a weight is not a finite number; the file would be worthless, so it was not written")
    planes = values.astype(">f4").view(np.uint8).reshape(-1, 4).T
    modes = 0
    out = bytearray()
    for i, plane in enumerate(planes):
        coded = huffman.encode(plane)
        if not plane.any():
            modes |= _ZERO << 2 * i
        elif len(coded) < plane.size:
            modes |= _CODED << 2 * i
            out += coded
        else:
            out += plane.tobytes()
    return bytes([modes]) + bytes(out)


def take_floats(cursor: Cursor, count: int) -> FloatArray:
    """Read `count` floats. Raises `BadStream` for numbers that are not finite."""
    modes = cursor.byte()
    planes = np.zeros((count, 4), np.uint8)
    for i in range(4):
        mode = modes >> 2 * i & 3
        if mode == _RAW:
            planes[:, i] = np.frombuffer(cursor.take(count), np.uint8)
        elif mode == _CODED:
            planes[:, i] = huffman.decode(cursor, count, 256)
        elif mode != _ZERO:
            raise BadStream(f"{cursor.what}: unknown coding of a byte plane")
    values = planes.view(">f4").astype(np.float32).ravel()
    if not np.isfinite(values).all():
        raise BadStream(f"{cursor.what}: a number is not finite")
    return values


def _take_positions(cursor: Cursor, size: int) -> positions.Integers:
    count = cursor.varint(size)
    longest = cursor.varint(huffman.MAX_ALPHABET - 1)
    if longest < 1:
        raise BadStream(f"{cursor.what}: gaps of no length")
    # No more symbols than weights: every symbol moves on by at least one.
    symbols = huffman.decode(cursor, cursor.varint(size), longest + 1)
    where = positions.to_positions(symbols, longest)
    if where.size != count or (count and where[-1] >= size) or (symbols.size and symbols[-1] == longest):
        raise BadStream(f"{cursor.what}: the positions of the weights do not fit their number")
    return where


def _scatter(values: NDArray[_Number], where: positions.Integers | None, size: int) -> NDArray[_Number]:
    if where is None:
        return values
    full = np.zeros(size, values.dtype)
    full[where] = values
    return full
