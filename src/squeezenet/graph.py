"""A network as a list of operations. Training, compression, files and the engine all use this description.

Value 0 is the prepared image; operation `i` produces value `i + 1`; the last value holds the logits.

    >>> graph = Graph((3, 32, 32), (Conv((0,), "conv1", 16, (3, 3)), ReLU((1,)), GlobalAvgPool((2,)), Flatten((3,))))
    >>> graph.shapes()[-1]
    (16,)

The graph has no weights: a `squeezenet.model.Model` has them, by the names of the operations.
Shapes are without the batch: (channels, height, width), or (features,) after `Flatten`.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import ClassVar, Literal

from squeezenet.errors import BadGraph
from squeezenet.limits import MAX_ELEMENTS

Shape = tuple[int, ...]
Pair = tuple[int, int]
Sides = tuple[int, int, int, int]
Padding = Pair | Sides
"""How far windows reach over the edges: (height, width) on both sides, or (top, left, bottom, right)."""

Function = Literal[
    "clamp",
    "leaky_relu",
    "elu",
    "hard_sigmoid",
    "hard_swish",
    "sigmoid",
    "silu",
    "tanh",
    "gelu",
    "gelu_tanh",
    "mish",
    "softplus",
    "power",
]
PARAMETERS: dict[Function, int] = {
    "clamp": 2,
    "leaky_relu": 1,
    "elu": 2,
    "hard_sigmoid": 2,
    "hard_swish": 2,
    "sigmoid": 0,
    "silu": 1,
    "tanh": 0,
    "gelu": 0,
    "gelu_tanh": 0,
    "mish": 0,
    "softplus": 1,
    "power": 2,
}
"""How many of the parameters `a` and `b` of an `Activation` each function uses."""


def sides(padding: Padding) -> Sides:
    """Padding as (top, left, bottom, right)."""
    return (*padding, *padding) if len(padding) == 2 else padding


def shortest(padding: Sides) -> Padding:
    """Padding as (height, width) if opposite sides are equal. Equal operations are then written in one way only."""
    return padding[:2] if padding[:2] == padding[2:] else padding


@dataclass(frozen=True)
class Conv:
    """2-D convolution with bias. Weight: (out, in // groups, kernel height, kernel width)."""

    inputs: tuple[int, ...]
    name: str
    out: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = (0, 0)
    groups: int = 1
    dilation: Pair = (1, 1)

    def shape(self, c: int, h: int, w: int) -> Shape:
        if not (self.out > 0 and self.groups > 0) or c % self.groups or self.out % self.groups:
            raise BadGraph(f"{self.name}: {c} -> {self.out} channels cannot be split into {self.groups} groups")
        return (self.out, *_positions(self, h, w))

    def weight_shape(self, c: int, *_: int) -> Shape:
        return (self.out, c // self.groups, *self.kernel)


@dataclass(frozen=True)
class Linear:
    """Fully connected layer with bias. Weight: (out, in)."""

    inputs: tuple[int, ...]
    name: str
    out: int
    groups: ClassVar[int] = 1

    def shape(self, features: int) -> Shape:
        if self.out < 1:
            raise BadGraph(f"{self.name}: a layer needs outputs")
        return (self.out,)

    def weight_shape(self, features: int) -> Shape:
        return (self.out, features)


@dataclass(frozen=True)
class ReLU:
    """max(x, 0), or min(max(x, 0), cap) if `cap` is not 0 (it is 6 in MobileNet)."""

    inputs: tuple[int, ...]
    cap: float = 0.0

    def shape(self, *shape: int) -> Shape:
        return shape


@dataclass(frozen=True)
class Activation:
    """A function of one number, for each element; `a` and `b` are its parameters. Unused parameters are 0.

    | function | result |
    |-|-|
    | clamp | min(max(x, a), b) |
    | leaky_relu | x if x > 0, else a * x |
    | elu | x if x > 0, else a * (exp(min(b * x, 0)) - 1) |
    | hard_sigmoid | h = min(max(a * x + b, 0), 1) |
    | hard_swish | x * h |
    | sigmoid | 1 / (1 + exp(-x)) |
    | silu | x / (1 + exp(-a * x)) |
    | tanh | tanh(x) |
    | gelu | x * (1 + erf(x / sqrt(2))) / 2 |
    | gelu_tanh | x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2 |
    | mish | x * tanh(log(1 + exp(x))) |
    | softplus | log(1 + exp(a * x)) / a |
    | power | (max(x, 0) + b) ^ a |
    """

    inputs: tuple[int, ...]
    function: Function
    a: float = 0.0
    b: float = 0.0

    def shape(self, *shape: int) -> Shape:
        if (PARAMETERS[self.function] < 2 and self.b) or (PARAMETERS[self.function] < 1 and self.a):
            raise BadGraph(f"{self.function} has {PARAMETERS[self.function]} parameters")
        divides = self.function == "power" and (self.b < 0 or (self.a < 0 and self.b == 0))
        if divides or (self.function == "clamp" and self.a > self.b) or (self.function == "softplus" and self.a <= 0):
            raise BadGraph(f"{self.function} with the parameters {self.a:g} and {self.b:g}")
        return shape


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows. With `ceil` the last window may extend past the edge of the image, as in Caffe."""

    inputs: tuple[int, ...]
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0)
    ceil: bool = False
    dilation: Pair = (1, 1)

    def shape(self, c: int, h: int, w: int) -> Shape:
        return (c, *_positions(self, h, w))


@dataclass(frozen=True)
class AvgPool:
    """Mean over windows. Padding counts as zeros if it is `counted`, otherwise it is left out of the mean.

    What lies past the padding, where a window reaches with `ceil`, is always left out.
    """

    inputs: tuple[int, ...]
    kernel: Pair
    stride: Pair
    padding: Padding = (0, 0)
    ceil: bool = False
    counted: bool = True
    dilation: Pair = (1, 1)

    def shape(self, c: int, h: int, w: int) -> Shape:
        return (c, *_positions(self, h, w))


@dataclass(frozen=True)
class AdaptivePool:
    """Mean over `size` windows, or their maximum.

    Along an axis of h elements, window i of n covers the elements from i * h // n to below (i + 1) * h / n.
    """

    inputs: tuple[int, ...]
    size: Pair
    maximum: bool = False

    def shape(self, c: int, h: int, w: int) -> Shape:
        if not (1 <= self.size[0] <= h and 1 <= self.size[1] <= w):
            raise BadGraph(f"pooling of {h} x {w} to {self.size}")
        return (c, *self.size)


@dataclass(frozen=True)
class GlobalAvgPool:
    """Mean over all positions: (channels, height, width) -> (channels, 1, 1)."""

    inputs: tuple[int, ...]

    def shape(self, c: int, h: int, w: int) -> Shape:
        return (c, 1, 1)


@dataclass(frozen=True)
class LRN:
    """Local response normalisation across channels, as in AlexNet: x / (k + alpha / size * sum(x^2)) ** beta."""

    inputs: tuple[int, ...]
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def shape(self, c: int, h: int, w: int) -> Shape:
        if not 1 <= self.size <= c:
            raise BadGraph(f"local response normalisation over {self.size} of {c} channels")
        return (c, h, w)


@dataclass(frozen=True)
class LayerNorm:
    """Layer normalisation over the channels of each position: (x - mean) / sqrt(variance + epsilon), no affine part."""

    inputs: tuple[int, ...]
    epsilon: float = 1e-5

    def shape(self, *shape: int) -> Shape:
        return shape


@dataclass(frozen=True)
class Concat:
    """Concatenation along channels."""

    inputs: tuple[int, ...]

    def shape_of(self, shapes: list[Shape]) -> Shape:
        if any(len(s) != 3 or s[1:] != shapes[0][1:] for s in shapes):
            raise BadGraph(f"cannot join {shapes} along channels")
        return (sum(s[0] for s in shapes), *shapes[0][1:])


@dataclass(frozen=True)
class Select:
    """Some channels of a value, in an order given by two loops: a slice, a shuffle of groups, a reversal.

    Channel `i * counts[1] + j` of the result is channel `start + i * steps[0] + j * steps[1]` of the input, for i below
    counts[0] and j below counts[1]. A slice of n channels from the first has counts (1, n) and steps (0, 1).
    """

    inputs: tuple[int, ...]
    start: int
    counts: Pair
    steps: Pair = (0, 1)

    def shape(self, c: int, h: int, w: int) -> Shape:
        reach = [(count - 1) * step for count, step in zip(self.counts, self.steps, strict=True)]
        lowest, highest = self.start + sum(min(n, 0) for n in reach), self.start + sum(max(n, 0) for n in reach)
        if min(self.counts) < 1 or lowest < 0 or highest >= c:
            raise BadGraph(f"channels {lowest} to {highest} of {c}")
        return (self.counts[0] * self.counts[1], h, w)

    def picks(self) -> list[int]:
        """The numbers of the channels."""
        (rows, columns), (down, right) = self.counts, self.steps
        return [self.start + i * down + j * right for i in range(rows) for j in range(columns)]


@dataclass(frozen=True)
class Upsample:
    """Repeats rows and columns: position (y, x) of the result is (y // factor[0], x // factor[1]) of the input."""

    inputs: tuple[int, ...]
    factor: Pair

    def shape(self, c: int, h: int, w: int) -> Shape:
        if min(self.factor) < 1:
            raise BadGraph(f"repetition by {self.factor}")
        return (c, h * self.factor[0], w * self.factor[1])


@dataclass(frozen=True)
class Add:
    """Sum of two values of the same shape; the second may also be (channels, 1, 1), the same at all positions."""

    inputs: tuple[int, ...]

    def shape_of(self, shapes: list[Shape]) -> Shape:
        return _broadcast(shapes, "add")


@dataclass(frozen=True)
class Multiply:
    """Product of two values of the same shape; the second may also be (channels, 1, 1), the same at all positions."""

    inputs: tuple[int, ...]

    def shape_of(self, shapes: list[Shape]) -> Shape:
        return _broadcast(shapes, "multiply")


@dataclass(frozen=True)
class Flatten:
    """(channels, height, width) -> (features,)."""

    inputs: tuple[int, ...]

    def shape(self, *shape: int) -> Shape:
        return (prod(shape),)


Op = (
    Conv
    | Linear
    | ReLU
    | Activation
    | MaxPool
    | AvgPool
    | AdaptivePool
    | GlobalAvgPool
    | LRN
    | LayerNorm
    | Concat
    | Select
    | Upsample
    | Add
    | Multiply
    | Flatten
)
Layer = Conv | Linear  # the operations with weights
Window = Conv | MaxPool | AvgPool  # the operations with a kernel that moves over an image
Joining = Concat | Add | Multiply  # the operations that read more than one value
AnyShape = ReLU | Activation | LayerNorm | Flatten  # the other operations that also read flat values


@dataclass(frozen=True)
class Graph:
    """An image classifier: `input_shape` (channels, height, width) and operations in the order they run.

    Raises `BadGraph` on construction if an operation reads a value that does not exist yet, if shapes do not fit
    together, if two layers share a name, or if the last value is not a vector of logits.
    """

    input_shape: Shape
    ops: tuple[Op, ...]

    def __post_init__(self) -> None:
        if not self.ops or len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise BadGraph("a graph needs an image and at least one operation")
        names = [op.name for op in self.layers]
        if len(set(names)) != len(names):
            raise BadGraph("two layers share a name")
        if len(self.shapes()[-1]) != 1:
            raise BadGraph("the last operation must give one row of logits: end with Flatten or Linear")

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The operations with weights, in the order they run."""
        return tuple(op for op in self.ops if isinstance(op, Layer))

    def renamed(self, names: list[str]) -> "Graph":
        """The same graph with other names for its layers, in the order they run."""
        following = iter(names)
        ops = tuple(replace(op, name=next(following)) if isinstance(op, Layer) else op for op in self.ops)
        return Graph(self.input_shape, ops)

    def with_classes(self, classes: int) -> "Graph":
        """The same graph with `classes` outputs of the last layer. Raises `BadGraph` if these are not the logits."""
        last = self.layers[-1]
        graph = Graph(self.input_shape, tuple(replace(op, out=classes) if op is last else op for op in self.ops))
        if graph.classes != classes:
            raise BadGraph(f"{last.name}: the last layer does not make the logits")
        return graph

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.shapes()[-1][0]

    def shapes(self) -> list[Shape]:
        """The shape of every value: the image first, then each operation's result."""
        return list(self._shapes)

    @cached_property
    def _shapes(self) -> tuple[Shape, ...]:
        shapes: list[Shape] = [self.input_shape]
        for op in self.ops:
            if not op.inputs or not all(0 <= i < len(shapes) for i in op.inputs):
                raise BadGraph(f"{type(op).__name__} reads a value that does not exist yet")
            operands = [shapes[i] for i in op.inputs]
            if isinstance(op, Joining):
                shapes.append(op.shape_of(operands))
            elif len(operands) != 1:
                raise BadGraph(f"{type(op).__name__} takes one input, not {len(op.inputs)}")
            else:
                operand = operands[0]
                if not isinstance(op, AnyShape) and len(operand) != (1 if isinstance(op, Linear) else 3):
                    raise BadGraph(f"{type(op).__name__} cannot read a value of shape {operand}")
                shapes.append(op.shape(*operand))
            if prod(shapes[-1]) > MAX_ELEMENTS:
                raise BadGraph(f"{type(op).__name__} gives more than {MAX_ELEMENTS:,} elements")
        return tuple(shapes)

    def weight_shapes(self) -> dict[str, Shape]:
        """Layer name -> shape of its weight. The first entry is also the length of its bias."""
        shapes = self._shapes
        return {op.name: op.weight_shape(*shapes[op.inputs[0]]) for op in self.layers}

    def macs(self) -> list[int]:
        """Multiply-accumulates of every operation for one image; bias, pooling and activation are not counted."""
        shapes, weights = self._shapes, self.weight_shapes()
        return [
            prod(weights[op.name]) * prod(out[1:]) if isinstance(op, Layer) else 0
            for op, out in zip(self.ops, shapes[1:], strict=True)
        ]

    def last_use(self) -> list[int]:
        """For every value, the index of the last operation that reads it. Afterwards its memory is free."""
        last = [-1] * (len(self.ops) + 1)
        for index, op in enumerate(self.ops):
            for i in op.inputs:
                last[i] = index
        last[-1] = len(self.ops)
        return last


def _broadcast(shapes: list[Shape], what: str) -> Shape:
    if len(shapes) != 2 or shapes[1] not in (shapes[0], shapes[0][:1] + (1,) * (len(shapes[0]) - 1)):
        raise BadGraph(f"cannot {what} {shapes}")
    return shapes[0]


def _positions(op: Window, height: int, width: int) -> Pair:
    """How many windows an image of `height` x `width` has along each axis."""
    top, left, bottom, right = sides(op.padding)
    ceil = not isinstance(op, Conv) and op.ceil
    out = []
    for n, k, s, d, before, after in zip(
        (height, width), op.kernel, op.stride, op.dilation, (top, left), (bottom, right), strict=True
    ):
        reach = (k - 1) * d + 1
        # A window of a pool must hold an element of the image, and so padding and dilation are limited.
        pool = not isinstance(op, Conv)
        if min(k, s, d) < 1 or min(before, after) < 0 or (pool and (max(before, after) >= reach or (k > 1 and d > n))):
            raise BadGraph(f"window of {op.kernel}, stride {op.stride}, padding {op.padding}, dilation {op.dilation}")
        span = n + before + after - reach
        if span < 0:
            raise BadGraph(f"a window of {op.kernel} does not fit into {(height, width)}")
        count = span // s + 1
        # The last, partial window counts only if it starts inside the image or the padding before it.
        if ceil and span % s and count * s < n + before:
            count += 1
        out.append(count)
    return out[0], out[1]
