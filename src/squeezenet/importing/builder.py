"""Builds a draft of a graph from the operations of another program, whatever the layout of its tensors.

    >>> builder = Builder((3, 8, 8))
    >>> x = builder.conv(builder.image, "conv1", np.ones((4, 3, 3, 3)), np.zeros(4), padding=(1, 1))
    >>> x = builder.mean(builder.elementwise(x, ReLU((0,))), (2, 3))
    >>> builder.finish(x)
    >>> [type(op).__name__ for op in builder.draft.ops.values()]
    ['Conv', 'ReLU', 'GlobalAvgPool', 'Flatten']

A tensor of the other program is described by a `Value`: the elements of a value of the graph, (channels, height, width)
or (features,), in some order. So views, permutations, slices, and copies of a part need no operation of their own: they
change only the order. If an operation needs the elements in their usual order, operations are added that move them
(`importing.placing`), or the weights are put into the same order as the elements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import (
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Pair,
    ReLU,
    Shape,
    Sides,
    Upsample,
    shortest,
)
from squeezenet.importing import placing
from squeezenet.importing.draft import Affine, Draft, Erf, Pad, Real, Softmax, Step, Unflatten

Order = NDArray[np.int64]
FLOAT32_MAX = float(np.finfo(np.float32).max)
SMALLEST = 1e-30
"""What is added to a divisor, so that it is never 0."""
MOST_BRANCHES = 4
"""Most elements of a softmax that is not at the end: it takes about as many operations as their square."""
MOST_SUMMED = 16
"""Most parts that a sum over an axis is written as, each with an operation of its own."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor: its shape with the batch, and where its elements are in value `number` of the draft.

    `order` has the shape of the tensor. `n * size + i` in it stands for element `i` of image `n`, where `size` is the
    number of elements of the draft's value; -1 stands for a zero. Without `order`, the elements have the draft's order.
    """

    number: int
    shape: Shape
    order: Order | None = None


class Builder:
    """The draft, and one method for each kind of operation. All methods raise `UnsupportedOperation`.

    `batch` is the number of images in the tensors of the other program. `origin` may be set before an operation is
    added; it says where the operation stands in the other program.
    """

    def __init__(self, input_shape: Shape, batch: int = 1) -> None:
        self.draft = Draft(input_shape)
        self.batch = batch
        self.origin = ""
        self.image = Value(0, (batch, *input_shape))
        self._placed: dict[tuple[object, ...], int] = {}

    # Orders of elements

    def order(self, x: Value) -> Order:
        """The order of the elements of `x`, written out."""
        if x.order is not None:
            return x.order
        return np.arange(prod(x.shape), dtype=np.int64).reshape(x.shape)

    def view(self, x: Value, order: Order) -> Value:
        """A tensor of the elements of the same value in another order."""
        size = self.batch * prod(self.base(x))
        usual = order.size == size and bool((order.ravel() == np.arange(size)).all())
        return Value(x.number, order.shape, None if usual else order)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """The same elements in another shape, which may have one -1."""
        order = x.order
        if order is None:
            return Value(x.number, np.broadcast_to(np.int8(0), x.shape).reshape(shape).shape)
        return self.view(x, order.reshape(shape))

    def base(self, x: Value) -> Shape:
        """The shape that the value has in the draft."""
        return self.draft.shapes[x.number]

    def _put(self, op: Step) -> int:
        return self.draft.put(op, self.origin)

    def map(self, x: Value) -> int:
        """The number of a value (channels, height, width) that holds `x`, which is (batch, channels, height, width)."""
        if len(x.shape) != 4:
            raise UnsupportedOperation(f"a tensor of {len(x.shape)} dimensions where an image is expected")
        base = self.base(x)
        if x.order is None and base == x.shape[1:]:
            return x.number
        key = (x.number, x.shape, None if x.order is None else x.order.tobytes())
        if key not in self._placed:
            number = x.number
            if len(base) == 1:
                number = self._put(Unflatten((number,)))
            if x.order is not None or self.draft.shapes[number] != x.shape[1:]:
                number = placing.place(self.draft, number, self._first(x), self.origin)
            self._placed[key] = number
        return self._placed[key]

    def flat(self, x: Value) -> int:
        """The number of a value (features,) that holds `x`, which is (batch, features)."""
        if len(x.shape) != 2 or x.shape[0] != self.batch:
            raise UnsupportedOperation(f"a tensor {x.shape} where features are expected; flatten to (N, features)")
        base = self.base(x)
        if x.order is None and len(base) == 1:
            return x.number
        number = x.number
        if x.order is not None or prod(base) != x.shape[1]:
            number = self.map(Value(number, (*x.shape, 1, 1), self.order(x)[:, :, None, None]))
        key = (number, "flat")
        if key not in self._placed:
            self._placed[key] = self._put(Flatten((number,)))
        return self._placed[key]

    def _first(self, x: Value) -> Order:
        """The order within the first image. Raises `UnsupportedOperation` if images are mixed."""
        order = self.order(x)
        size = prod(self.base(x))
        first: Order = order[0]
        others = np.where(first >= 0, first + size * np.arange(len(order)).reshape(-1, *[1] * first.ndim), -1)
        if len(order) != self.batch or (others != order).any() or (first >= size).any():
            raise UnsupportedOperation("a tensor in which images of a batch are mixed")
        return first

    def _channels_last(self, x: Value, axis: int) -> Order | None:
        """(other axes): the element of the first channel, if `axis` runs over all channels at one position; or None."""
        base = self.base(x)
        positions = prod(base[1:])
        order = np.moveaxis(self.order(x), axis, -1)
        if order.shape[-1] != base[0]:
            return None
        firsts = order[..., 0]
        same = (order == firsts[..., None] + positions * np.arange(base[0])).all()
        if not same or (firsts < 0).any() or (firsts % prod(base) >= positions).any():
            return None
        return np.ascontiguousarray(firsts)

    def _with_channels(self, number: int, before: Shape, firsts: Order, axis: int) -> Value:
        """The channels of value `number` along `axis`, at the positions that `firsts` gives for the shape `before`."""
        now = self.draft.shapes[number]
        images, places = np.divmod(firsts, prod(before))
        positions = prod(now[1:])
        order = (images * prod(now) + places)[..., None] + positions * np.arange(now[0])
        return self.view(Value(number, ()), np.moveaxis(order, -1, axis))

    def _whole(self, x: Value) -> bool:
        """Whether `x` has every element of its value exactly once."""
        if x.order is None:
            return True
        size = self.batch * prod(self.base(x))
        return x.order.size == size and bool((np.bincount(x.order.ravel() + 1, minlength=size + 1)[1:] == 1).all())

    def _compact(self, x: Value) -> Value:
        """`x` as a value of the draft without any other elements, if `x` is a map or a row of features."""
        if len(x.shape) not in (2, 4) and x.order is not None and (x.order < 0).any():
            raise UnsupportedOperation(f"zeros beside the elements of a tensor of {len(x.shape)} dimensions")
        if len(x.shape) not in (2, 4) or x.shape[0] != self.batch or self._whole(x):
            return x
        if len(x.shape) == 2:
            return Value(self.flat(x), x.shape)
        if self._channels_behind(x):  # (batch, height, width, channels)
            channels_first = self._compact(self.view(x, self.order(x).transpose(0, 3, 1, 2)))
            return self.view(channels_first, self.order(channels_first).transpose(0, 2, 3, 1))
        return Value(self.map(x), x.shape)

    def _channels_behind(self, x: Value) -> bool:
        """Whether the last axis runs over some or all channels of the value, at one position."""
        positions = prod(self.base(x)[1:])
        steps = np.diff(self.order(x), axis=-1)
        return x.order is not None and positions > 1 and x.shape[-1] > 1 and not (steps % positions).any()

    # Layers

    def conv(
        self,
        x: Value,
        name: str,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        stride: Pair = (1, 1),
        padding: Pair | Sides = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> Value:
        """A convolution; `weight` is (out, in / groups, height, width)."""
        kernels = np.asarray(weight)
        if kernels.ndim != 4:
            raise UnsupportedOperation(f"{name}: a convolution with {kernels.ndim - 2} dimensions")
        height, width = kernels.shape[2:]
        number = self.map(x)
        name = self._layer(name, kernels, bias)
        padding = shortest(padding) if len(padding) == 4 else padding
        op = Conv((number,), name, len(kernels), (height, width), stride, padding, groups, dilation)
        return self._mapped(self._put(op))

    def linear(self, x: Value, name: str, weight: ArrayLike, bias: ArrayLike | None = None) -> Value:
        """A matrix product over the last axis; `weight` is (out, in)."""
        matrix = np.asarray(weight)
        if x.shape[-1] != matrix.shape[1]:
            raise UnsupportedOperation(f"{name}: {x.shape[-1]} features for a layer of {matrix.shape[1]}")
        firsts = self._channels_last(x, -1)
        if firsts is not None and (len(x.shape) != 2 or (len(x.shape) == 2 and x.shape[0] != self.batch)):
            before = self.base(x)
            number = x.number if len(before) == 3 else self._put(Unflatten((x.number,)))
            name = self._layer(name, matrix[:, :, None, None], bias)
            number = self._put(Conv((number,), name, len(matrix), (1, 1)))
            return self._with_channels(number, before, firsts, -1)
        if len(x.shape) != 2:
            x_flat = self.reshape(x, (self.batch, -1))
            if x_flat.shape[1] != x.shape[-1]:
                raise UnsupportedOperation(f"{name}: a matrix product over an axis that is not that of channels")
            result = self.linear(x_flat, name, weight, bias)
            return self.reshape(result, (*x.shape[:-1], len(matrix)))
        base = self.base(x)
        if x.order is not None:  # the weights are put into the order of the value
            first, placed = self._first(x), np.zeros((len(matrix), prod(base)), np.float32)
            np.add.at(placed.T, first[first >= 0], matrix.T[first >= 0])
            matrix, x = placed, Value(x.number, (self.batch, prod(base)))
        name = self._layer(name, matrix, bias)
        number = self._put(Linear((self.flat(x),), name, len(matrix)))
        return Value(number, (self.batch, len(matrix)))

    def affine(self, x: Value, name: str, scale: ArrayLike, shift: ArrayLike) -> Value:
        """x * scale + shift; both broadcast to the shape of `x`."""
        scales, shifts = (np.asarray(a, np.float64) for a in (scale, shift))
        try:
            wide = [np.broadcast_to(a, x.shape) for a in (scales, shifts)]
        except ValueError:
            raise UnsupportedOperation(f"a tensor {x.shape} is widened by a constant {scales.shape}") from None
        if (scales == 1).all() and not shifts.any():
            return x
        x = self._compact(x)
        base = self.base(x)
        channel = self.order(x).ravel() % prod(base) // prod(base[1:])
        found = []
        for each, values, unused in zip((scales, shifts), wide, (1.0, 0.0), strict=True):
            one = np.full(base[0], unused)
            one[channel] = values.ravel()
            if each.size > 1 and (one[channel] != values.ravel()).any():
                if len(x.shape) == 2 and len(base) == 3:
                    return self.affine(Value(self.flat(x), x.shape), name, scale, shift)
                raise UnsupportedOperation("a constant that differs between positions of an image")
            found.append(one)
        name = self.draft.name(name)
        self.draft.weights[name] = found[0], found[1]
        return replace(x, number=self._put(Affine((x.number,), name)))

    def _layer(self, name: str, weight: Real, bias: ArrayLike | None) -> str:
        name = self.draft.name(name)
        held = np.zeros(len(weight)) if bias is None else np.array(bias, np.float64)
        self.draft.weights[name] = np.array(weight, np.float32), held  # a copy
        return name

    # Functions of one number

    def elementwise(self, x: Value, op: ReLU | Activation | Erf) -> Value:
        """A function of each element: `op`, with other inputs."""
        x = self._compact(x)
        return replace(x, number=self._put(replace(op, inputs=(x.number,))))

    def prelu(self, x: Value, name: str, slope: ArrayLike) -> Value:
        """x if x > 0, else slope * x; `slope` broadcasts to `x`: max(x, 0) + slope * min(x, 0)."""
        slopes = np.asarray(slope, np.float64)
        if slopes.size == 1:
            return self.elementwise(x, Activation((0,), "leaky_relu", float(slopes.item())))
        below = self.elementwise(x, Activation((0,), "clamp", -FLOAT32_MAX, 0.0))
        return self.add(self.elementwise(x, ReLU((0,))), self.affine(below, name, slopes, 0.0))

    def power(self, x: Value, exponent: float) -> Value:
        """x ^ exponent, for values that are never negative."""
        return self.elementwise(x, Activation((0,), "power", exponent, SMALLEST if exponent < 0 else 0.0))

    def softmax(self, x: Value, axis: int, logarithm: bool = False) -> Value:
        """Softmax, or its logarithm. Only the end of a network may be one, unless it is over a few branches."""
        axis %= len(x.shape)
        if 2 <= x.shape[axis] <= MOST_BRANCHES and len(x.shape) > 2 and x.shape[0] == self.batch and not logarithm:
            return self._softmax_of_branches(x, axis)
        if axis != 1 or x.shape[0] != self.batch or prod(x.shape[2:]) != 1:
            raise UnsupportedOperation("softmax over positions cannot be expressed (attention?)")
        x = self._compact(x)
        return replace(x, number=self._put(Softmax((x.number,), logarithm)))

    def _softmax_of_branches(self, x: Value, axis: int) -> Value:
        """Element i is sigmoid(x_i - log(sum of exp(x_j) of all other j)); log(e^a + e^b) = b + softplus(a - b)."""
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        shape = rest if len(rest) == 4 else (self.batch, -1, 1, 1)
        orders = np.moveaxis(self.order(x), axis, 0)
        parts = [self.reshape(self.view(x, np.ascontiguousarray(order)), shape) for order in orders]

        def minus(a: Value, b: Value) -> Value:
            return self.add(a, self.affine(b, "negative", -1.0, 0.0))

        gates = []
        for i, part in enumerate(parts):
            first, *others = parts[:i] + parts[i + 1 :]
            for other in others:
                first = self.add(first, self.elementwise(minus(other, first), Activation((0,), "softplus", 1.0)))
            gate = self.elementwise(minus(part, first), Activation((0,), "sigmoid"))
            gates.append(self.reshape(gate, (*rest[:axis], 1, *rest[axis:])))
        return self.concat(gates, axis)

    # Windows and reductions

    def pool(self, x: Value, op: MaxPool | AvgPool | AdaptivePool) -> Value:
        """A pool over windows: `op`, with other inputs."""
        return self._mapped(self._put(replace(op, inputs=(self.map(x),))))

    def adaptive(self, x: Value, size: Pair, maximum: bool = False) -> Value:
        """An adaptive pool. Where possible, it becomes a pool with equal windows, or a repetition of elements."""
        height, width = x.shape[-2:]
        if size == (height, width):
            return x
        if size == (1, 1) and not maximum:
            return self._mapped(self._put(GlobalAvgPool((self.map(x),))))
        if not (size[0] % height or size[1] % width):
            return self.upsample(x, (size[0] // height, size[1] // width))
        if height % size[0] or width % size[1]:
            return self.pool(x, AdaptivePool((0,), size, maximum))
        window = height // size[0], width // size[1]
        return self.pool(x, MaxPool((0,), window, window) if maximum else AvgPool((0,), window, window))

    def pad(self, x: Value, sides: Sides, value: float = 0.0) -> Value:
        """A border around each channel."""
        return self._mapped(self._put(Pad((self.map(x),), sides, value))) if any(sides) else x

    def upsample(self, x: Value, factor: Pair) -> Value:
        """Every row and every column repeated."""
        return self._mapped(self._put(Upsample((self.map(x),), factor)))

    def mean(self, x: Value, axes: Sequence[int], keepdim: bool = False, maximum: bool = False) -> Value:
        """The mean over `axes`, or the maximum."""
        rank = len(x.shape)
        axes = sorted(axis % rank for axis in axes)
        kept = tuple(axis for axis in range(rank) if axis not in axes)
        shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape) if keepdim or axis in kept)
        if prod(x.shape[axis] for axis in axes) == 1:
            return self.reshape(x, shape)
        x = self._compact(x)
        order = self.order(x).transpose(*kept, *axes).reshape(*[x.shape[axis] for axis in kept], -1)
        base = self.base(x)
        positions = prod(base[1:])
        firsts = order.min(-1)
        whole = order.shape[-1] == positions > 1 and not (firsts % positions).any()
        if whole and (np.sort(order, -1) == firsts[..., None] + np.arange(positions)).all():
            op = AdaptivePool((x.number,), (1, 1), True) if maximum else GlobalAvgPool((x.number,))
            return self.view(Value(self._put(op), ()), (firsts // positions).reshape(shape))
        over_channels = self._channels_last(x, axes[0]) if len(axes) == 1 and not maximum else None
        if over_channels is not None and len(base) == 3:
            name = self._layer("mean", np.full((1, base[0], 1, 1), 1 / base[0]), None)
            number = self._put(Conv((x.number,), name, 1, (1, 1)))
            mean = self._with_channels(number, base, over_channels, -1)
            return self.reshape(mean, shape)
        if rank == 4 and axes in ([2], [3], [2, 3]) and x.shape[0] == self.batch:
            left = 1 if 2 in axes else x.shape[2], 1 if 3 in axes else x.shape[3]
            return self.reshape(self.adaptive(x, left, maximum), shape)
        if maximum and len(axes) == 1 and rank == 4:
            return self.reshape(self._largest(x, axes[0]), shape)
        if maximum:
            raise UnsupportedOperation("a maximum over several axes cannot be expressed")
        parts = np.moveaxis(order, -1, 0)
        if len(parts) > MOST_SUMMED:
            raise UnsupportedOperation(f"a sum over {len(parts)} elements that are not all positions of a channel")
        total = self.view(x, parts[0])
        for part in parts[1:]:
            total = self.add(total, self.view(x, part))
        return self.reshape(self.affine(total, "mean", 1 / len(parts), 0.0), shape)

    def _largest(self, x: Value, axis: int) -> Value:
        """The maximum along one axis, of length 1: the larger half, again and again. The halves may overlap."""
        while (count := x.shape[axis]) > 1:
            half = -(-count // 2)
            order = self.order(x)
            first, second = order.take(range(half), axis), order.take(range(count - half, count), axis)
            x = self.maximum(self.view(x, first), self.view(x, second))
        return x

    def layer_norm(self, x: Value, axis: int, epsilon: float) -> Value:
        """Layer normalisation over one axis, which must be that of the channels; without scale and shift."""
        x = self._compact(x)
        if self._channels_last(x, axis) is None:
            raise UnsupportedOperation("layer normalisation over anything but channels cannot be expressed")
        return replace(x, number=self._put(LayerNorm((x.number,), epsilon)))

    def group_norm(self, x: Value, groups: int, epsilon: float) -> Value:
        """Each group of channels of (batch, channels, height, width) minus its mean, divided by its deviation.

        It is written as means, sums and products: each mean is a global average and a grouped convolution.
        """
        lower = self._group_mean(x, groups, -1.0)
        centred = self.add(x, self._spread(lower, x.shape[1]))
        variance = self._group_mean(self.multiply(centred, centred), groups, 1.0)
        scale = self.elementwise(variance, Activation((0,), "power", -0.5, epsilon))
        return self.multiply(centred, self._spread(scale, x.shape[1]))

    def _group_mean(self, x: Value, groups: int, factor: float) -> Value:
        """`factor` times the mean of each group of channels: (batch, groups, 1, 1)."""
        mean = self.mean(x, (2, 3), keepdim=True)
        width = x.shape[1] // groups
        weight = np.full((groups, width, 1, 1), factor / width)
        return self.conv(mean, "mean", weight, groups=groups) if width > 1 else self.affine(mean, "mean", factor, 0.0)

    def _spread(self, x: Value, channels: int) -> Value:
        """(batch, groups, 1, 1) -> (batch, channels, 1, 1): each channel has the number of its group."""
        return self._mapped(self.map(self.view(x, self.order(x).repeat(channels // x.shape[1], 1))))

    # Joins

    def add(self, a: Value, b: Value) -> Value:
        """The sum of two tensors, which are broadcast."""
        return self._join(a, b, Add)

    def maximum(self, a: Value, b: Value, sign: float = 1.0) -> Value:
        """The larger of two tensors: a + max(b - a, 0). With `sign` -1 the smaller one: a - max(a - b, 0)."""
        more = self.add(self.affine(b, "more", sign, 0.0), self.affine(a, "less", -sign, 0.0))
        return self.add(a, self.affine(self.elementwise(more, ReLU((0,))), "more", sign, 0.0))

    def multiply(self, a: Value, b: Value) -> Value:
        """The product of two tensors, which are broadcast."""
        return self._join(a, b, Multiply)

    def _join(self, a: Value, b: Value, kind: type[Add | Multiply]) -> Value:
        shape = np.broadcast_shapes(a.shape, b.shape)
        if b.shape == shape and (a.shape != shape or prod(self.base(a)) < prod(self.base(b))):
            a, b = b, a
        if a.shape != shape:
            raise UnsupportedOperation(f"tensors {a.shape} and {b.shape} are both widened")
        a = self._compact(a)
        base, other = self.base(a), self.base(b)
        wide = np.broadcast_to(self.order(b), shape)
        if base == other and (a.order is b.order is None or (self.order(a) == wide).all()):
            return replace(a, number=self._put(kind((a.number, b.number))))
        positions = prod(base[1:])
        if len(base) == 3 and prod(other) == other[0] == base[0] and (self.order(a) // positions == wide).all():
            narrow = b.number if len(other) == 3 else self._put(Unflatten((b.number,)))
            return replace(a, number=self._put(kind((a.number, narrow))))
        if len(base) == 3 and self._whole(a):  # `b` in the order of the elements of `a`
            turned = np.empty((self.batch, base[0], positions), np.int64)
            turned.reshape(-1)[self.order(a).ravel()] = wide.ravel()
            same = (turned == turned[..., :1]).all()
            turned = turned[..., :1, None] if same else turned.reshape(self.batch, *base)
            return replace(a, number=self._put(kind((a.number, self.map(self.view(b, turned))))))
        b = self.view(b, wide)
        if len(shape) == 2:
            return Value(self._put(kind((self.flat(a), self.flat(b)))), shape)
        return self._mapped(self._put(kind((self.map(a), self.map(b)))))

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """Tensors one after the other along `axis`."""
        if len(values) == 1:
            return values[0]
        values = [self._compact(value) for value in values]
        bases = [self.base(value) for value in values]
        numbers = [value.number for value in values]
        if any(len(base) == 1 for base in bases):
            numbers = [
                self._put(Unflatten((n,))) if len(base) == 1 else n for n, base in zip(numbers, bases, strict=True)
            ]
            bases = [self.draft.shapes[number] for number in numbers]
        if any(base[1:] != bases[0][1:] for base in bases):
            raise UnsupportedOperation(f"tensors of {bases} cannot be joined")
        total, offset, orders = sum(prod(base) for base in bases), 0, []
        for value, base in zip(values, bases, strict=True):
            images, places = np.divmod(self.order(value), prod(base))
            orders.append(images * total + offset + places)
            offset += prod(base)
        try:
            order = np.concatenate(orders, axis)
        except ValueError as error:
            raise UnsupportedOperation(str(error)) from None
        return self.view(Value(self._put(Concat(tuple(numbers))), ()), order)

    # The end

    def finish(self, logits: Value) -> None:
        """Make `logits`, which is (batch, classes), the output of the draft."""
        if len(logits.shape) != 2:
            raise UnsupportedOperation(
                f"the network returns a tensor {logits.shape[1:]} and no row of logits; flatten it to (N, classes)"
            )
        self.draft.output = self.flat(logits)

    def _mapped(self, number: int) -> Value:
        return Value(number, (self.batch, *self.draft.shapes[number]))
