"""Checks that the scales of an integer network fit its operations (docs/FORMAT.md, "Integer networks").

>>> graph = Graph((3, 8, 8), (Conv((0,), "conv1", 4, (3, 3)), ReLU((1,)), GlobalAvgPool((2,)), Flatten((3,))))
>>> check_scales(graph, (Scale(-40, 128), Scale(-24), Scale(-24), Scale(-88, wide=True), Scale(-88, wide=True)))
"""

from collections.abc import Sequence

from squeezenet.errors import BadGraph
from squeezenet.fixed_point import FINER, MAX_RESCALING, MIN_RESCALING, Scale
from squeezenet.graph import (
    LRN,
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Layer,
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
)

MAX_EXPONENT = 255


def takes_nine_bits(op: Op) -> bool:
    """Whether an operation may have a 9-bit input and a 9-bit result, each independently of the other."""
    return isinstance(op, Linear) or (isinstance(op, Conv) and op.groups == 1)


def keeps_nine_bits(op: Op) -> bool:
    """Whether the result of an operation has 9 bits if its input has."""
    match op:
        case ReLU():
            return not op.cap
        case AdaptivePool():
            return op.maximum
        case _:
            return isinstance(op, MaxPool | Flatten | Select | Upsample)


def has_own_scale(op: Op) -> bool:
    """Whether an operation computes with scales: its result has one of its own. Others move or average elements."""
    return isinstance(op, Layer | Activation | Add | Multiply)


def check_operations(graph: Graph) -> None:
    """Raise `BadGraph` for an operation that integer networks do not have."""
    for op in graph.ops:
        if isinstance(op, LRN | LayerNorm):
            raise no_integer_form(op)


def no_integer_form(op: Op) -> BadGraph:
    """The error of every backend for an operation that integer networks do not have."""
    return BadGraph(f"{type(op).__name__} has no integer form; use --method deep-compression")


def check_scales(graph: Graph, scales: Sequence[Scale]) -> None:
    """Raise `BadGraph` unless `scales` has one for the image and one for each operation, and all fit together."""
    check_operations(graph)
    if len(scales) != len(graph.ops) + 1:
        raise BadGraph(f"{len(scales)} scales for {len(graph.ops) + 1} values")
    for number, scale in enumerate(scales):
        highest_zero = 0 if scale.wide or scale.nine_bit else 255
        if not (0 <= scale.zero <= highest_zero and abs(scale.exponent) <= MAX_EXPONENT) or (
            scale.wide and scale.nine_bit
        ):
            raise BadGraph(f"value {number} has no possible scale")
    if scales[0].wide or scales[0].nine_bit or scales[-1].nine_bit:
        raise BadGraph("the image must have 8 bits, and the logits 8 bits or be wide")
    for index, op in enumerate(graph.ops):
        _check(op, [scales[i] for i in op.inputs], scales[index + 1])


def _check(op: Op, sources: list[Scale], target: Scale) -> None:
    source, what = sources[0], type(op).__name__
    if not isinstance(op, Flatten) and any(scale.wide for scale in sources):
        raise BadGraph(f"{what} reads a wide value; only the logits may be wide")
    if any(scale.nine_bit for scale in (*sources, target)) and not (keeps_nine_bits(op) or takes_nine_bits(op)):
        raise BadGraph(f"{what} cannot read or make a 9-bit value")
    match op:
        case Conv() | Linear():
            fits = True
        case Activation():
            fits = not target.wide
        case ReLU() | MaxPool() | AvgPool() | AdaptivePool() | Flatten() | Select() | Upsample():
            fits = source == target
        case Concat():
            fits = all(scale == target for scale in sources)
        case GlobalAvgPool():
            fits = source == target or target == Scale(source.exponent - FINER, wide=True)
        case Add():
            rescalings = [target.exponent - scale.exponent for scale in sources]
            fits = not target.wide and all(MIN_RESCALING <= rescaling <= MAX_RESCALING for rescaling in rescalings)
        case Multiply():
            rescaling = target.exponent - sum(scale.exponent for scale in sources)
            fits = not target.wide and MIN_RESCALING <= rescaling <= MAX_RESCALING
        case LRN() | LayerNorm():
            raise no_integer_form(op)
    if not fits:
        raise BadGraph(f"{what}: the scales of its inputs and of its result do not fit together")
