"""An integer network that can be trained: it computes what the device computes, and passes gradients through rounding.

    >>> network = IntegerNetwork(graph, scales, weights, biases)           # doctest: +SKIP

All numbers count steps of their scale: activations are whole numbers up to 255, weights are whole levels. Both are
exact in bfloat16, and a CPU with bfloat16 products (AVX-512 BF16) uses it. 9-bit activations, up to 510, stay in
float32. A GPU holds all numbers in float32; its TF32 products are exact for whole numbers up to 2,048. The gradient of
rounding is taken as 1 (straight-through estimator, Bengio et al. 2013, 1308.3432), and as 0 where a number is clipped.
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
from squeezenet.integer_graph import MAX_EXPONENT, no_integer_form
from squeezenet.model import MAX_LEVEL, Grid, IntegerWeights, Model
from squeezenet.models.network import LayerWeight, Network, activate, average, convolve
from squeezenet.runtime.integers import cap_level
from squeezenet.scalar_functions import table
from squeezenet.sqz.levels_reference import LARGEST
from squeezenet.training.surroundings import CPU

DEAD = 0.6  # values below this magnitude, in steps, become level 0; others the nearest level
MAX_GROWTH = 16  # eighths of an octave by which a scale of activations may change while learning


class GridWeight(LayerWeight):
    """A weight tensor that is used as whole levels; its values and its steps are learned.

    The initial steps are 2 ^ (first / 8), with `first` (out,). The present steps are 2 ^ ((first + growth) / 8), with
    `growth` a scalar, rounded. `values` are in initial steps. The gradient to the step is that of LSQ (Esser et al.
    2020, 1902.08153).
    """

    first: Tensor

    def __init__(self, values: Tensor, first: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach().clone().float())
        self.growth = nn.Parameter(torch.zeros(()))
        self.register_buffer("first", first.to(torch.int64))

    @property
    def exponents(self) -> Tensor:
        """The exponents of the present steps, in whole eighths of an octave: (out,)."""
        return self.first + self.growth.detach().round().long()

    def steps(self) -> Tensor:
        """The values in present steps, not rounded, with a gradient to `values` and `growth`."""
        growth = self.growth + (self.growth.round() - self.growth).detach()
        return self.values * torch.exp2(growth / -EIGHTHS)

    def levels(self) -> Tensor:
        """The values as levels: whole numbers, as float32."""
        steps = self.steps().detach()
        return steps.round().clamp_(-MAX_LEVEL, MAX_LEVEL).masked_fill_(steps.abs() < DEAD, 0.0)

    def forward(self) -> Tensor:
        """The levels, with a gradient to `values` and `growth`.

        A larger step has two effects: each level stands for more, and each value is fewer steps. The first effect is
        computed in the layer's `factor`. As sums are linear in the levels, a factor of these has the same gradient.
        """
        steps = self.steps()
        meaning = torch.exp2((self.growth - self.growth.detach()) / EIGHTHS)  # 1, with a gradient
        return self.levels() * meaning + (steps - steps.detach())

    def tensor(self) -> Grid:
        """The weight as the file stores it."""
        return Grid(self.levels().to(torch.int16).cpu().numpy(), self.exponents.to(torch.int16).cpu().numpy())


class _Requantise(torch.autograd.Function):
    """sums * factor + bias, rounded and clipped to [low, high]. `factor` and `bias` are per channel (dimension 1).

    Gradients go to the sums and to `growth`, the growth of the result's scale (`_slope`).
    """

    @staticmethod
    def forward(ctx: Any, sums: Tensor, factor: Tensor, bias: Tensor, low: int, high: int, growth: Tensor) -> Tensor:
        # Only batch normalisation multiplies bfloat16 by float32 factors without a float32 copy.
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
    """`y` rounded, halves up, and clipped to [low, high]. Gradients go to `y` and to `growth`."""

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
    """The gradient with respect to the exponent, in eighths of an octave, of the step of the result (LSQ, eq. 3).

    `gradient` is that with respect to the result q. Per eighth, the value step * q changes by (q - y) * step * log(2) /
    8 where y is not clipped, and by q * step * log(2) / 8 where it is.
    """
    lost = y.round().clamp_(low, high) - y.masked_fill((y < low - 0.5) | (y > high + 0.5), 0.0)
    return (gradient * lost).sum(dtype=torch.float32) * (log(2) / EIGHTHS)


class IntegerNetwork(Network):
    """A `Network` that computes with whole numbers. Biases are in initial steps of the layer's output."""

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
                self._group[value] = self._group[op.inputs[0]]  # logits that are a mean scale with their input
        # By how many eighths of an octave the scale of each group has grown. Other scales stay.
        self.growth = nn.Parameter(torch.zeros(len(groups)), requires_grad=False)
        self._reach = _reach(graph, scales)
        self._known: tuple[tuple[int, int], list[int]] = ((0, 0), [])  # state of `growth`; its whole eighths

    def on(self, device: torch.device) -> "IntegerNetwork":
        """This network, moved to `device`, with the dtype for whole numbers there."""
        if self.growth.device.type != device.type:
            self.dtype = _dtype(device)
        return self.to(device)

    def weight(self, name: str) -> GridWeight:
        return cast(GridWeight, super().weight(name))

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The present scales of the image and of every operation's output."""
        return tuple(self._scale(value) for value in range(len(self._first)))

    def _scale(self, value: int) -> Scale:
        value %= len(self._first)
        first = self._first[value]
        if value not in self._group:
            return first
        return replace(first, exponent=first.exponent + self._whole_growth()[self._group[value]])

    def _whole_growth(self) -> list[int]:
        """`growth` in whole eighths. A GPU is read only after a change, since reading waits for all its work."""
        which = (id(self.growth), self.growth._version)
        if self.growth.device.type == "cpu" or self._known[0] != which:
            self._known = (which, self.growth.detach().round().long().tolist())
        return self._known[1]

    def _growth_of(self, value: int) -> Tensor:
        return self.growth[self._group[value]] if value in self._group else self.growth.new_zeros(())

    def forward(self, x: Tensor, seen: dict[str, Tensor] | None = None) -> Tensor:
        """Logits (N, classes) of prepared images (N, channels, height, width); `seen` gets the outputs of layers."""
        return super().forward(self.enter(x), seen).float() * self._scale(-1).step

    def enter(self, x: Tensor) -> Tensor:
        """Prepared images as whole steps of the image's scale."""
        scale = self._scale(0)
        return (x * step(-scale.exponent)).round().clamp(scale.low, scale.high).to(self.dtype)

    def factor(self, op: Conv | Linear) -> Tensor:
        """Steps of the output for each unit of a sum, 2 ^ (-rescaling exponent / 8): (out,)."""
        weight = self.weight(op.name)
        rescaling = (
            self._scale(self._index[id(op)] + 1).exponent - self._scale(op.inputs[0]).exponent - weight.exponents
        )
        return torch.exp2(rescaling / -EIGHTHS)

    def bias_steps(self, op: Conv | Linear) -> Tensor:
        """The bias of a layer in present steps of its output: (out,)."""
        value = self._index[id(op)] + 1
        return self.bias(op.name) * step(self._first[value].exponent - self._scale(value).exponent)

    @torch.no_grad()
    def keep_within_reach(self) -> None:
        """Limit growth to scales whose rescaling exponents the format allows."""
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
                # The offset is 0. Only its gradient is used: computing the bias's gradient through the sums is cheaper.
                offset = None if target.wide else (bias - bias.detach()) / factor
                return self._outputs(op, self.sums(op, x, offset), factor, bias)
            case ReLU():
                x = x if source.zero == 0 else F.relu(x)
                return x.clamp(max=cap_level(op.cap, target)) if op.cap else x
            case Activation():
                return self._function(op, x, source, target)
            case AvgPool():
                return _rounded(average(op, x.float())).to(x.dtype)
            case AdaptivePool() if not op.maximum:
                return _rounded(super().apply_op(op, [x.float()])).to(x.dtype)
            case GlobalAvgPool():
                mean = x.float().mean((2, 3), keepdim=True)
                return mean * 2 ** (FINER / EIGHTHS) if target.wide else _rounded(mean).to(x.dtype)
            case Add():
                other = self._scale(op.inputs[1])
                total = x.float() * step(source.exponent - target.exponent)
                total = total + operands[1].float() * step(other.exponent - target.exponent)
                return self._whole(total, index + 1).to(x.dtype)
            case Multiply():
                other = self._scale(op.inputs[1])
                product = x.float() * operands[1].float()
                product = product * step(source.exponent + other.exponent - target.exponent)
                return self._whole(product, index + 1).to(x.dtype)
            case MaxPool() | AdaptivePool() | Concat() | Select() | Upsample() | Flatten():
                return super().apply_op(op, operands)
            case LRN() | LayerNorm():
                raise no_integer_form(op)

    def _function(self, op: Activation, x: Tensor, source: Scale, target: Scale) -> Tensor:
        """The entries of the table, with the gradient of the function."""
        whole = self._whole(activate(op, x.float() * source.step) / target.step, self._index[id(op)] + 1)
        entries = torch.tensor(list(table(op, source, target)), device=x.device) - target.zero
        exact = entries[x.detach().long() + source.zero].float()
        return (whole + (exact - whole).detach()).to(x.dtype)

    def _whole(self, y: Tensor, value: int) -> Tensor:
        """`y`, in steps of value `value`, rounded and clipped."""
        target = self._scale(value)
        whole: Tensor = _Whole.apply(y, target.low, target.high, self._growth_of(value))  # type: ignore[no-untyped-call]
        return whole

    def sums(self, op: Conv | Linear, x: Tensor, offset: Tensor | None = None) -> Tensor:
        """The sums of products of a layer, plus `offset` (out,), before they are rescaled to the output."""
        if self._scale(self._index[id(op)] + 1).nine_bit:
            x = x.float()  # bfloat16 has too few bits for the output
        if isinstance(op, Conv) and op.groups == x.shape[1] and op.stride != (1, 1):
            x = x.float()  # gradients of strided depthwise convolutions take 7 times as long in bfloat16 on a CPU
        weight = self.weight(op.name)().to(x.dtype)
        offset = None if offset is None else offset.to(x.dtype)
        if isinstance(op, Linear):
            return F.linear(x, weight, offset)
        weight = weight.contiguous(memory_format=torch.channels_last)
        return convolve(op, x, weight, offset)

    def outputs(self, op: Conv | Linear, sums: Tensor) -> Tensor:
        """The outputs of a layer from its `sums`."""
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
        """Layer name -> weight and bias, as the file stores them; biases that it cannot hold are limited."""
        return {op.name: stored(self.weight(op.name), self.bias_steps(op).detach()) for op in self.graph.layers}


