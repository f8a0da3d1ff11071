"""Runs an integer network in NumPy, operation by operation, as docs/FORMAT.md ("Integer networks") defines it.

    >>> IntegerRunner(model)(images).shape                          # doctest: +SKIP
    (8, 1000)

Every element of a value is an integer, and all runtimes compute the same. A value is held as `q - zero`, where q is the
stored element and `zero` the zero point. Sums are computed as matrix products of floats, which are exact: in float32 if
no sum can reach 2 ** 24, otherwise in float64.
"""

from functools import reduce

import numpy as np

from squeezenet.fixed_point import Integers, Scale, fraction, mean, requantise, rescale, round_fraction, step
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
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Shape,
    Upsample,
)
from squeezenet.integer_graph import no_integer_form
from squeezenet.model import FloatArray, Grid, Model
from squeezenet.runtime.reference import Real, Runner, adaptive, averaged, convolve, offsets


class IntegerRunner(Runner):
    """An integer network that is ready to run; safe to use from several threads."""

    def __init__(self, model: Model, threads: int = 1) -> None:
        self._scales = model.scales
        functions = [index for index, op in enumerate(model.graph.ops) if isinstance(op, Activation)]
        self._tables = dict(zip(functions, model.tables, strict=True))
        super().__init__(model, threads)
        self._rescalings: dict[str, Integers] = {}
        for op in model.graph.layers:
            weight = model.weights[op.name].weight
            assert isinstance(weight, Grid)
            source, target = self._scales[op.inputs[0]], self._scales[model.graph.ops.index(op) + 1]
            self._rescalings[op.name] = target.exponent - source.exponent - weight.exponents.astype(np.int64)

    def __call__(self, images: FloatArray) -> FloatArray:
        """Prepared images (N, channels, height, width) -> logits (N, classes): integers times one float32."""
        logits: FloatArray = super().__call__(images) * np.float32(self._scales[-1].step)
        return logits

    def _layout(self, op: Conv | Linear, model: Model) -> tuple[Real, Real]:
        held = model.weights[op.name]
        assert isinstance(held.weight, Grid)
        most = int(np.abs(held.weight.levels.astype(np.int64)).reshape(op.out, -1).sum(1).max(initial=0))
        most *= self._scales[op.inputs[0]].span
        levels = held.weight.levels.astype(np.float32 if most < 1 << 24 else np.float64)
        shape = (op.groups, op.out // op.groups, -1) if isinstance(op, Conv) else levels.shape
        return levels.reshape(shape), held.bias

    def _enter(self, image: FloatArray) -> FloatArray:
        """A prepared image divided by the step of value 0, in float32; rounded to nearest, halves to even."""
        scale = self._scales[0]
        q = np.rint(image * np.float32(step(-scale.exponent)))
        clipped: FloatArray = np.clip(q, scale.low, scale.high)
        return clipped

    def _apply(self, op: Op, index: int, operands: list[FloatArray], shape: Shape) -> FloatArray:
        x, source, target = operands[0], self._scales[op.inputs[0]], self._scales[index + 1]
        match op:
            case Conv() | Linear():
                return self._layer(op, x, target, shape)
            case ReLU():
                y = np.maximum(x, np.float32(0))
                return np.minimum(y, np.float32(cap_level(op.cap, target))) if op.cap else y
            case Activation():
                table = np.frombuffer(self._tables[index], np.uint8)
                return table[_integers(x) + source.zero].astype(np.float32) - target.zero
            case MaxPool():
                return reduce(np.maximum, offsets(x, op, (shape[1], shape[2]), -np.inf))
            case AvgPool():
                sums = reduce(np.add, offsets(x.astype(np.float64), op, (shape[1], shape[2]), 0))
                return _clip(round_fraction(mean(_integers(sums), _integers(averaged(op, x.shape)))), target)
            case AdaptivePool() if op.maximum:
                return adaptive(op, x, np.max).astype(np.float32)
            case AdaptivePool():
                counts = adaptive(op, np.ones_like(x[:1]), np.sum)
                sums = adaptive(op, x.astype(np.float64), np.sum)
                return _clip(round_fraction(mean(_integers(sums), _integers(counts))), target)
            case GlobalAvgPool():
                sums = x.sum((1, 2), keepdims=True, dtype=np.float64)
                share = mean(_integers(sums), x[0].size)
                return _clip((share + 128) >> 8 if target.wide else round_fraction(share), target)
            case Concat():
                return np.concatenate(operands)
            case Add():
                other = self._scales[op.inputs[1]]
                total = rescale(_integers(x), target.exponent - source.exponent)
                total = total + rescale(_integers(operands[1]), target.exponent - other.exponent)
                return _clip(round_fraction(total), target)
            case Multiply():
                rescaling = target.exponent - source.exponent - self._scales[op.inputs[1]].exponent
                return _clip(requantise(_integers(x) * _integers(operands[1]), rescaling), target)
            case Select() | Upsample() | Flatten():
                return super()._apply(op, index, operands, shape)
            case LRN() | LayerNorm():
                raise no_integer_form(op)

    def _layer(self, op: Conv | Linear, x: FloatArray, target: Scale, shape: Shape) -> FloatArray:
        weight, bias = self._weights[op.name]
        x = x.astype(weight.dtype, copy=False)
        if isinstance(op, Conv):
            sums = convolve(op, x, weight, (shape[1], shape[2])).reshape(op.out, -1)
        else:
            sums = (weight @ x)[:, None]
        whole, rescalings = _integers(sums), self._rescalings[op.name]
        y = np.empty_like(whole)
        for rescaling in np.unique(rescalings):
            rows = rescalings == rescaling
            y[rows] = requantise(whole[rows], int(rescaling), _integers(bias[rows])[:, None])
        return _clip(y, target).reshape(shape)


def cap_level(cap: float, scale: Scale) -> int:
    """The largest element after a capped ReLU: `cap` / step, computed with 16 binary digits and rounded to nearest."""
    return ((min(int(float(np.float32(cap)) * 65536), 1 << 32) * fraction(scale.exponent) >> 16) + 32768) >> 16


def _clip(y: Integers, scale: Scale) -> FloatArray:
    return np.clip(y, scale.low, scale.high).astype(np.float32)


def _integers(values: Real) -> Integers:
    return np.asarray(values).astype(np.int64)
