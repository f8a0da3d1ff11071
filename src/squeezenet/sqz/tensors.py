"""Coding of the weight tensor of a layer (docs/FORMAT.md, "Weights").

    >>> weight = Shared(np.array([[0, 2], [0, 0]], np.uint16), np.array([-1.0, 0.5], np.float32))
    >>> out = bytearray(); put_weight(out, weight)
    >>> take_weight(Cursor(bytes(out)), (2, 2)).values().tolist()
    [[0.0, 0.5], [0.0, 0.0]]

The writer never changes a value. It takes the smallest of the codings, all of which are lossless.
"""

from dataclasses import replace
from math import prod
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadStream, ModelError
from squeezenet.graph import Shape
from squeezenet.model import FloatArray, Plain, Shared, Tensor
from squeezenet.sqz import floats, huffman, positions
from squeezenet.sqz.cursor import Cursor, put_varint
from squeezenet.sqz.levels import put_levels, take_levels

SPARSE = 1  # the positions of the kept weights come first; only kept weights have values
SHARED = 2  # values are indices into a codebook, not floats
ADAPTIVE = 4  # only together with SHARED: the indices are a level stream, with zeros for pruned weights

MAX_CODEBOOK = 4096
"""Most centroids of a layer (12 bits). Weight sharing stops saving bytes at a much smaller number."""

_Number = TypeVar("_Number", bound=np.generic)
Kept = NDArray[np.bool_]
_CHUNK = 1 << 14  # weights processed at once where intermediate results take more memory than the result


def put_weight(out: bytearray, weight: Tensor) -> None:
    """Append a weight in the smallest coding. Raises `ModelError` for values that are not finite."""
    if isinstance(weight, Shared):
        weight = canonical(weight)
        if weight.codebook.size > MAX_CODEBOOK:
            raise ModelError(f"a codebook of {weight.codebook.size} centroids; the limit is {MAX_CODEBOOK}")
        out += min(_by_symbols(weight), _by_levels(weight), key=len)
    else:
        out += _by_symbols(weight)


def take_weight(cursor: Cursor, shape: Shape) -> Tensor:
    """Read a weight of `shape`. Raises a subclass of `FormatError`."""
    kind = cursor.byte()
    if kind == ADAPTIVE | SHARED:
        return _take_by_levels(cursor, shape)
    if kind & ~(SPARSE | SHARED):
        raise BadStream(f"{cursor.what}: unknown coding {kind}")
    size = prod(shape)
    kept, count = _take_positions(cursor, size) if kind & SPARSE else (None, size)
    if not kind & SHARED:
        values = floats.take(cursor, count)
        return Plain(_spread(values, kept).reshape(shape))
    codebook = floats.take(cursor, cursor.varint(MAX_CODEBOOK))
    codes = huffman.decode(cursor, count, codebook.size + (kept is None))
    if kept is not None:
        codes += np.uint16(1)
    return Shared(_spread(codes, kept).reshape(shape), codebook)


def canonical(weight: Shared) -> Shared:
    """The same weights with a codebook in increasing order, each centroid once and none unused."""
    key = floats.keys(weight.codebook)
    used = np.bincount(weight.indices.ravel(), minlength=weight.codebook.size + 1)[1:] > 0
    kept, first = np.unique(key[used], return_index=True)
    new_index = np.zeros(weight.codebook.size + 1, np.uint16)
    new_index[1:][used] = np.searchsorted(kept, key[used]) + 1
    return replace(weight, indices=new_index[weight.indices], codebook=weight.codebook[used][first])


