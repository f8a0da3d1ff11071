"""The parts of a file that only integer networks have: scales, and layers of levels (docs/FORMAT.md).

    >>> out = bytearray(); put_scales(out, graph, scales)                   # doctest: +SKIP
    >>> take_scales(Cursor(bytes(out)), graph) == scales                    # doctest: +SKIP
    True

Only the image and the results of operations that compute with scales have scales in the file. Other results have the
scale of their input.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import BadStream
from squeezenet.fixed_point import FINER, Scale
from squeezenet.graph import GlobalAvgPool, Graph, Shape
from squeezenet.integer_graph import has_own_scale
from squeezenet.model import MAX_BIAS, MAX_LEVEL, AnyWeights, Grid, IntegerWeights
from squeezenet.scalar_functions import TABLE
from squeezenet.sqz.cursor import Cursor, fold, put_varint, unfold
from squeezenet.sqz.levels import levels_size, put_levels, take_levels

WIDE, NINE_BIT = 256, 257  # stored instead of a zero point (0 to 255), which such values do not have
MAX_EXPONENT = 1 << 12  # that a file can declare; `integer_graph.MAX_EXPONENT` is smaller


def put_scales(out: bytearray, graph: Graph, scales: Sequence[Scale]) -> None:
    """Append the scales of an integer network."""
    _put_scale(out, scales[0])
    for op, scale in zip(graph.ops, scales[1:], strict=True):
        if has_own_scale(op):
            _put_scale(out, scale)
        elif isinstance(op, GlobalAvgPool):
            put_varint(out, int(scale.wide))


def take_scales(cursor: Cursor, graph: Graph) -> tuple[Scale, ...]:
    """The scale of every value. Raises `BadStream` for an impossible one. `check_scales` checks that they fit."""
    scales = [_take_scale(cursor)]
    for op in graph.ops:
        if has_own_scale(op):
            scales.append(_take_scale(cursor))
            continue
        scale = scales[op.inputs[0]]
        if isinstance(op, GlobalAvgPool) and cursor.varint(1):
            scale = replace(scale, exponent=scale.exponent - FINER, zero=0, wide=True)
        scales.append(scale)
    return tuple(scales)


def put_layer(out: bytearray, weights: AnyWeights) -> None:
    """Append the exponents, levels and biases of a layer of an integer network."""
    for stream in _streams(weights):
        put_levels(out, stream)


def layer_size(weights: AnyWeights) -> int:
    """Bytes that `put_layer` appends. The engine counts them without writing a stream."""
    return sum(map(levels_size, _streams(weights)))


def take_layer(cursor: Cursor, shape: Shape) -> IntegerWeights:
    """Read a layer whose weight has `shape`. Raises a subclass of `FormatError`."""
    exponents = np.cumsum(take_levels(cursor, shape[:1]), dtype=np.int64)
    levels = take_levels(cursor, shape)
    bias = take_levels(cursor, shape[:1])
    for name, found, most in (
        ("exponent", exponents, MAX_EXPONENT),
        ("level", levels, MAX_LEVEL),
        ("bias", bias, MAX_BIAS - 1),
    ):
        if found.max() > most or found.min() < -most:
            raise BadStream(f"{cursor.what}: one {name} is over its limit")
    weight = Grid(levels.astype(np.int16), exponents.astype(np.int16))
    return IntegerWeights(weight, bias.astype(np.int32))


def put_table(out: bytearray, table: bytes) -> None:
    """Append the table of a scalar function."""
    put_levels(out, _differences(table))


def table_size(table: bytes) -> int:
    """Bytes that `put_table` appends."""
    return levels_size(_differences(table))


def take_table(cursor: Cursor) -> bytes:
    """Read a table. Raises a subclass of `FormatError`."""
    entries = np.cumsum(take_levels(cursor, (TABLE,)), dtype=np.int64)
    if entries.min() < 0 or entries.max() >= TABLE:
        raise BadStream(f"{cursor.what}: one entry is not between 0 and {TABLE - 1}")
    return entries.astype(np.uint8).tobytes()


def _differences(table: bytes) -> NDArray[np.int32]:
    return np.diff(np.frombuffer(table, np.uint8).astype(np.int32), prepend=0).astype(np.int32)


def _streams(weights: AnyWeights) -> Iterator[NDArray[np.int32]]:
    assert isinstance(weights, IntegerWeights)
    yield np.diff(weights.weight.exponents.astype(np.int32), prepend=0).astype(np.int32)
    yield weights.weight.levels.astype(np.int32)
    yield weights.bias


def _put_scale(out: bytearray, scale: Scale) -> None:
    """Append an exponent, mapped to 0, 1, 2, ... so that small ones of both signs are short, and a zero point."""
    put_varint(out, fold(scale.exponent))
    put_varint(out, WIDE if scale.wide else NINE_BIT if scale.nine_bit else scale.zero)


def _take_scale(cursor: Cursor) -> Scale:
    folded, zero = cursor.varint(2 * MAX_EXPONENT), cursor.varint(NINE_BIT)
    return Scale(unfold(folded), zero if zero < WIDE else 0, zero == WIDE, zero == NINE_BIT)
