"""The graph and the preparation of images as bytes (docs/FORMAT.md, "Graph").

    >>> coded = pack(graph, Preparation.imagenet_caffe())       # doctest: +SKIP

Names of layers are in the text section, which a microcontroller need not read.
"""

from squeezenet.errors import BadGraph, LimitExceeded
from squeezenet.graph import (
    LRN,
    PARAMETERS,
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
    shortest,
    sides,
)
from squeezenet.limits import MAX_OPERATIONS, MAX_SIDE
from squeezenet.preparation import Channels, Fit, Preparation
from squeezenet.sqz.cursor import Cursor, fold, put_float32, put_varint, unfold

# The number of each operation in the file. Numbers never change.
_CONV, _LINEAR, _RELU, _CAPPED, _MAXPOOL, _MAXPOOL_CEIL, _AVGPOOL, _GLOBAL, _LRN, _CONCAT, _ADD, _FLATTEN = range(1, 13)
# These convolutions and pools may have any padding and dilation; those above are shorter.
_ANY_CONV, _ANY_MAXPOOL, _ANY_AVGPOOL = range(13, 16)
_ADAPTIVE, _ACTIVATION, _MULTIPLY, _SELECT, _UPSAMPLE, _LAYER_NORM = range(16, 22)
_FUNCTIONS = tuple(PARAMETERS)
_FITS: tuple[Fit, ...] = ("stretch", "shorter")
_CHANNELS: tuple[Channels, ...] = ("RGB", "BGR", "L")


def pack(graph: Graph, preparation: Preparation) -> bytes:
    """The bytes of a graph and a preparation, without names and weights."""
    out = bytearray()
    (tall, wide), (crop_tall, crop_wide) = preparation.resized, preparation.cropped
    fit = _FITS.index(preparation.fit) + (0 if preparation.square else len(_FITS))
    widths = () if preparation.square else (wide, crop_wide)
    for number in (tall, crop_tall, fit, _CHANNELS.index(preparation.channels), *widths):
        put_varint(out, number)
    for real in (*preparation.mean, *preparation.std):
        put_float32(out, real)
    put_varint(out, len(graph.ops))
    for value, op in enumerate(graph.ops, 1):
        _put_op(out, op, value)
    return bytes(out)


def unpack(cursor: Cursor) -> tuple[Graph, Preparation]:
    """Read graph and preparation; layers get the names layer1, layer2, ... Raises a subclass of `FormatError`.

    Limits are not checked here, since they depend on the size of the file (`costs.check_limits`).
    """
    tall, crop_tall, fit = cursor.varint(MAX_SIDE), cursor.varint(MAX_SIDE), cursor.varint(2 * len(_FITS) - 1)
    channels = _CHANNELS[cursor.varint(len(_CHANNELS) - 1)]
    square = fit < len(_FITS)
    wide, crop_wide = (tall, crop_tall) if square else (cursor.varint(MAX_SIDE), cursor.varint(MAX_SIDE))
    mean = tuple(cursor.float32() for _ in channels)
    std = tuple(cursor.float32() for _ in channels)
    try:
        size, crop = (tall, wide), (crop_tall, crop_wide)
        preparation = Preparation(size, crop, _FITS[fit % len(_FITS)], channels, mean, std)
    except ValueError as error:
        raise BadGraph(str(error)) from None
    if preparation.square != square:
        raise BadGraph("heights and widths are equal, and both are stored")
    count = cursor.varint()
    if count > MAX_OPERATIONS:
        raise LimitExceeded(f"{count:,} operations; the limit is {MAX_OPERATIONS:,}")
    if count == 0:
        raise BadGraph("a graph needs at least one operation")
    ops = tuple(_take_op(cursor, value) for value in range(1, count + 1))
    cursor.finish()
    return Graph(preparation.shape, ops), preparation