def _by_symbols(weight: Tensor) -> bytearray:
    """Relative indices, if most weights are zero, then a symbol stream of the kept weights."""
    flat: NDArray[np.uint16] | NDArray[np.uint32]
    if isinstance(weight, Shared):
        flat = weight.indices.ravel()
    else:
        values = np.ascontiguousarray(weight.values(), np.float32).ravel()
        flat = values.view(np.uint32)  # -0.0 and 0.0 have different bits
    where = np.flatnonzero(flat)
    longest = positions.choose_longest(where)
    sparse_bytes = positions.coded_size(where, longest)
    if isinstance(weight, Shared):
        with_zeros = huffman.coded_size(np.bincount(flat))
        sparse = sparse_bytes + huffman.coded_size(np.bincount(flat[where] - 1)) < with_zeros
    else:
        sparse = sparse_bytes < (flat.size - where.size) // 2  # a float's zero costs about a bit in each byte plane
    out = bytearray([(SPARSE if sparse else 0) | (SHARED if isinstance(weight, Shared) else 0)])
    if sparse:
        put_varint(out, where.size)
        put_varint(out, longest)
        symbols = positions.to_symbols(where, longest)
        put_varint(out, symbols.size)
        out += huffman.encode(symbols)
    if isinstance(weight, Shared):
        put_varint(out, weight.codebook.size)
        out += floats.shortest(weight.codebook)
        out += huffman.encode(flat[where] - 1 if sparse else flat)
    else:
        out += floats.planes(values[where] if sparse else values)
    return out


def _by_levels(weight: Shared) -> bytearray:
    """The codebook and a level per weight: +n or -n is the n-th centroid of this sign, counted from 0 outwards."""
    out = bytearray([ADAPTIVE | SHARED])
    put_varint(out, weight.codebook.size)
    out += floats.shortest(weight.codebook)
    indices = weight.indices.astype(np.int32)
    ranks = indices - _negative(weight.codebook)
    put_levels(out, np.where(indices == 0, 0, ranks - (ranks <= 0)))
    return out


def _take_by_levels(cursor: Cursor, shape: Shape) -> Shared:
    codebook = floats.take(cursor, cursor.varint(MAX_CODEBOOK))
    negative = _negative(codebook)
    levels = take_levels(cursor, shape)
    if int(levels.min()) < -negative or int(levels.max()) > codebook.size - negative:
        raise BadStream(f"{cursor.what}: a level past the end of the codebook")
    ranks = np.arange(codebook.size + 1, dtype=np.uint16)  # ranks[level + negative] is the index of a level
    ranks[:negative] += 1
    ranks[negative] = 0
    indices = np.empty(levels.size, np.uint16)
    for start in range(0, levels.size, _CHUNK):
        indices[start : start + _CHUNK] = ranks[levels.reshape(-1)[start : start + _CHUNK] + negative]
    return Shared(indices.reshape(shape), codebook)


def _negative(codebook: FloatArray) -> int:
    """How many centroids are negative, -0 among them."""
    return int(np.count_nonzero(np.signbit(codebook)))


def _take_positions(cursor: Cursor, size: int) -> tuple[Kept, int]:
    """The positions of the kept weights, and their number."""
    count = cursor.varint(size)
    longest = cursor.varint(huffman.MAX_ALPHABET - 1)
    if longest < 1:
        raise BadStream(f"{cursor.what}: gaps of no length")
    # There are at most as many symbols as weights, since each symbol stands for at least one weight.
    symbols = huffman.decode(cursor, cursor.varint(size), longest + 1)
    kept, at, found = np.zeros(size, bool), 0, 0
    for start in range(0, symbols.size, _CHUNK):
        some = symbols[start : start + _CHUNK]
        where = at + positions.to_positions(some, longest)
        at, found = at + int(some.sum()) + where.size, found + where.size
        if at > size:
            break
        kept[where] = True
    if found != count or at > size or (symbols.size and symbols[-1] == longest):
        raise BadStream(f"{cursor.what}: the positions of the weights do not fit their number")
    return kept, count


def _spread(values: NDArray[_Number], kept: Kept | None) -> NDArray[_Number]:
    if kept is None:
        return values
    full = np.zeros(kept.size, values.dtype)
    full[kept] = values
    return full