def stored(weight: GridWeight, bias: Tensor) -> IntegerWeights:
    """A layer as the file stores it; `bias` is in steps of its outputs. What no file can hold is limited."""
    whole = (bias * (1 << BIAS_BITS)).round().clamp(-LARGEST, LARGEST)
    return IntegerWeights(weight.tensor(), whole.cpu().numpy().astype(np.int32))


def from_integer_model(model: Model) -> IntegerNetwork:
    """The integer network of `model`, for further training."""
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
    """Eighths of an octave by which each scale may change, whatever the others do, within the limits of the format."""
    room = [MAX_EXPONENT - abs(scale.exponent) for scale in scales]
    for value, op in enumerate(graph.ops, 1):
        if isinstance(op, Add):
            rescalings = [scales[value].exponent - scales[i].exponent for i in op.inputs]
            room += [min(rescaling - MIN_RESCALING, MAX_RESCALING - rescaling) // 2 for rescaling in rescalings]
        if isinstance(op, Multiply):
            rescaling = scales[value].exponent - sum(scales[i].exponent for i in op.inputs)
            room.append(min(rescaling - MIN_RESCALING, MAX_RESCALING - rescaling) // 3)
    return min(MAX_GROWTH, *room)


def _rounded(x: Tensor) -> Tensor:
    return x + ((x + 0.5).floor() - x).detach()
