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
from typing import ClassVar

from squeezenet.errors import BadGraph
from squeezenet.limits import MAX_ELEMENTS

Shape = tuple[int, ...]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Conv:
    """2-D convolution with bias. Weight: (out, in // groups, kernel height, kernel width)."""

    inputs: tuple[int, ...]
    name: str
    out: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    groups: int = 1

    def shape(self, c: int, h: int, w: int) -> Shape:
        if not (self.out > 0 and self.groups > 0) or c % self.groups or self.out % self.groups:
            raise BadGraph(f"{self.name}: {c} -> {self.out} channels cannot be split into {self.groups} groups")
        return (self.out, *_window((h, w), self.kernel, self.stride, self.padding, ceil=False))

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
class MaxPool:
    """Maximum over windows. With `ceil` the last window may extend past the edge of the image, as in Caffe."""

    inputs: tuple[int, ...]
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil: bool = False

    def shape(self, c: int, h: int, w: int) -> Shape:
        return (c, *_window((h, w), self.kernel, self.stride, self.padding, self.ceil, pool=True))


@dataclass(frozen=True)
class AvgPool:
    """Mean over windows; padding counts as zeros."""

    inputs: tuple[int, ...]
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)

    def shape(self, c: int, h: int, w: int) -> Shape:
        return (c, *_window((h, w), self.kernel, self.stride, self.padding, ceil=False, pool=True))


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
class Concat:
    """Concatenation along channels."""

    inputs: tuple[int, ...]

    def shape_of(self, shapes: list[Shape]) -> Shape:
        if any(len(s) != 3 or s[1:] != shapes[0][1:] for s in shapes):
            raise BadGraph(f"cannot join {shapes} along channels")
        return (sum(s[0] for s in shapes), *shapes[0][1:])


@dataclass(frozen=True)
class Add:
    """Sum of two values of the same shape."""

    inputs: tuple[int, ...]

    def shape_of(self, shapes: list[Shape]) -> Shape:
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            raise BadGraph(f"cannot add {shapes}")
        return shapes[0]


@dataclass(frozen=True)
class Flatten:
    """(channels, height, width) -> (features,)."""

    inputs: tuple[int, ...]

    def shape(self, *shape: int) -> Shape:
        return (prod(shape),)


Op = Conv | Linear | ReLU | MaxPool | AvgPool | GlobalAvgPool | LRN | Concat | Add | Flatten
Layer = Conv | Linear  # the operations with weights


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
            if isinstance(op, Concat | Add):
                shapes.append(op.shape_of(operands))
            elif len(operands) != 1:
                raise BadGraph(f"{type(op).__name__} takes one input, not {len(op.inputs)}")
            else:
                operand = operands[0]
                if not isinstance(op, ReLU | Flatten) and len(operand) != (1 if isinstance(op, Linear) else 3):
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


def _window(size: Pair, kernel: Pair, stride: Pair, padding: Pair, ceil: bool, pool: bool = False) -> Pair:
    out = []
    for n, k, s, p in zip(size, kernel, stride, padding, strict=True):
        if k < 1 or s < 1 or p < 0 or (pool and 2 * p > k):
            raise BadGraph(f"window of {kernel}, stride {stride}, padding {padding}")
        span = n + 2 * p - k
        if span < 0:
            raise BadGraph(f"a window of {kernel} does not fit into {size}")
        count = span // s + 1
        # The last, partial window counts only if it starts inside the image or the padding before it.
        if ceil and span % s and count * s < n + p:
            count += 1
        out.append(count)
    return out[0], out[1]
