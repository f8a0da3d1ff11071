"""Memory and work that a graph takes, as the format counts them (docs/FORMAT.md, "What a reader refuses").

    >>> from squeezenet.graph import Flatten, GlobalAvgPool
    >>> graph = Graph((1, 8, 8), (Conv((0,), "conv1", 16, (3, 3)), GlobalAvgPool((1,)), Flatten((2,))))
    >>> memory(graph, resize=8), work(graph)
    (4704, 328768)

Every reader computes both estimates in the same way. The memory and the work of an engine are rarely larger.
"""

from math import prod

from squeezenet import limits
from squeezenet.errors import LimitExceeded
from squeezenet.graph import (
    LRN,
    AdaptivePool,
    AvgPool,
    Conv,
    Graph,
    LayerNorm,
    Linear,
    MaxPool,
    Op,
    Shape,
    Window,
    sides,
)
from squeezenet.preparation import Size, sides_of

FEW_OUTPUTS = 8
"""With fewer outputs per group, an engine cannot compute a vector of outputs at once."""
LANES, DEPTH = 16, 4
"""The engine computes 16 outputs at once and adds 4 products at once. Weights are padded to multiples of both."""

_ELEMENT = 256  # work of reading or writing one element outside a layer's inner loop
_SLOW = 128  # work of a multiply-accumulate that is not computed in a vector


def check_limits(graph: Graph, resize: Size, size: int) -> None:
    """Raise `LimitExceeded` for a graph that needs more memory or work than a file of `size` bytes may."""
    if live(graph) > limits.MAX_LIVE:
        raise LimitExceeded(f"intermediate results of more than {limits.MAX_LIVE:,} elements are needed at once")
    shapes = graph.shapes()
    for op, shape in zip(graph.ops, shapes[1:], strict=True):
        if isinstance(op, Window):
            source = shapes[op.inputs[0]]
            if max(padded(op, source), source[0] * prod(shape[1:]) * prod(op.kernel)) > limits.MAX_WINDOWS:
                raise LimitExceeded(f"the windows of one operation hold more than {limits.MAX_WINDOWS:,} elements")
    if (weights := weight_count(graph)) > limits.MAX_WEIGHTS:
        raise LimitExceeded(f"the network has more than {limits.MAX_WEIGHTS:,} weights")
    if (asked := work(graph)) > (most := limits.FREE_WORK + limits.WORK_A_BYTE * size):
        raise LimitExceeded(f"one image takes {asked:,} steps; with a file of {size:,} bytes it may take {most:,}")
    if weights > max(limits.FREE_WEIGHTS, limits.WEIGHTS_A_BYTE * size):
        raise LimitExceeded(f"{size:,} bytes cannot hold the {weights:,} weights that are declared")
    if (asked := memory(graph, resize)) > (most := limits.FREE_MEMORY + limits.MEMORY_A_BYTE * size):
        raise LimitExceeded(f"the network takes {asked:,} bytes of memory; a file of {size:,} bytes may take {most:,}")


def least_bytes(graph: Graph, resize: Size) -> int:
    """The smallest size in bytes of a file with this graph that `check_limits` accepts."""
    weights, needed, steps = weight_count(graph), memory(graph, resize), work(graph)
    return max(
        0 if weights <= limits.FREE_WEIGHTS else -(-weights // limits.WEIGHTS_A_BYTE),
        -(-(needed - limits.FREE_MEMORY) // limits.MEMORY_A_BYTE),
        -(-(steps - limits.FREE_WORK) // limits.WORK_A_BYTE),
    )


def weight_count(graph: Graph) -> int:
    """Weights of all layers, without biases."""
    return sum(prod(shape) for shape in graph.weight_shapes().values())


def memory(graph: Graph, resize: Size) -> int:
    """Bytes for one image: resized and prepared image, values in memory at the same time, and twice the weights."""
    shapes = graph.shapes()
    lines = max((_lines(op, shapes[op.inputs[0]]) for op in graph.ops if isinstance(op, Conv)), default=0)
    weights = sum(_stored(op, shapes[op.inputs[0]]) for op in graph.layers)
    return 4 * (prod(sides_of(resize)) + prod(shapes[0]) + live(graph) + lines + 2 * weights)


def live(graph: Graph) -> int:
    """The most elements of values that are in memory at the same time. A value that is never read is not freed."""
    sizes, last = [prod(shape) for shape in graph.shapes()], graph.last_use()
    alive = most = sizes[0]
    for index, op in enumerate(graph.ops):
        alive += sizes[index + 1]
        most = max(most, alive)
        alive -= sum(sizes[i] for i in set(op.inputs) if last[i] == index)
    return most


def work(graph: Graph) -> int:
    """Work for one image, in multiply-accumulates of a large layer. One takes about 1/30 ns of one core."""
    shapes, macs = graph.shapes(), graph.macs()
    return sum(
        _work(op, [shapes[i] for i in op.inputs], shape, mac)
        for op, shape, mac in zip(graph.ops, shapes[1:], macs, strict=True)
    )


def padded(op: Window, shape: Shape) -> int:
    """Elements of the padded input of an operation."""
    channels, height, width = shape
    top, left, bottom, right = sides(op.padding)
    return channels * (height + top + bottom) * (width + left + right)


def _work(op: Op, sources: list[Shape], shape: Shape, macs: int) -> int:
    read = padded(op, sources[0]) if isinstance(op, Conv) else sum(map(prod, sources))
    moved = _ELEMENT * (read + prod(shape))
    match op:
        case Conv() | Linear() if op.out // op.groups < FEW_OUTPUTS:
            area = prod(op.kernel) if isinstance(op, Conv) else 1
            return moved + _SLOW * macs + _ELEMENT * prod(shape) * area
        case Conv() | Linear():
            return moved + macs
        case MaxPool() | AvgPool():
            return moved + _ELEMENT * prod(shape) * prod(op.kernel)
        case LRN():
            return moved + _ELEMENT * prod(shape) * op.size
        case AdaptivePool():  # an element is in at most two windows along each axis
            return moved + 4 * _ELEMENT * prod(sources[0])
        case LayerNorm():
            return moved + 2 * _ELEMENT * prod(shape)
        case _:
            return moved


def _lines(op: Conv, shape: Shape) -> int:
    """Elements of the padded input rows that one row of windows reads."""
    _, left, _, right = sides(op.padding)
    return shape[0] * ((op.kernel[0] - 1) * op.dilation[0] + 1) * (shape[2] + left + right)


def _stored(op: Conv | Linear, shape: Shape) -> int:
    """Weights as an engine stores them, padded to multiples of `LANES` outputs and `DEPTH` products of a row."""
    groups = op.groups
    height, width = op.kernel if isinstance(op, Conv) else (1, 1)
    return groups * _whole(op.out // groups, LANES) * height * _whole(shape[0] // groups * width, DEPTH)


def _whole(count: int, size: int) -> int:
    return -(-count // size) * size
