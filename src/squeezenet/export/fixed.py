"""A network whose steps are powers of two, as operations on fixed-point numbers: what `qonnx` and `hls4ml` express.

>>> [type(stage).__name__ for stage in fixed(model).stages][:3]         # doctest: +SKIP
['Convolution', 'Pool', 'Convolution']

`compress --scales power-of-two` makes such networks. Every value is of signed or unsigned bytes, with a binary point.
Halves are rounded up by adding a half to the bias, and rounding down. So a bias needs no bits below those of both the
products and the result: what rounding down removes from it, it would remove from the whole, too.

A 9-bit value q becomes two channels of 8 bits, min(q, 255) and max(q - 255, 0): a fixed-point number of 9 bits would
end at 511, not at 510. All values have the shape (channels, height, width). Means are convolutions.
"""

from dataclasses import dataclass

import numpy as np

from squeezenet.errors import UnsupportedOperation
from squeezenet.export.reach import reached
from squeezenet.fixed_point import BIAS_BITS, EIGHTHS, Integers, Scale
from squeezenet.graph import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Op,
    Pair,
    ReLU,
    Shape,
    Sides,
    sides,
)
from squeezenet.model import IntegerWeights, Model

SIGNED = 128
"""The zero point of signed bytes."""

HALF = 255
"""The largest element of each half of a 9-bit value."""

WIDE_BITS = 25
"""Of a logit, with its sign."""

SHARE_BITS = 16
"""Fractional bits of the reciprocal by which a mean multiplies."""


@dataclass(frozen=True)
class Value:
    """Integers of `bits` bits, times 2 ** `point`, in the shape (channels, height, width).

    The lowest integer of a `signed` value is the highest one negated, minus 1; without this 1 if it is `narrow`.
    """

    shape: Shape
    point: int
    bits: int = 8
    signed: bool = False
    narrow: bool = False


@dataclass(frozen=True, eq=False)
class Convolution:
    """Sums of weights times inputs, and biases, rounded down to the result and limited to it.

    The `weights` (out, in / groups, height, width) of an output are times 2 ** `points`, and its bias is times 2 **
    `bias_points`.
    """

    name: str
    source: int
    result: Value
    weights: Integers
    points: Integers
    biases: Integers
    bias_points: Integers
    stride: Pair = (1, 1)
    padding: Sides = (0, 0, 0, 0)
    groups: int = 1

    def largest(self, read: Value) -> Integers:
        """The largest magnitude of a sum that reads bytes, in the unit of the bias: (out,)."""
        products = np.abs(self.weights).reshape(len(self.weights), -1).sum(1) * 255
        found: Integers = (products << (self.points + read.point - self.bias_points)) + np.abs(self.biases)
        return found


@dataclass(frozen=True)
class Pool:
    """The largest element of each window. `padding` is such that the windows fit exactly."""

    name: str
    source: int
    result: Value
    kernel: Pair
    stride: Pair
    padding: Sides


@dataclass(frozen=True)
class Join:
    """The channels of several values, one after the other."""

    name: str
    sources: tuple[int, ...]
    result: Value


@dataclass(frozen=True)
class Sum:
    """The sum of two values of one shape, rounded to nearest, halves up, and limited to the result."""

    name: str
    sources: tuple[int, int]
    result: Value


Stage = Convolution | Pool | Join | Sum


@dataclass(frozen=True, eq=False)
class Network:
    """Value 0 is the image, value i + 1 the result of stage i. `output` is the value that holds the logits."""

    image: Value
    stages: tuple[Stage, ...]
    output: int

    @property
    def values(self) -> tuple[Value, ...]:
        return (self.image, *(stage.result for stage in self.stages))


def refusal(model: Model) -> str | None:
    """Why a model has no such form, or None if it has one."""
    if not model.scales:
        return "only integer networks are exported so; squeeze it first (squeezenet compress --scales power-of-two)"
    graph = model.graph
    names = ["the image", *(_name(op, index) for index, op in enumerate(graph.ops))]
    for name, scale in zip(names, model.scales, strict=True):
        if scale.exponent % EIGHTHS:
            return f"{name}: its step 2^({scale.exponent}/8) is no power of two; squeeze with --scales power-of-two"
        if scale.zero not in (0, SIGNED):
            return f"{name}: has the zero point {scale.zero}, not 0 or {SIGNED}; squeeze with --scales power-of-two"
    for index, op in enumerate(graph.ops):
        name, shapes = names[index + 1], [graph.shapes()[i] for i in op.inputs]
        match op:
            case Conv() | Linear():
                held = model.weights[op.name]
                assert isinstance(held, IntegerWeights)
                if (held.weight.exponents % EIGHTHS).any():
                    return f"{name}: steps of its weights are no powers of two; squeeze with --scales power-of-two"
                if isinstance(op, Conv) and op.dilation != (1, 1):
                    return f"{name}: has dilation {op.dilation[0]}; only 1 is exported"
            case ReLU():
                if op.cap or model.scales[index + 1].zero:
                    return f"{name}: a ReLU that is capped, or whose input is also read by others, is not exported"
            case AvgPool():
                if any(reached(op, shapes[0])) or op.dilation != (1, 1):
                    return f"{name}: a mean with padding or dilation is not exported"
            case MaxPool():
                if op.dilation != (1, 1):
                    return f"{name}: a maximum with dilation is not exported"
            case Add():
                if shapes[0] != shapes[1]:
                    return f"{name}: a sum of a value and of one number for each channel is not exported"
            case Concat() | GlobalAvgPool() | Flatten():
                pass
            case _:
                return f"{name}: is not exported"
    return None


