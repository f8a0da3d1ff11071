"""Integer networks of every form that the engine knows, and their files."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pytest

from squeezenet import sqz
from squeezenet.fixed_point import MAX_RESCALING, MIN_RESCALING, Scale
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
    Function,
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
)
from squeezenet.model import FloatArray, Grid, IntegerWeights, Model, Plain, Shared, Weights
from squeezenet.preparation import Preparation
from squeezenet.sqz import tensors

AnyWindow = TypeVar("AnyWindow", Conv, MaxPool, AvgPool)


class Builder:
    """A random integer network, operation by operation, with sums that fill the range of their results."""

    def __init__(self, seed: int, side: int = 7, channels: str = "RGB") -> None:
        self.random = np.random.default_rng(seed)
        self.largest = 127
        """Largest magnitude of a level."""
        self.zeros = 0.3
        """Probability that a level is 0."""
        self.preparation = Preparation(
            side, side, "stretch", channels, (100.0,) * len(channels), (9.0,) * len(channels)
        )
        self.ops: list[Op] = []
        self.scales = [Scale(-24, int(self.random.integers(0, 256)))]
        self.weights: dict[str, IntegerWeights] = {}

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return Graph(self.preparation.shape, (*self.ops, Flatten((len(self.ops),)))).shapes()[:-1]

    def put(self, op: Op, scale: Scale | None = None) -> int:
        """Append an operation; returns the number of its value."""
        self.ops.append(op)
        self.scales.append(scale or self.scales[op.inputs[0]])
        return len(self.ops)

    def scale(self, zero: int | None = None, wide: bool = False, nine_bit: bool = False) -> Scale:
        chosen = int(self.random.integers(256)) if zero is None else zero
        return Scale(int(self.random.integers(-40, 40)), 0 if wide or nine_bit else chosen, wide, nine_bit)

    def layer(self, op: Conv | Linear, target: Scale | None = None, rescalings: int | None = None) -> int:
        value = op.inputs[0]
        shape = op.weight_shape(*self.shapes[value])
        levels = self.random.integers(-self.largest, self.largest + 1, shape)
        levels[self.random.random(shape) < self.zeros] = 0
        spread = 8 * np.log2(1 + 40 * self.largest / 127 * np.sqrt(np.prod(shape[1:]))) + self.random.normal(
            0, 4, op.out
        )
        chosen = (
            np.clip(np.rint(spread), MIN_RESCALING, MAX_RESCALING)
            if rescalings is None
            else np.full(op.out, rescalings)
        )
        target = target or self.scale()
        exponents = target.exponent - self.scales[value].exponent - chosen
        biases = self.random.integers(-900, 900, op.out)
        self.weights[op.name] = IntegerWeights(
            Grid(levels.astype(np.int16), exponents.astype(np.int16)), biases.astype(np.int32)
        )
        return self.put(op, target)

    def activate(self, value: int, function: Function) -> int:
        """Append a scalar function; the scale of its result is as fine as its input's."""
        numbers = [0.5, 0.9][: PARAMETERS[function]]
        return self.put(Activation((value,), function, *numbers), Scale(self.scales[value].exponent, self.scale().zero))

    def finish(self, value: int) -> Model:
        if len(self.shapes[value]) == 3 or value != len(self.ops):
            self.put(Flatten((value,)))
        graph = Graph(self.preparation.shape, tuple(self.ops))
        return Model(graph, self.weights, self.preparation, scales=tuple(self.scales))

    def images(self, count: int = 2) -> FloatArray:
        return self.random.normal(0, 14, (count, *self.preparation.shape)).astype(np.float32)


def fire(bypass: bool = True) -> Model:
    """The forms of SqueezeNet: Fire modules with a complex bypass, a pool that hangs over, a wide mean at the end."""
    b = Builder(1, side=13)
    x = b.put(ReLU((b.layer(Conv((0,), "conv1", 24, (3, 3), (2, 2)), b.scale(0)),)))
    x = b.put(MaxPool((x,), (3, 3), (2, 2), ceil=True))
    for i in range(2):
        s = b.put(ReLU((b.layer(Conv((x,), f"s{i}", 5 + 16 * i, (1, 1)), b.scale(0)),)))
        first = b.put(ReLU((b.layer(Conv((s,), f"a{i}", 20, (1, 1)), b.scale(0)),)))
        second = b.put(ReLU((b.layer(Conv((s,), f"b{i}", 36, (3, 3), padding=(1, 1)), b.scales[first]),)))
        x2 = b.put(Concat((first, second)))
        if bypass:
            side = b.layer(Conv((x,), f"side{i}", 56, (1, 1)), b.scale(90))
            x2 = b.put(Add((x2, side)), Scale(b.scales[x2].exponent + 9, 60))
        x = x2
    x = b.layer(Conv((x,), "conv10", 21, (1, 1)), b.scale(0))
    x = b.put(GlobalAvgPool((b.put(ReLU((x,))),)), Scale(b.scales[x].exponent - 64, wide=True))
    return b.finish(x)


