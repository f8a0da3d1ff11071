"""An integer network that can be trained: what the device will compute, with gradients that look through the rounding.

    >>> network = IntegerNetwork(graph, scales, weights, biases)           # doctest: +SKIP

Everything is counted in steps: activations are whole numbers up to 255, weights whole levels. Both are exact in
bfloat16, so on a CPU that multiplies it training is as fast as any; deep values, up to 510, stay in float32. A GPU
holds all in float32: its TF32 products are exact for whole numbers up to 2,048. Gradients pass rounding unchanged
(straight through: Bengio et al. 2013), and stop where a value is cut off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import log
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from squeezenet.compression.squeeze.ranges import shared_scales
from squeezenet.fixed_point import BIAS_BITS, EIGHTHS, FINER, MAX_RESCALING, MIN_RESCALING, Scale, step
from squeezenet.graph import (
    LRN,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Layer,
    Linear,
    MaxPool,
    Op,
    ReLU,
)
from squeezenet.integer_graph import MAX_EXPONENT, no_integer_form
from squeezenet.model import MAX_LEVEL, Grid, IntegerWeights, Model
from squeezenet.models.network import LayerWeight, Network
from squeezenet.runtime.integers import cap_level
from squeezenet.training.surroundings import CPU

DEAD = 0.6
"""In steps: half the width of the cell of level 0."""

MAX_GROWTH = 16
"""Eighths by which the scale of activations may grow or shrink while learning."""


class GridWeight(LayerWeight):
    """A weight whose values, and the step of whose grid, are learned, and that is used as whole levels.

    `values` count in the step that the grid had at first: `first` (out,), in eighths of an octave. `growth` (scalar) is
    by how many eighths it has grown since; whole ones count, with the gradient of a learned step (LSQ: Esser et al.
    2020, 1902.08153). What lies within `DEAD` of 0 becomes 0: there, levels are cheap.
    """

    first: Tensor

    def __init__(self, values: Tensor, first: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach().clone().float())
        self.growth = nn.Parameter(torch.zeros(()))
        self.register_buffer("first", first.to(torch.int64))

    @property
    def exponents(self) -> Tensor:
        """Of the grid as it is now: (out,), whole eighths."""
        return self.first + self.growth.detach().round().long()

    def steps(self) -> Tensor:
        """The values in steps of the grid as it is now, with a gradient to them and to `growth`."""
        growth = self.growth + (self.growth.round() - self.growth).detach()
        return self.values * torch.exp2(growth / -EIGHTHS)

    def levels(self) -> Tensor:
        """Whole numbers, as float32."""
        steps = self.steps().detach()
        return steps.round().clamp_(-MAX_LEVEL, MAX_LEVEL).masked_fill_(steps.abs() < DEAD, 0.0)

    def forward(self) -> Tensor:
        """The levels, with a gradient to `values` and `growth`.

        A coarser step makes all levels mean more, and all values fewer steps. The first is the layer's `factor` in
        truth; but a sum is linear in its levels, so what it does to the loss is told by the levels' gradient.
        """
        steps = self.steps()
        meaning = torch.exp2((self.growth - self.growth.detach()) / EIGHTHS)  # 1, but for its slope
        return self.levels() * meaning + (steps - steps.detach())

    def tensor(self) -> Grid:
        """The weight as it is shipped."""
        return Grid(self.levels().to(torch.int16).cpu().numpy(), self.exponents.to(torch.int16).cpu().numpy())


class _Requantise(torch.autograd.Function):
    """sums * factor + bias, rounded and cut off to [low, high]; per channel (dimension 1).

    Gradients go to the sums, and to `growth`: of the step that the result counts in (`_slope`).
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, factor: Tensor, bias: Tensor, low: int, high: int, growth: Tensor) -> Tensor:
        # Batch normalisation is the one operation that takes bfloat16 by float32 factors without a float32 copy.
        y = F.batch_norm(sums, torch.zeros_like(bias), torch.ones_like(bias), factor, bias, eps=0.0)
        ctx.save_for_backward(y, factor)
        ctx.limits = (low, high)
        return y.round().clamp_(low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, factor = ctx.saved_tensors
        low, high = ctx.limits
        slope = _slope(gradient, y, low, high) if ctx.needs_input_grad[5] else None
        gradient = torch.ops.aten.hardtanh_backward(gradient, y, low - 0.5, high + 0.5)
        shape = (1, -1) + (1,) * (gradient.dim() - 2)
        return gradient * factor.view(shape).to(gradient.dtype), None, None, None, None, slope


class _Whole(torch.autograd.Function):
    """`y` rounded, halves up, and cut off to [low, high]; gradients go to `y` and to `growth`, as above."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, low: int, high: int, growth: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        ctx.limits = (low, high)
        return (y + 0.5).floor_().clamp_(low, high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (y,) = ctx.saved_tensors
        low, high = ctx.limits
        slope = _slope(gradient, y, low, high) if ctx.needs_input_grad[3] else None
        return torch.ops.aten.hardtanh_backward(gradient, y, low - 0.5, high + 0.5), None, None, slope


def _slope(gradient: Tensor, y: Tensor, low: int, high: int) -> Tensor:
    """The gradient to the logarithm, in eighths of an octave, of the step that whole numbers stand for (LSQ, eq. 3).

    `gradient` is that to the whole numbers. A coarser step makes all of them mean more, and counts what is not cut off
    in fewer: what is left is the error of rounding, and all of what was cut off.
    """
    lost = y.round().clamp_(low, high) - y.masked_fill((y < low - 0.5) | (y > high + 0.5), 0.0)
    return (gradient * lost).sum(dtype=torch.float32) * (log(2) / EIGHTHS)


class IntegerNetwork(Network):
    """`Network` in whole numbers. Biases are counted in steps of their layer's output, as it was at first."""

    def __init__(
        self, graph: Graph, scales: Sequence[Scale], weights: Mapping[str, GridWeight], biases: Mapping[str, Tensor]
    ) -> None:
        super().__init__(graph, weights, biases)
        self.dtype = _dtype(CPU)
        self._index = {id(op): index for index, op in enumerate(graph.ops)}
        self._first = tuple(scales)
        groups = shared_scales(graph, {i for i, scale in enumerate(scales) if scale.wide})
        self._group = {i: number for number, group in enumerate(groups) if 0 not in group for i in group}
        for value, op in enumerate(graph.ops, 1):
            if scales[value].wide and not isinstance(op, Layer) and op.inputs[0] in self._group:
                self._group[value] = self._group[op.inputs[0]]  # logits that are a mean: as fine as what it is of
        # By how many eighths the scale of each group has grown since. The image's, and that of logits, stay.
        self.growth = nn.Parameter(torch.zeros(len(groups)), requires_grad=False)
        self._reach = _reach(graph, scales)
        self._known: tuple[tuple[int, int], list[int]] = ((0, 0), [])  # which `growth`, and its whole eighths

    def on(self, device: torch.device) -> "IntegerNetwork":
        """This network, moved to `device` with the type that its whole numbers are held in there."""
        if self.growth.device.type != device.type:
            self.dtype = _dtype(device)
        return self.to(device)

    def weight(self, name: str) -> GridWeight:
        return cast(GridWeight, super().weight(name))

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Of the image, and of what each operation gives, as they are now."""
        return tuple(self._scale(value) for value in range(len(self._first)))

    def _scale(self, value: int) -> Scale:
        value %= len(self._first)
        first = self._first[value]
        if value not in self._group:
            return first
        return replace(first, exponent=first.exponent + self._whole_growth()[self._group[value]])

    def _whole_growth(self) -> list[int]:
        """`growth` in whole eighths. To read a GPU's memory is to wait for all its work: only after a change."""
        which = (id(self.growth), self.growth._version)
        if self.growth.device.type == "cpu" or self._known[0] != which:
            self._known = (which, self.growth.detach().round().long().tolist())
        return self._known[1]

    def _growth_of(self, value: int) -> Tensor:
        return self.growth[self._group[value]] if value in self._group else self.growth.new_zeros(())

    def forward(self, x: Tensor, seen: dict[str, Tensor] | None = None) -> Tensor:
        """Prepared images (N, channels, height, width) -> (N, classes) logits; `seen` gets what layers give, in
        steps."""
        return super().forward(self.enter(x), seen).float() * self._scale(-1).step

    def enter(self, x: Tensor) -> Tensor:
        """Prepared images in whole steps."""
        scale = self._scale(0)
        return (x * step(-scale.exponent)).round().clamp(scale.low, scale.high).to(self.dtype)

    def factor(self, op: Conv | Linear) -> Tensor:
        """Steps of the output that one more in a sum means: (out,)."""
        weight = self.weight(op.name)
        rescaling = (
            self._scale(self._index[id(op)] + 1).exponent - self._scale(op.inputs[0]).exponent - weight.exponents
        )
        return torch.exp2(rescaling / -EIGHTHS)

    def bias_steps(self, op: Conv | Linear) -> Tensor:
        """A layer's bias in steps of its output as they are now: (out,)."""
        value = self._index[id(op)] + 1
        return self.bias(op.name) * step(self._first[value].exponent - self._scale(value).exponent)

    @torch.no_grad()
    def keep_within_reach(self) -> None:
        """Undo growth that no shift of the format could follow."""
        self.growth.clamp_(-self._reach, self._reach)
        scales = self.scales
        for index, op in enumerate(self.graph.ops):
            if isinstance(op, Layer):
                weight = self.weight(op.name)
                gap = scales[index + 1].exponent - scales[op.inputs[0]].exponent
                lowest, highest = gap - MAX_RESCALING - weight.first.min(), gap - MIN_RESCALING - weight.first.max()
                weight.growth.clamp_(lowest, highest)

    def apply_op(self, op: Op, operands: list[Tensor]) -> Tensor:
        index = self._index[id(op)]
        x, source, target = operands[0], self._scale(op.inputs[0]), self._scale(index + 1)
        match op:
            case Conv() | Linear():
                factor, bias = self.factor(op), self.bias_steps(op)
                # Nothing is added here: the sum takes the bias' gradient, which is cheaper there than by itself.
                offset = None if target.wide else (bias - bias.detach()) / factor
                return self._outputs(op, self.sums(op, x, offset), factor, bias)
            case ReLU():
                x = x if source.zero == 0 else F.relu(x)
                return x.clamp(max=cap_level(op.cap, target)) if op.cap else x
            case AvgPool():
                return _rounded(F.avg_pool2d(x, op.kernel, op.stride, op.padding))
            case GlobalAvgPool():
                mean = x.float().mean((2, 3), keepdim=True)
                return mean * 2 ** (FINER / EIGHTHS) if target.wide else _rounded(mean).to(x.dtype)
            case Add():
                other = self._scale(op.inputs[1])
                total = x.float() * step(source.exponent - target.exponent)
                total = total + operands[1].float() * step(other.exponent - target.exponent)
                whole: Tensor = _Whole.apply(  # type: ignore[no-untyped-call]
                    total, target.low, target.high, self._growth_of(index + 1)
                )
                return whole.to(x.dtype)
            case MaxPool() | Concat() | Flatten():
                return super().apply_op(op, operands)
            case LRN():
                raise no_integer_form(op)

    def sums(self, op: Conv | Linear, x: Tensor, offset: Tensor | None = None) -> Tensor:
        """What a layer adds up, before it is brought to the scale of its output; `offset` (out,) is added to it."""
        if self._scale(self._index[id(op)] + 1).nine_bit:
            x = x.float()  # which bfloat16 has too few bits for
        weight = self.weight(op.name)().to(x.dtype)
        offset = None if offset is None else offset.to(x.dtype)
        if isinstance(op, Linear):
            return F.linear(x, weight, offset)
        weight = weight.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, weight, offset, op.stride, op.padding, groups=op.groups)

    def outputs(self, op: Conv | Linear, sums: Tensor) -> Tensor:
        """What a layer makes of its `sums`."""
        return self._outputs(op, sums, self.factor(op), self.bias_steps(op))

    def _outputs(self, op: Conv | Linear, sums: Tensor, factor: Tensor, bias: Tensor) -> Tensor:
        value = self._index[id(op)] + 1
        target = self._scale(value)
        if target.wide:
            shape = (1, -1) + (1,) * (sums.dim() - 2)
            return sums.float() * factor.view(shape) + bias.view(shape)
        growth = self._growth_of(value)
        result: Tensor = _Requantise.apply(  # type: ignore[no-untyped-call]
            sums, factor, bias.detach(), target.low, target.high, growth
        )
        return result if target.nine_bit else result.to(self.dtype)

    def to_weights(self) -> dict[str, IntegerWeights]:
        """What the layers own, as it is shipped."""
        held = {}
        for op in self.graph.layers:
            bias = (self.bias_steps(op).detach() * (1 << BIAS_BITS)).round()
            held[op.name] = IntegerWeights(self.weight(op.name).tensor(), bias.cpu().numpy().astype(np.int32))
        return held