def _name(op: Op, index: int) -> str:
    return op.name if isinstance(op, Conv | Linear) else f"{type(op).__name__} {index + 1}"


def fixed(model: Model) -> Network:
    """The network in fixed-point numbers. Raises `UnsupportedOperation`."""
    if reason := refusal(model):
        raise UnsupportedOperation(reason)
    shapes = model.graph.shapes()
    image = _value(shapes[0], model.scales[0])
    stages: list[Stage] = []
    place = [0]  # where each value of the graph is
    for index, op in enumerate(model.graph.ops):
        sources, name = [place[i] for i in op.inputs], _name(op, index)
        values = [image, *(stage.result for stage in stages)]
        shape, scale = shapes[op.inputs[0]], model.scales[index + 1]
        result = _value(shapes[index + 1], scale)
        match op:
            case Conv() | Linear():
                stages.append(_layer(model, op, sources[0], values[sources[0]], result, scale))
            case GlobalAvgPool():
                stages.append(_mean(name, sources[0], values[sources[0]], result, (shape[1], shape[2]), (1, 1)))
            case AvgPool():
                stages.append(_mean(name, sources[0], values[sources[0]], result, op.kernel, op.stride))
            case MaxPool():
                stages.append(Pool(name, sources[0], result, op.kernel, op.stride, reached(op, shape)))
            case Concat():
                stages.append(Join(name, tuple(sources), result))
            case Add():
                stages.append(Sum(name, (sources[0], sources[1]), result))
            case _:  # ReLU and Flatten change nothing: the value before is limited already, and has three axes here
                place.append(sources[0])
                continue
        place.append(len(stages))
    return Network(image, tuple(stages), place[-1])


def _value(shape: Shape, scale: Scale) -> Value:
    channels, height, width = (*shape, 1, 1)[:3]
    point = scale.exponent // EIGHTHS
    if scale.wide:
        return Value((channels, height, width), point, WIDE_BITS, signed=True, narrow=True)
    return Value((channels * (1 + scale.nine_bit), height, width), point, signed=scale.zero == SIGNED)


def _layer(model: Model, op: Conv | Linear, source: int, read: Value, result: Value, scale: Scale) -> Convolution:
    held = model.weights[op.name]
    assert isinstance(held, IntegerWeights)
    nine_bit = model.scales[op.inputs[0]].nine_bit
    inside = read.shape[0] // (1 + nine_bit)
    levels = held.weight.levels.astype(np.int64)
    if isinstance(op, Linear):
        levels = levels.reshape(op.out, inside, *read.shape[1:])
    points, biases = held.weight.exponents.astype(np.int64) // EIGHTHS, held.bias.astype(np.int64)
    if nine_bit:
        levels = np.concatenate([levels, levels], axis=1)
    if scale.nine_bit:
        levels, points = np.concatenate([levels, levels]), np.concatenate([points, points])
        biases = np.concatenate([biases, biases - (HALF << BIAS_BITS)])
    whole = _rounded_down(biases + (1 << BIAS_BITS >> 1), result.point - BIAS_BITS, points, read, result)
    more = (op.stride, sides(op.padding), op.groups) if isinstance(op, Conv) else ()
    return Convolution(op.name, source, result, levels, points, *whole, *more)


def _mean(name: str, source: int, read: Value, result: Value, kernel: Pair, stride: Pair) -> Convolution:
    """A convolution of each channel with the rounded reciprocal of the number of elements."""
    count = kernel[0] * kernel[1]
    channels = read.shape[0]
    weights = np.full((channels, 1, *kernel), ((1 << SHARE_BITS) + count // 2) // count, np.int64)
    points = np.full(channels, -SHARE_BITS, np.int64)
    half = _rounded_down(np.ones(channels, np.int64), result.point - 1, points, read, result)
    return Convolution(name, source, result, weights, points, *half, stride, groups=channels)


def _rounded_down(
    biases: Integers, point: int, points: Integers, read: Value, result: Value
) -> tuple[Integers, Integers]:
    """Biases times 2 ** `point`, in the unit that they need, and the exponents of this unit."""
    to = np.minimum(points + read.point, result.point)
    return (biases << np.maximum(point - to, 0)) >> np.maximum(to - point, 0), to