def vgg() -> Model:
    """Signed values, pools with padding, a capped ReLU, linear layers, wide logits."""
    b = Builder(2, side=9)
    x = b.put(ReLU((b.layer(Conv((0,), "a", 10, (3, 3), padding=(1, 1)), Scale(-40, 33)),), cap=2.5))
    x = b.put(MaxPool((x,), (3, 3), (2, 2), (1, 1)))
    x = b.put(AvgPool((b.layer(Conv((x,), "b", 17, (3, 2), (1, 1), (0, 1))),), (2, 3), (1, 2), (1, 0)))
    x = b.put(ReLU((b.layer(Linear((b.put(Flatten((x,))),), "c", 40)),)))
    return b.finish(b.layer(Linear((x,), "d", 11), b.scale(wide=True)))


def mobile() -> Model:
    """Depthwise convolutions, groups of other sizes, one output, a mean that keeps 8 bits."""
    b = Builder(3, side=10)
    x = b.put(ReLU((b.layer(Conv((0,), "a", 72, (3, 3), (2, 2), (1, 1)), b.scale(0)),)))
    x = b.put(ReLU((b.layer(Conv((x,), "b", 72, (3, 3), padding=(1, 1), groups=72), Scale(-30, 7)),), cap=6.0))
    x = b.layer(Conv((x,), "c", 144, (2, 2), (2, 1), groups=72))
    x = b.layer(Conv((x,), "d", 60, (3, 3), padding=(2, 0), groups=3))
    x = b.layer(Conv((x,), "e", 3, (1, 1)))
    return b.finish(b.put(GlobalAvgPool((x,))))


def shared() -> Model:
    """Values that are joined twice, joined again, and read by others as well; ReLUs that may not work in place."""
    b = Builder(4, side=6)
    x = b.layer(Conv((0,), "a", 12, (3, 3), padding=(1, 1)), b.scale(100))
    joined = b.put(Concat((x, x)))
    again = b.put(Concat((joined, b.put(ReLU((joined,))), x, joined)))
    cut = b.put(ReLU((again,), cap=0.5))
    y = b.put(Add((again, cut)), Scale(b.scales[cut].exponent - 3, 120))
    y = b.put(Add((y, y)), Scale(b.scales[cut].exponent - 75, 0))
    flat = b.put(Flatten((y,)))
    b.put(ReLU((flat,)))
    z = b.layer(Conv((cut,), "b", 9, (6, 6)), b.scale(0))
    plain = b.put(ReLU((z,)))  # of a value with zero 0: nothing to do, also where others read it
    return b.finish(b.put(Concat((plain, z))))


def far() -> Model:
    """Scales so far apart that a shift is as small, and as large, as it can be; a value as wide as a row of logits."""
    b = Builder(5, side=5)
    x = b.layer(Conv((0,), "a", 16, (2, 2)), b.scale(255), rescalings=90)
    for name, rescalings in (("b", MIN_RESCALING), ("c", 9), ("d", MAX_RESCALING)):
        y = b.layer(Conv((x,), name, 16, (2, 2)), rescalings=rescalings)
        held = b.weights[name]
        b.weights[name] = replace(held, bias=held.bias + np.int32((1 << 21) - 1000))
        b.put(Flatten((y,)))
    return b.finish(b.layer(Conv((x,), "e", 3, (3, 3), padding=(1, 1)), b.scale(wide=True), rescalings=MIN_RESCALING))


