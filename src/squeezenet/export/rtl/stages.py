"""A network as stages of a stream: each stage becomes one module of the design.

>>> [type(stage).__name__ for stage in stages(model)]                   # doctest: +SKIP
['Pixels', 'Convolution', 'Pool', 'Convolution', 'Convolution', 'Mean']

A ReLU becomes the limits of the stage before it. The expand layers of a Fire module, which read the same value and are
joined, become one convolution: a 1x1 kernel is a 3x3 kernel in which only the middle is not 0.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import UnsupportedOperation
from squeezenet.fixed_point import Scale, factor, fraction
from squeezenet.graph import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Shape,
    sides,
)
from squeezenet.model import IntegerWeights, Model
from squeezenet.runtime.integers import cap_level
from squeezenet.runtime.reference import averaged

Tap = tuple[int, int]
"""Row and column of an element of a window, from the first element of the window without padding."""


@dataclass(frozen=True)
class Value:
    """The elements of a stream: q - zero of a value of the network, at least `low` and at most `high`."""

    shape: tuple[int, int, int]
    low: int
    high: int

    @property
    def signed(self) -> bool:
        return self.low < 0

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return max(self.high, -self.low - 1, 1).bit_length() + self.signed


@dataclass(frozen=True)
class Pixels:
    """The image: bytes of pixels become elements by a table for each channel."""

    value: Value
    inputs: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Convolution:
    """One or more convolutions of the same value, one after the other in the channels of the result."""

    inputs: tuple[int, ...]
    value: Value
    names: tuple[str, ...]
    taps: tuple[Tap, ...]
    stride: tuple[int, int]
    levels: NDArray[np.int64]  # (out, taps, in)
    factors: tuple[tuple[int, int, int], ...]
    """For each output: multiplier, shift, bias in sixteenths."""
    macs: int
    """Multiplications for an image if those of weights that are 0 are done, too, as `Graph.macs` counts."""
    zero_macs: int
    """Those of weights that are 0."""

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Entries of each output in the list of weights: those that are not 0, but at least 1."""
        found: NDArray[np.int64] = np.maximum(np.count_nonzero(self.levels, axis=(1, 2)), 1)
        return found

    @property
    def nonzero(self) -> int:
        """Weights that are not 0."""
        return int(np.count_nonzero(self.levels))

    @property
    def entries(self) -> int:
        """Entries of the list of weights."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class Pool:
    """The maximum over windows, or the mean if there are `factors`."""

    inputs: tuple[int, ...]
    value: Value
    taps: tuple[Tap, ...]
    stride: tuple[int, int]
    factors: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class Mean:
    """The mean over all places of each channel."""

    inputs: tuple[int, ...]
    value: Value
    factors: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Join:
    """limit((a * A + b * B + 32768) >> 16), or of the product if `shift` is not 0."""

    inputs: tuple[int, ...]
    value: Value
    factors: tuple[int, int]
    shift: int = 0


@dataclass(frozen=True)
class Limit:
    """A ReLU that could not become the limits of the stage before it."""

    inputs: tuple[int, ...]
    value: Value


@dataclass(frozen=True)
class Joined:
    """The channels of one value, then those of another."""

    inputs: tuple[int, ...]
    value: Value


Stage = Pixels | Convolution | Pool | Mean | Join | Limit | Joined
Window = Convolution | Pool
"""The stages that hold lines of the image."""


def refusal(model: Model) -> str | None:
    """Why a network has no streaming design, or None if it has one. Names the layer or the operation."""
    if not model.scales:
        return "only integer networks become logic; squeeze it first (squeezenet compress)"
    shapes = model.graph.shapes()
    used = _used(model)
    for index, op in enumerate(model.graph.ops):
        operands = [shapes[i] for i in op.inputs]
        if used[index + 1] and (why := _refused(op, operands, model, index)):
            return f"{op.name if isinstance(op, Conv | Linear) else type(op).__name__}: {why}"
    return None


def _refused(op: Op, operands: list[Shape], model: Model, index: int) -> str | None:
    match op:
        case Conv() | Linear() | ReLU() | MaxPool() | GlobalAvgPool() | Concat():
            return None
        case AvgPool():
            counts = np.unique(averaged(op, operands[0]))
            return None if len(counts) == 1 else "windows at the edge have other divisors; there is no module for that"
        case Flatten():
            readers = [other for other in model.graph.ops if index + 1 in other.inputs]
            one = len(operands[0]) == 1 or operands[0][1:] == (1, 1)
            if one or (readers and all(isinstance(other, Linear) for other in readers)):
                return None
            return "a value of several places can only be flattened for a fully connected layer"
        case Add() | Multiply():
            return None if operands[0] == operands[1] else "the same element at all places; there is no module for that"
        case _:
            return "there is no module for this operation"


def stages(model: Model) -> list[Stage]:
    """The stages of a network, each after those that it reads. Stage 0 is the image, the last one makes the logits."""
    if reason := refusal(model):
        raise UnsupportedOperation(reason)
    return _reachable(_merged(_translated(model)))


def _used(model: Model) -> list[bool]:
    used = [False] * (len(model.graph.ops) + 1)
    used[-1] = True
    for index in reversed(range(len(model.graph.ops))):
        for i in model.graph.ops[index].inputs if used[index + 1] else ():
            used[i] = True
    return used


def _value(shape: Shape, scale: Scale) -> Value:
    c, h, w = shape if len(shape) == 3 else (shape[0], 1, 1)
    return Value((c, h, w), scale.low, scale.high)


def _translated(model: Model) -> list[Stage]:
    shapes, ops = model.graph.shapes(), model.graph.ops
    used = _used(model)
    readers = [sum(used[i + 1] and op.inputs.count(v) for i, op in enumerate(ops)) for v in range(len(ops) + 1)]
    made: list[Stage] = [Pixels(_value(shapes[0], model.scales[0]))]
    stage_of = {0: 0}  # value -> stage
    for index, op in enumerate(ops):
        if not used[index + 1]:
            continue
        inputs = tuple(stage_of[i] for i in op.inputs)
        value = _value(shapes[index + 1], model.scales[index + 1])
        if isinstance(op, Flatten):
            stage_of[index + 1] = inputs[0]
            continue
        if isinstance(op, ReLU):
            before = made[inputs[0]]
            scale = model.scales[index + 1]
            high = cap_level(op.cap, scale) if op.cap else before.value.high
            limited = replace(before.value, low=max(before.value.low, 0), high=max(min(before.value.high, high), 0))
            if limited == before.value:
                stage_of[index + 1] = inputs[0]
                continue
            own = isinstance(before, Convolution | Join | Mean) or (isinstance(before, Pool) and before.factors)
            if own and readers[op.inputs[0]] == 1 and _read_once(made, inputs[0]):
                made[inputs[0]] = replace(before, value=limited)
                stage_of[index + 1] = inputs[0]
                continue
            made.append(Limit(inputs, limited))
        else:
            made.extend(_stage(model, index, op, inputs, value, made))
        stage_of[index + 1] = len(made) - 1
    last = stage_of[len(ops)]
    return made[: last + 1]


def _read_once(made: list[Stage], number: int) -> bool:
    """Whether no stage reads stage `number` yet."""
    return not any(number in stage.inputs for stage in made)


def _stage(model: Model, index: int, op: Op, inputs: tuple[int, ...], value: Value, made: list[Stage]) -> list[Stage]:
    scales = [model.scales[i] for i in op.inputs]
    target = model.scales[index + 1]
    match op:
        case Conv() | Linear():
            return [_convolution(model, index, op, inputs, value, made[inputs[0]].value)]
        case MaxPool():
            value = replace(value, low=made[inputs[0]].value.low, high=made[inputs[0]].value.high)
            return [Pool(inputs, value, _taps(op), op.stride)]
        case AvgPool():
            count = int(averaged(op, made[inputs[0]].value.shape).flat[0])
            return [Pool(inputs, value, _taps(op), op.stride, (_mean(count, False),) * value.shape[0])]
        case GlobalAvgPool():
            _, height, width = made[inputs[0]].value.shape
            return [Mean(inputs, value, (_mean(height * width, target.wide),) * value.shape[0])]
        case Add():
            a, b = (fraction(target.exponent - scale.exponent) for scale in scales)
            return [Join(inputs, value, (a, b))]
        case Multiply():
            multiplier, shift = factor(target.exponent - scales[0].exponent - scales[1].exponent)
            return [Join(inputs, value, (multiplier, 0), shift)]
        case Concat():
            return _concat(inputs, made)
    raise AssertionError(type(op).__name__)


def _concat(inputs: tuple[int, ...], made: list[Stage]) -> list[Stage]:
    """Two at a time."""
    found: list[Stage] = []
    before, value = inputs[0], made[inputs[0]].value
    for number in inputs[1:]:
        other = made[number].value
        channels = value.shape[0] + other.shape[0]
        value = Value((channels, *value.shape[1:]), min(value.low, other.low), max(value.high, other.high))
        found.append(Joined((before, number), value))
        before = len(made) + len(found) - 1
    return found or [Limit(inputs, value)]


def _mean(count: int, wide: bool) -> tuple[int, int, int]:
    """Multiplier, shift and bias of a mean over `count` elements; the multiplier has 16 bits."""
    share, shift = (65536 + count // 2) // count, 8 if wide else 16
    return (share, shift, 0) if share < 65536 else (share // 2, shift - 1, 0)


def _taps(op: Conv | MaxPool | AvgPool) -> tuple[Tap, ...]:
    top, left, _, _ = sides(op.padding)
    return tuple(
        (y * op.dilation[0] - top, x * op.dilation[1] - left) for y in range(op.kernel[0]) for x in range(op.kernel[1])
    )


def _convolution(
    model: Model, index: int, op: Conv | Linear, inputs: tuple[int, ...], value: Value, source: Value
) -> Convolution:
    held = model.weights[op.name]
    assert isinstance(held, IntegerWeights)
    channels, height, width = source.shape
    levels = held.weight.levels.astype(np.int64)
    if isinstance(op, Linear):
        taps = tuple((y, x) for y in range(height) for x in range(width))
        stride, groups = (1, 1), 1
        levels = levels.reshape(op.out, channels, height, width)
    else:
        taps, stride, groups = _taps(op), op.stride, op.groups
    macs = model.graph.macs()[index]
    zero_macs = round(macs * float(np.mean(levels == 0)))
    if groups > 1:  # weights between groups are 0
        dense = np.zeros((op.out, channels, *levels.shape[2:]), np.int64)
        outs, ins = op.out // groups, channels // groups
        for group in range(groups):
            rows = slice(group * outs, (group + 1) * outs)
            dense[rows, group * ins : (group + 1) * ins] = levels[rows]
        levels = dense
    levels = levels.reshape(op.out, channels, len(taps)).transpose(0, 2, 1)
    rescalings = model.scales[index + 1].exponent - model.scales[op.inputs[0]].exponent - held.weight.exponents
    factors = tuple((*factor(int(d)), int(b)) for d, b in zip(rescalings, held.bias, strict=True))
    return Convolution(inputs, value, (op.name,), taps, stride, levels, factors, macs, zero_macs)


def _merged(made: list[Stage]) -> list[Stage]:
    """Joined convolutions of the same value become one."""
    made = list(made)
    for number, stage in enumerate(made):
        if not isinstance(stage, Joined):
            continue
        a, b = (made[i] for i in stage.inputs)
        if (
            isinstance(a, Convolution)
            and isinstance(b, Convolution)
            and stage.inputs[0] != stage.inputs[1]
            and (a.inputs, a.stride, a.value.low, a.value.high) == (b.inputs, b.stride, b.value.low, b.value.high)
            and all(sum(i in other.inputs for other in made) == 1 for i in stage.inputs)
        ):
            made[number] = _both(a, b, stage.value)
    return made


def _both(a: Convolution, b: Convolution, value: Value) -> Convolution:
    taps = tuple(sorted({*a.taps, *b.taps}))
    parts = []
    for part in (a, b):
        levels = np.zeros((len(part.levels), len(taps), part.levels.shape[2]), np.int64)
        levels[:, [taps.index(tap) for tap in part.taps]] = part.levels
        parts.append(levels)
    return Convolution(
        a.inputs, value, a.names + b.names, taps, a.stride, np.concatenate(parts), a.factors + b.factors,
        a.macs + b.macs, a.zero_macs + b.zero_macs,
    )  # fmt: skip


def _reachable(made: list[Stage]) -> list[Stage]:
    needed = {len(made) - 1, 0}
    for number in reversed(range(len(made))):
        if number in needed:
            needed.update(made[number].inputs)
    order = sorted(needed)
    return [replace(made[number], inputs=tuple(order.index(i) for i in made[number].inputs)) for number in order]