def _put_op(out: bytearray, op: Op, value: int) -> None:
    kind: int
    numbers: tuple[int, ...] = ()
    reals: tuple[float, ...] = ()
    match op:
        case Conv() if len(op.padding) == 2 and op.dilation == (1, 1):
            kind, numbers = _CONV, (op.out, *op.kernel, *op.stride, *op.padding, op.groups)
        case Conv():
            kind = _ANY_CONV
            numbers = (op.out, *op.kernel, *op.stride, *sides(op.padding), *op.dilation, op.groups)
        case Linear():
            kind, numbers = _LINEAR, (op.out,)
        case ReLU(cap=0.0):
            kind = _RELU
        case ReLU():
            kind, reals = _CAPPED, (op.cap,)
        case Activation():
            kind, numbers = _ACTIVATION, (_FUNCTIONS.index(op.function),)
            reals = (op.a, op.b)[: PARAMETERS[op.function]]
        case MaxPool() if len(op.padding) == 2 and op.dilation == (1, 1):
            kind = _MAXPOOL_CEIL if op.ceil else _MAXPOOL
            numbers = (*op.kernel, *op.stride, *op.padding)
        case MaxPool():
            kind = _ANY_MAXPOOL
            numbers = (*op.kernel, *op.stride, *sides(op.padding), *op.dilation, int(op.ceil))
        case AvgPool() if len(op.padding) == 2 and op.dilation == (1, 1) and op.counted and not op.ceil:
            kind, numbers = _AVGPOOL, (*op.kernel, *op.stride, *op.padding)
        case AvgPool():
            kind = _ANY_AVGPOOL
            numbers = (*op.kernel, *op.stride, *sides(op.padding), *op.dilation, int(op.ceil), int(op.counted))
        case AdaptivePool():
            kind, numbers = _ADAPTIVE, (*op.size, int(op.maximum))
        case GlobalAvgPool():
            kind = _GLOBAL
        case LRN():
            kind, numbers, reals = _LRN, (op.size,), (op.alpha, op.beta, op.k)
        case LayerNorm():
            kind, reals = _LAYER_NORM, (op.epsilon,)
        case Concat():
            kind = _CONCAT
        case Select():
            kind, numbers = _SELECT, (op.start, *op.counts, *map(fold, op.steps))
        case Upsample():
            kind, numbers = _UPSAMPLE, op.factor
        case Add():
            kind = _ADD
        case Multiply():
            kind = _MULTIPLY
        case Flatten():
            kind = _FLATTEN
    out.append(kind)
    if kind == _CONCAT:
        put_varint(out, len(op.inputs))
    for i in op.inputs:
        put_varint(out, value - i)  # how many values before the result: almost always 1
    for number in numbers:
        put_varint(out, number)
    for real in reals:
        put_float32(out, real)


def _take_op(cursor: Cursor, value: int) -> Op:
    kind = cursor.byte()
    operands = {_CONCAT: 0, _ADD: 2, _MULTIPLY: 2}.get(kind, 1) or cursor.varint(MAX_OPERATIONS)
    inputs = tuple(value - cursor.varint(value) for _ in range(operands))
    if not inputs or value in inputs:
        raise BadGraph("an operation reads nothing, or its own result")

    def pair() -> tuple[int, int]:
        return cursor.varint(), cursor.varint()

    def flag() -> bool:
        return cursor.varint(1) == 1

    match kind:
        case 1:
            return Conv(inputs, f"layer{value}", cursor.varint(), pair(), pair(), pair(), cursor.varint())
        case 2:
            return Linear(inputs, f"layer{value}", cursor.varint())
        case 3:
            return ReLU(inputs)
        case 4:
            cap = cursor.float32()
            if cap <= 0:
                raise BadGraph("a ReLU capped at or below zero")
            return ReLU(inputs, cap)
        case 5 | 6:
            return MaxPool(inputs, pair(), pair(), pair(), ceil=kind == _MAXPOOL_CEIL)
        case 7:
            return AvgPool(inputs, pair(), pair(), pair())
        case 8:
            return GlobalAvgPool(inputs)
        case 9:
            return LRN(inputs, cursor.varint(), cursor.float32(), cursor.float32(), cursor.float32())
        case 10:
            return Concat(inputs)
        case 11:
            return Add(inputs)
        case 12:
            return Flatten(inputs)
        case 13:
            out, kernel, stride, padding, dilation = cursor.varint(), pair(), pair(), shortest(pair() + pair()), pair()
            return Conv(inputs, f"layer{value}", out, kernel, stride, padding, cursor.varint(), dilation)
        case 14 | 15:
            kernel, stride, padding, dilation = pair(), pair(), shortest(pair() + pair()), pair()
            if kind == _ANY_MAXPOOL:
                return MaxPool(inputs, kernel, stride, padding, flag(), dilation)
            return AvgPool(inputs, kernel, stride, padding, flag(), flag(), dilation)
        case 16:
            return AdaptivePool(inputs, pair(), flag())
        case 17:
            function = _FUNCTIONS[cursor.varint(len(_FUNCTIONS) - 1)]
            return Activation(inputs, function, *(cursor.float32() for _ in range(PARAMETERS[function])))
        case 18:
            return Multiply(inputs)
        case 19:
            start, counts, steps = cursor.varint(), pair(), pair()
            return Select(inputs, start, counts, (unfold(steps[0]), unfold(steps[1])))
        case 20:
            return Upsample(inputs, pair())
        case 21:
            epsilon = cursor.float32()
            if epsilon <= 0:
                raise BadGraph("a layer normalisation whose epsilon is not above zero")
            return LayerNorm(inputs, epsilon)
        case _:
            raise BadGraph(f"unknown operation {kind}; a newer squeezenet may know it")