def from_integer_model(model: Model) -> IntegerNetwork:
    """An integer network that goes on learning from where a shipped one is."""
    weights, biases = {}, {}
    for name, held in model.weights.items():
        assert isinstance(held.weight, Grid)
        exponents = torch.from_numpy(held.weight.exponents.astype(np.int64))
        weights[name] = GridWeight(torch.from_numpy(held.weight.levels.astype(np.float32)), exponents)
        biases[name] = torch.from_numpy(held.bias) / (1 << BIAS_BITS)
    return IntegerNetwork(model.graph, model.scales, weights, biases)


def _dtype(device: torch.device) -> torch.dtype:
    able = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if able else torch.float32


def _reach(graph: Graph, scales: Sequence[Scale]) -> int:
    """Eighths by which every scale may grow or shrink on its own and the format can still express the network."""
    room = [MAX_EXPONENT - abs(scale.exponent) for scale in scales]
    for value, op in enumerate(graph.ops, 1):
        if isinstance(op, Add):
            rescalings = [scales[value].exponent - scales[i].exponent for i in op.inputs]
            room += [min(rescaling - MIN_RESCALING, MAX_RESCALING - rescaling) // 2 for rescaling in rescalings]
    return min(MAX_GROWTH, *room)


def _rounded(x: Tensor) -> Tensor:
    return x + ((x + 0.5).floor() - x).detach()
