"""The graph and the preparation of images as bytes (docs/FORMAT.md, "Graph").

    >>> coded = pack(graph, Preparation.imagenet_caffe())       # doctest: +SKIP

Layer names are not here: a microcontroller can do without them, so they stand in the text.
"""

from math import prod

from squeezenet.errors import BadGraph, LimitExceeded
from squeezenet.graph import (
    LRN,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Linear,
    MaxPool,
    Op,
    Pair,
    ReLU,
)
from squeezenet.preparation import Channels, Fit, Preparation
from squeezenet.sqz.cursor import Cursor, put_float32, put_varint

MAX_OPS = 4096
MAX_SIDE = 8192  # pixels of an image's side
MAX_LIVE = 1 << 26  # elements of all values that are needed at once: 256 MiB as float32
MAX_PATCHES = 1 << 28  # elements that the windows of one operation read, and of its padded input: 1 GiB
MAX_WORK = 1 << 37  # multiply-accumulates and window reads for one image
MAX_WEIGHTS = 1 << 28

# The number of each operation in the file. Numbers are for ever.
_CONV, _LINEAR, _RELU, _CAPPED, _MAXPOOL, _MAXPOOL_CEIL, _AVGPOOL, _GLOBAL, _LRN, _CONCAT, _ADD, _FLATTEN = range(1, 13)
_FITS: tuple[Fit, ...] = ("stretch", "shorter")
_CHANNELS: tuple[Channels, ...] = ("RGB", "BGR", "L")


def pack(graph: Graph, preparation: Preparation) -> bytes:
    """Everything but names and weights."""
    out = bytearray()
    for number in (
        preparation.resize,
        preparation.crop,
        _FITS.index(preparation.fit),
        _CHANNELS.index(preparation.channels),
    ):
        put_varint(out, number)
    for real in (*preparation.mean, *preparation.std):
        put_float32(out, real)
    put_varint(out, len(graph.ops))
    for value, op in enumerate(graph.ops, 1):
        _put_op(out, op, value)
    return bytes(out)


def unpack(cursor: Cursor) -> tuple[Graph, Preparation]:
    """Read graph and preparation; layers are named by their position. Raises a subclass of `FormatError`."""
    resize, crop = cursor.varint(MAX_SIDE), cursor.varint(MAX_SIDE)
    fit, channels = _FITS[cursor.varint(len(_FITS) - 1)], _CHANNELS[cursor.varint(len(_CHANNELS) - 1)]
    mean = tuple(cursor.float32() for _ in channels)
    std = tuple(cursor.float32() for _ in channels)
    try:
        preparation = Preparation(resize, crop, fit, channels, mean, std)
    except ValueError as error:
        raise BadGraph(str(error)) from None
    count = cursor.varint()
    if count > MAX_OPS:
        raise LimitExceeded(f"{count:,} operations; the limit is {MAX_OPS:,}")
    ops = tuple(_take_op(cursor, value) for value in range(1, count + 1))
    cursor.finish()
    graph = Graph(preparation.shape, ops)
    check_limits(graph)
    return graph, preparation


def check_limits(graph: Graph) -> None:
    """Refuse a graph that would take unreasonable memory or time to run. Raises `LimitExceeded`."""
    if sum(prod(shape) for shape in graph.weight_shapes().values()) > MAX_WEIGHTS:
        raise LimitExceeded(f"the network has more than {MAX_WEIGHTS:,} weights")
    shapes, last_use = graph.shapes(), graph.last_use()
    live, work = prod(shapes[0]), sum(graph.macs())
    for index, (op, shape) in enumerate(zip(graph.ops, shapes[1:], strict=True)):
        live += prod(shape)
        if live > MAX_LIVE:
            raise LimitExceeded(f"intermediate results of more than {MAX_LIVE:,} elements are needed at once")
        live -= sum(prod(shapes[i]) for i in set(op.inputs) if last_use[i] == index)
        if isinstance(op, Conv | MaxPool | AvgPool):
            channels, height, width = shapes[op.inputs[0]]
            padded = channels * (height + 2 * op.padding[0]) * (width + 2 * op.padding[1])
            if max(padded, channels * prod(shape[1:]) * prod(op.kernel)) > MAX_PATCHES:
                raise LimitExceeded(f"the windows of one operation hold more than {MAX_PATCHES:,} elements")
        work += prod(shape) * _reads(op)
    if work > MAX_WORK:
        raise LimitExceeded(f"one image would take more than {MAX_WORK:,} operations")


def _reads(op: Op) -> int:
    """Elements that one element of an operation without weights is made of."""
    match op:
        case MaxPool() | AvgPool():
            return prod(op.kernel)
        case LRN():
            return op.size
        case _:
            return 1


def _put_op(out: bytearray, op: Op, value: int) -> None:
    kind: int
    numbers: tuple[int, ...] = ()
    reals: tuple[float, ...] = ()
    match op:
        case Conv():
            kind, numbers = _CONV, (op.out, *op.kernel, *op.stride, *op.padding, op.groups)
        case Linear():
            kind, numbers = _LINEAR, (op.out,)
        case ReLU(cap=0.0):
            kind = _RELU
        case ReLU():
            kind, reals = _CAPPED, (op.cap,)
        case MaxPool():
            kind = _MAXPOOL_CEIL if op.ceil else _MAXPOOL
            numbers = (*op.kernel, *op.stride, *op.padding)
        case AvgPool():
            kind, numbers = _AVGPOOL, (*op.kernel, *op.stride, *op.padding)
        case GlobalAvgPool():
            kind = _GLOBAL
        case LRN():
            kind, numbers, reals = _LRN, (op.size,), (op.alpha, op.beta, op.k)
        case Concat():
            kind = _CONCAT
        case Add():
            kind = _ADD
        case Flatten():
            kind = _FLATTEN
    out.append(kind)
    if kind == _CONCAT:
        put_varint(out, len(op.inputs))
    for i in op.inputs:
        put_varint(out, value - i)  # how many values back: almost always 1
    for number in numbers:
        put_varint(out, number)
    for real in reals:
        put_float32(out, real)


def _take_op(cursor: Cursor, value: int) -> Op:
    kind = cursor.byte()
    operands = {_CONCAT: 0, _ADD: 2}.get(kind, 1) or cursor.varint(MAX_OPS)
    inputs = tuple(value - cursor.varint(value) for _ in range(operands))

    def pair() -> Pair:
        return cursor.varint(), cursor.varint()

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
        case _:
            raise BadGraph(f"unknown operation {kind}; a newer squeezenet may know it")