def nine_bit() -> Model:
    """9-bit values behind convolutions and linear layers, through pools, ReLUs and a flat value, read by several."""
    b = Builder(7, side=11)
    x = b.layer(Conv((0,), "a", 24, (3, 3), (2, 2), (1, 1)), b.scale(nine_bit=True))
    y = b.put(ReLU((b.put(MaxPool((x,), (3, 3), (1, 1), (1, 1))),)))
    read = [b.put(ReLU((b.layer(Conv((i,), f"b{i}", 19, (1, 1)), Scale(3, 8)),))) for i in (x, y)]
    z = b.layer(Conv((b.put(Concat(tuple(read))),), "c", 70, (3, 2), padding=(1, 1)), b.scale(nine_bit=True))
    z = b.put(MaxPool((z,), (2, 2), (2, 2), ceil=True))
    z = b.layer(Conv((b.put(ReLU((z,))),), "d", 3, (3, 3), padding=(1, 1)), b.scale(nine_bit=True))  # few: no vectors
    flat = b.put(Flatten((z,)))
    x = b.layer(
        Linear((flat,), "e", 33), b.scale(nine_bit=True), rescalings=MIN_RESCALING
    )  # shifts that vectors do not have
    x = b.layer(Linear((b.put(ReLU((x,))),), "f", 40), b.scale(nine_bit=True))
    b.weights["f"] = replace(b.weights["f"], bias=b.weights["f"].bias + np.int32(255 * 16))
    return b.finish(b.layer(Linear((x,), "g", 9), b.scale(wide=True)))


def loud() -> Model:
    """Activations of 0 and 255, levels of -127 and 127, many of one sign: products and their sums at their largest."""
    b = Builder(6, side=5)
    b.scales = [Scale(-80, 0)]
    x = 0
    for name in "ab":
        x = b.layer(Conv((x,), name, 40, (2, 2)), b.scale(0), rescalings=40)
        held = b.weights[name]
        signs = b.random.random(held.weight.shape) < b.random.random((40, 1, 1, 1))
        b.weights[name] = replace(held, weight=replace(held.weight, levels=np.where(signs, 127, -127).astype(np.int16)))
    return b.finish(b.layer(Conv((x,), "c", 12, (3, 3)), b.scale(wide=True)))


def chained() -> Model:
    """Activations of 0 and 255, levels that fill sums in 16 bits to their limits (ADR 40), and a few too large ones."""
    b = Builder(8, side=8)
    b.scales = [Scale(-80, 0)]
    x = 0
    for name, levels, often in (("a", [32], 0.0), ("b", [-16, -17, 15, 16], 0.0), ("c", [-3, -2, -1, 0, 1, 2], 0.001)):
        x = b.layer(Conv((x,), name, 40, (2, 2)), b.scale(0), rescalings=40)
        held = b.weights[name]
        drawn = b.random.choice(levels, held.weight.shape)
        drawn = np.where(b.random.random(drawn.shape) < often, b.random.choice([-127, 127], drawn.shape), drawn)
        b.weights[name] = replace(held, weight=replace(held.weight, levels=drawn.astype(np.int16)))
    b.largest = 3
    return b.finish(b.layer(Conv((x,), "d", 12, (3, 3)), b.scale(wide=True)))


def sparse() -> Model:
    """Most levels are 0: rows of every length, strides, gaps, groups, 9-bit values, a table, chains of any length."""
    b = Builder(9, side=62)
    b.zeros = 0.9
    b.scales = [Scale(-80, 0)]  # activations of 0 and 255, and levels of one sign: large sums
    x = b.put(ReLU((b.layer(Conv((0,), "a", 24, (3, 3), padding=(1, 1)), b.scale(0)),)))
    levels = b.weights["a"].weight.levels
    levels[::3], levels[1::3] = np.abs(levels[::3]), -np.abs(levels[1::3])
    x = b.layer(Conv((x,), "b", 20, (5, 3), (2, 3), (3, 1), groups=4), b.scale())
    x = b.activate(b.layer(Conv((x,), "c", 26, (3, 2), (1, 1), (2, 1, 1, 2), 2, (2, 3)), b.scale()), "silu")
    x = b.layer(Conv((x,), "d", 37, (1, 1)), b.scale(nine_bit=True))
    b.largest = 3
    x = b.layer(Conv((b.put(ReLU((x,))),), "e", 9, (3, 3), padding=(1, 1)), b.scale(0))
    b.largest = 127
    x = b.layer(Conv((x,), "f", 64, (1, 1), (1, 2)), b.scale(5))
    return b.finish(b.layer(Conv((x,), "g", 5, (2, 4)), b.scale(wide=True)))


