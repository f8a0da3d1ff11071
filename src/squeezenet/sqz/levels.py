"""Coding of levels, integers whose statistics depend on their position (docs/FORMAT.md, "Level streams").

    >>> levels = np.array([[0, 1, 0, 0], [-2, 0, 0, 1]])
    >>> out = bytearray(); put_levels(out, levels); len(out) == levels_size(levels)
    True
    >>> take_levels(Cursor(bytes(out)), (2, 4)).tolist()
    [[0, 1, 0, 0], [-2, 0, 0, 1]]

A level is a quantised weight: 0 for a pruned weight; a larger weight has a larger level. An adaptive binary range coder
learns the statistics from the levels already coded, so no table is stored, and a stream is smaller than the entropy of
its levels. The C engine does the coding, or `levels_reference` if there is no engine; both write the same bytes.
"""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadStream, ModelError
from squeezenet.graph import Shape
from squeezenet.sqz import levels_reference
from squeezenet.sqz.cursor import Cursor, put_varint
from squeezenet.sqz.levels_reference import LARGEST, LARGEST_KERNEL, Dimensions

try:
    from squeezenet import _engine, _workshop
except ImportError:  # there was no compiler
    HAS_ENGINE = False
else:
    HAS_ENGINE = True

Levels = NDArray[np.int32]


def put_levels(out: bytearray, levels: NDArray[np.integer]) -> None:
    """Append levels, shaped like a weight, a bias or a list. Raises `ModelError` for magnitudes over 2^21 - 1."""
    stream = _encode(_checked(levels), dimensions(levels.shape))
    put_varint(out, len(stream))
    out += stream


def levels_size(levels: NDArray[np.integer]) -> int:
    """Bytes that `put_levels` appends."""
    checked, shape = _checked(levels), dimensions(levels.shape)
    size = _workshop.levels_size(checked, shape) if HAS_ENGINE else len(_encode(checked, shape))
    prefix = bytearray()
    put_varint(prefix, size)
    return len(prefix) + size


def take_levels(cursor: Cursor, shape: Shape) -> Levels:
    """Read levels of `shape`. Raises `BadStream`; `Truncated` if the buffer ends before the stream."""
    return levels_in(cursor.take(cursor.varint()), shape, cursor.what)


def levels_in(stream: bytes | memoryview, shape: Shape, what: str) -> Levels:
    """The levels of a whole stream, without its length. Raises `BadStream`, which begins with `what`."""
    if not HAS_ENGINE:
        found = np.array(levels_reference.decode(stream, dimensions(shape)), np.int32)
        return found.reshape(shape)
    levels = np.empty(shape, np.int32)
    if status := _engine.levels_decode(stream, levels, dimensions(shape)):
        early = status == _engine.TRUNCATED
        raise BadStream(f"{what}: a stream of levels {'ends before' if early else 'goes on after'} its last level")
    return levels


def stream_of(levels: Sequence[int], shape: Dimensions) -> bytes:
    """The stream of a list of levels, without its length."""
    return _encode(np.array(levels, np.int32), shape)


def _encode(levels: Levels, shape: Dimensions) -> bytes:
    if HAS_ENGINE:
        return _workshop.levels_encode(levels, shape)
    return levels_reference.encode(levels.ravel().tolist(), shape)


def _checked(levels: NDArray[np.integer]) -> Levels:
    if levels.size and (int(levels.max()) > LARGEST or int(levels.min()) < -LARGEST):
        raise ModelError(f"a weight has a level over {LARGEST:,}; quantise it more coarsely")
    return np.ascontiguousarray(levels, np.int32)


def dimensions(shape: Shape) -> Dimensions:
    """Outputs, inputs and kernel of a shape. The kernel is 1 x 1 if there is none or it is too large for the coder."""
    if len(shape) == 4 and prod(shape[2:]) <= LARGEST_KERNEL:
        return shape[0], shape[1], shape[2], shape[3]
    return shape[0], prod(shape[1:]), 1, 1