def excited() -> Model:
    """The forms of MobileNetV3 and EfficientNet: tables behind layers of every kind, channels that are weighed."""
    b = Builder(7, side=12)
    x = b.activate(b.layer(Conv((0,), "a", 18, (3, 3), (2, 2), (0, 0, 1, 1)), b.scale(70)), "hard_swish")
    for i, (kernel, stride) in enumerate(((3, 1), (5, 2), (3, 1))):
        x = b.activate(b.layer(Conv((x,), f"b{i}", 72, (1, 1)), b.scale(90)), "silu")
        depthwise = Conv((x,), f"c{i}", 72, (kernel, kernel), (stride, stride), (kernel // 2,) * 2, 72)
        x = b.activate(b.layer(depthwise, b.scale(80)), "silu")
        gate = b.activate(b.layer(Conv((b.put(GlobalAvgPool((x,))),), f"d{i}", 4, (1, 1)), b.scale(0)), "elu")
        gate = b.activate(b.layer(Conv((gate,), f"e{i}", 72, (1, 1)), b.scale(128)), "hard_sigmoid")
        x = b.put(Multiply((x, gate)), Scale(b.scales[x].exponent + b.scales[gate].exponent + 64, b.scales[x].zero))
        x = b.layer(Conv((x,), f"f{i}", 18, (1, 1)), b.scale(110))
    return b.finish(b.put(GlobalAvgPool((x,))))


def shuffled() -> Model:
    """The forms of ShuffleNet: halves that are read where they lie, channels in another order; slices of slices."""
    b = Builder(8, side=9)
    x = b.layer(Conv((0,), "a", 40, (3, 3), padding=(1, 1)), b.scale(30))
    for i in range(2):
        first, second = b.put(Select((x,), 0, (1, 20))), b.put(Select((x,), 20, (4, 5), (5, 1)))
        y = b.layer(Conv((second,), f"b{i}", 20, (3, 3), padding=(1, 1), groups=20), b.scale(7))
        y = b.layer(Conv((y,), f"c{i}", 20, (1, 1)), b.scales[x])
        x = b.put(Select((b.put(Concat((first, y))),), 0, (20, 2), (1, 20)))
    part = b.put(Select((b.put(Select((x,), 5, (1, 30))),), 3, (1, 12)))
    y = b.put(Activation((part,), "gelu"), b.scale())
    return b.finish(b.put(Multiply((part, y)), Scale(b.scales[part].exponent + b.scales[y].exponent + 60, 99)))


NETWORKS: dict[str, Callable[[], Model]] = {
    "fire": fire,
    "vgg": vgg,
    "mobile": mobile,
    "shared": shared,
    "far": far,
    "nine_bit": nine_bit,
    "loud": loud,
    "excited": excited,
    "shuffled": shuffled,
}
EVERY_SUM = {**NETWORKS, "chained": chained}
"""With what only the ways of adding up tell apart."""


def network(seed: int, zeros: float = 0.3) -> Model:
    """Operations that read whatever there is."""
    chance = random.Random(seed)
    b = Builder(seed, chance.randint(3, 9))
    b.zeros = zeros
    for i in range(chance.randint(3, 12)):
        shapes = b.shapes
        kind = chance.randrange(15)
        values = [v for v, shape in enumerate(shapes) if len(shape) == 3 and not b.scales[v].wide]
        values = [v for v in values if kind in (0, 1, 4, 8, 9) or not b.scales[v].nine_bit]
        x = chance.choice(values)
        c, h, w = shapes[x]
        same = [v for v in values if shapes[v][1:] == shapes[x][1:]]
        joined = chance.choice([v for v in values if shapes[v] in (shapes[x], (c, 1, 1))])
        match kind:
            case 0 | 1:
                k = chance.randint(1, min(3, h, w))
                op = Conv(
                    (x,), f"layer{i}", chance.choice([4, 8, 20]), (k, k), (chance.randint(1, 2),) * 2, (k // 2,) * 2
                )
                b.layer(op, b.scale(chance.choice([0, None]), nine_bit=chance.random() < 0.3))
            case 2:
                b.put(ReLU((x,), cap=chance.choice([0.0, 0.3, 7.0])))
            case 3:
                equal = [v for v in same if b.scales[v] == b.scales[x]]
                if sum(shapes[v][0] for v in equal) < 200:
                    b.put(Concat(tuple(chance.choices(equal, k=chance.randint(1, 4)))))
            case 4:
                k = chance.randint(1, min(h, w))
                b.put(MaxPool((x,), (k, k), (chance.randint(1, 3),) * 2, (k // 2,) * 2, ceil=chance.random() < 0.5))
            case 5:
                k = chance.randint(1, min(h, w))
                b.put(AvgPool((x,), (k, k), (chance.randint(1, 3),) * 2, (k // 2,) * 2))
            case 6:
                nearest = max(b.scales[v].exponent for v in (x, joined))
                b.put(Add((x, joined)), Scale(nearest + chance.randint(-70, 40), chance.randrange(256)))
            case 8:
                b.put(anything(chance, MaxPool((x,), (1, 1), (1, 1)), h, w))
            case 9:
                steps = chance.choice([(0, 1), (2, 1), (1, 2), (-1, 1), (0, -1), (3, 1)])
                counts = chance.choice([(1, chance.randint(1, c)), (2, 2), (3, 1), (4, 3)])
                low, high = (
                    sum(limit(0, (n - 1) * s) for n, s in zip(counts, steps, strict=True)) for limit in (min, max)
                )
                if high - low < c:
                    b.put(Select((x,), chance.randint(-low, c - 1 - high), counts, steps))
            case 10:
                b.put(anything(chance, AvgPool((x,), (1, 1), (1, 1), counted=chance.random() < 0.5), h, w))
            case 11:
                groups = chance.choice([1, c])
                conv = anything(chance, Conv((x,), f"layer{i}", groups * chance.choice([1, 9]), (1, 1), (1, 1)), h, w)
                b.layer(replace(conv, groups=groups), b.scale())
            case 12:
                b.activate(x, chance.choice(list(PARAMETERS)))
            case 13:
                exponent = b.scales[x].exponent + b.scales[joined].exponent + chance.randint(-60, 150)
                if abs(exponent) < 200:
                    b.put(Multiply((x, joined)), Scale(exponent, chance.randrange(256)))
            case 14:
                size = chance.randint(1, h), chance.randint(1, w)
                b.put(AdaptivePool((x,), size, chance.random() < 0.5))
                if h * w < 20:
                    b.put(Upsample((len(b.ops),), (2, 3)))
            case _:
                wide = chance.random() < 0.5
                scale = b.scales[x]
                b.put(GlobalAvgPool((x,)), Scale(scale.exponent - 64, wide=True) if wide else scale)
    return b.finish(chance.choice([v for v, s in enumerate(b.shapes) if len(s) == 3 and not b.scales[v].nine_bit]))


def anything(chance: random.Random, op: AnyWindow, height: int, width: int) -> AnyWindow:
    """The operation with any window that fits."""
    sides = []
    for n in (height, width):
        k = chance.randint(1, min(3, n))
        d = chance.randint(1, n if k > 1 else 9)
        reach = (k - 1) * d + 1
        before, after = chance.randint(0, reach - 1), chance.randint(0, reach - 1)
        while n + before + after < reach:
            after += 1
        sides.append((k, d, before, min(after, reach - 1)))
    kernel, dilation, before, after = zip(*sides, strict=True)
    stride = chance.randint(1, 3), chance.randint(1, 3)
    changed = replace(op, kernel=kernel, dilation=dilation, stride=stride, padding=shortest((*before, *after)))
    return changed if isinstance(op, Conv) else replace(changed, ceil=chance.random() < 0.5)


def normalised() -> Model:
    """Floats in every coding: plain, sparse, shared, both, as levels; local response normalisation; few outputs."""
    random = np.random.default_rng(6)
    preparation = Preparation(9, 9, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    ops: tuple[Op, ...] = (
        Conv((0,), "a", 24, (3, 3), (2, 2), (1, 1)), ReLU((1,)), LRN((2,), 5, 0.1, 0.75, 2.0),
        LRN((3,), 4, 2.0, 0.5, 1.0),
        Conv((4,), "b", 40, (2, 2), groups=2), Conv((5,), "c", 6, (1, 1)), ReLU((6,), 2.0),
        MaxPool((7,), (2, 2), (2, 2)), LayerNorm((8,)), Flatten((9,)), Linear((10,), "d", 30), Linear((11,), "e", 900),
    )  # fmt: skip
    graph = Graph(preparation.shape, ops)
    weights: dict[str, Weights] = {}
    for name, shape in graph.weight_shapes().items():
        bias = random.normal(0, 0.3, shape[0]).astype(np.float32)
        values = random.normal(0, 0.2, shape).astype(np.float32)
        if name == "b":
            values[random.random(shape) < 0.9] = 0
        weights[name] = Weights(Plain(values), bias)
        if name in "cde":
            codebook = np.sort(random.normal(0, 0.2, 30)).astype(np.float32)
            kept = random.random(shape) < (0.02 if name == "e" else 0.7)
            weights[name] = Weights(Shared((random.integers(1, 31, shape) * kept).astype(np.uint16), codebook), bias)
    return Model(graph, weights, preparation)


def by_symbols(model: Model) -> bytes:
    """The file as it was written before there were levels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_by_levels", lambda weight: bytearray(1 << 20))
        return sqz.encode(model)


FILES = [sqz.encode(make()) for make in NETWORKS.values()]
FILES += [sqz.encode(fire().dequantised()), sqz.encode(normalised()), by_symbols(normalised())]
