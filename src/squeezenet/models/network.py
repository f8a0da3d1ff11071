"""A graph as a PyTorch module that can be trained, whatever network it came from.

    >>> network = from_model(model)                                      # doctest: +SKIP
    >>> network(images).shape                                            # doctest: +SKIP
    torch.Size([8, 1000])

A layer's weight is a module, which returns its values. A stage of compression replaces it by a module of another form
(with a mask, or with a codebook), and autograd differentiates through it.
"""

from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
    Window,
    sides,
)
from squeezenet.model import Grid, Model, Plain, Shared, Weights


class LayerWeight(nn.Module):
    """The weight of a layer: a module that returns the values."""

    def tensor(self) -> Plain | Shared | Grid:
        """The weight as it is shipped."""
        raise NotImplementedError


class Network(nn.Module):
    """A graph in float32. `weights` and `biases` are by the names of layers."""

    def __init__(self, graph: Graph, weights: Mapping[str, LayerWeight], biases: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.graph = graph
        self._last_use = graph.last_use()
        self._key = {op.name: f"layer{i}" for i, op in enumerate(graph.layers)}  # torch forbids dots in names
        self.weights = nn.ModuleDict({self._key[name]: weights[name] for name in self._key})
        self.biases = nn.ParameterDict({self._key[name]: nn.Parameter(biases[name].clone()) for name in self._key})

    def weight(self, name: str) -> LayerWeight:
        """The module that gives a layer's weight."""
        return cast(LayerWeight, self.weights[self._key[name]])

    def replace_weight(self, name: str, weight: LayerWeight) -> None:
        self.weights[self._key[name]] = weight

    def bias(self, name: str) -> nn.Parameter:
        bias: nn.Parameter = self.biases[self._key[name]]
        return bias

    def forward(self, x: Tensor, seen: dict[str, Tensor] | None = None) -> Tensor:
        """(N, channels, height, width) -> (N, classes) logits. The output of each layer is put into `seen`, by name."""
        for op, _, value in self.run(x):
            if seen is not None and isinstance(op, Conv | Linear):
                seen[op.name] = value
        return value

    def run(self, x: Tensor) -> Iterator[tuple[Op, list[Tensor], Tensor]]:
        """Every operation with its operands and its output for `x`; an output is dropped after its last use."""
        values: list[Tensor | None] = [x]
        for index, op in enumerate(self.graph.ops):
            operands = [value for i in op.inputs if (value := values[i]) is not None]
            value = self.apply_op(op, operands)
            values.append(value)
            yield op, operands, value
            for i in op.inputs:
                if self._last_use[i] == index:
                    values[i] = None

    def apply_op(self, op: Op, operands: list[Tensor]) -> Tensor:
        x = operands[0]
        match op:
            case Conv():
                return convolve(op, x, self.weight(op.name)(), self.bias(op.name))
            case Linear():
                return F.linear(x, self.weight(op.name)(), self.bias(op.name))
            case ReLU():
                return F.relu(x) if op.cap == 0 else x.clamp(0, op.cap)
            case Activation():
                return activate(op, x)
            case MaxPool():
                x, padding = padded(op, x, -torch.inf)
                return F.max_pool2d(x, op.kernel, op.stride, padding, op.dilation, op.ceil)
            case AvgPool():
                return average(op, x)
            case AdaptivePool():
                return F.adaptive_max_pool2d(x, op.size) if op.maximum else F.adaptive_avg_pool2d(x, op.size)
            case GlobalAvgPool():
                return x.mean((2, 3), keepdim=True)
            case LRN():
                return F.local_response_norm(x, op.size, op.alpha, op.beta, op.k)
            case LayerNorm():
                return F.layer_norm(x.movedim(1, -1), x.shape[1:2], eps=op.epsilon).movedim(-1, 1)
            case Concat():
                return torch.cat(operands, 1)
            case Select():
                return x[:, op.picks()]
            case Upsample():
                return x.repeat_interleave(op.factor[0], 2).repeat_interleave(op.factor[1], 3)
            case Add():
                return operands[0] + operands[1]
            case Multiply():
                return operands[0] * operands[1]
            case Flatten():
                return x.flatten(1)


def padded(op: Window, x: Tensor, value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """`x`, and the padding that PyTorch adds: the same on both sides, in pools at most half of the kernel.

    Any other padding is added here.
    """
    top, left, bottom, right = sides(op.padding)
    pool_too_far = not isinstance(op, Conv) and (2 * top > op.kernel[0] or 2 * left > op.kernel[1])
    if (top, left) == (bottom, right) and not pool_too_far:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def convolve(op: Conv, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution with the settings of `op`."""
    x, padding = padded(op, x)
    return F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)


def average(op: AvgPool, x: Tensor) -> Tensor:
    """An average pool. PyTorch has none with dilation or different padding on opposite sides."""
    padding = sides(op.padding)
    if op.dilation == (1, 1) and padding[:2] == padding[2:] and 2 * max(padding) <= min(op.kernel):
        return F.avg_pool2d(x, op.kernel, op.stride, padding[:2], op.ceil, op.counted)
    top, left, bottom, right = padding
    around = (left, right, top, bottom)
    counts = F.pad(x.new_ones((1, 1, *x.shape[2:])), around, value=float(op.counted))
    _, rows, columns = op.shape(*x.shape[1:])
    past = [
        max(0, (n - 1) * s + (k - 1) * d + 1 - size)
        for n, s, k, d, size in zip((rows, columns), op.stride, op.kernel, op.dilation, counts.shape[2:], strict=True)
    ]
    ones = x.new_ones((1, 1, *op.kernel))

    def sums(y: Tensor) -> Tensor:
        each = F.pad(y, (0, past[1], 0, past[0])).flatten(0, 1)[:, None]
        found = F.conv2d(each, ones, None, op.stride, 0, op.dilation)[:, 0, :rows, :columns]
        return found.reshape(*y.shape[:2], rows, columns)

    return sums(F.pad(x, around)) / sums(counts)


def activate(op: Activation, x: Tensor) -> Tensor:
    """The function of an `Activation`, differentiable."""
    a, b = op.a, op.b
    match op.function:
        case "clamp":
            return x.clamp(a, b)
        case "leaky_relu":
            return torch.where(x > 0, x, a * x)
        case "elu":
            return torch.where(x > 0, x, a * torch.expm1((b * x).clamp(max=0)))
        case "hard_sigmoid":
            return (a * x + b).clamp(0, 1)
        case "hard_swish":
            return x * (a * x + b).clamp(0, 1)
        case "sigmoid":
            return x.sigmoid()
        case "silu":
            return x * (a * x).sigmoid()
        case "tanh":
            return x.tanh()
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "mish":
            return F.mish(x)
        case "softplus":
            return F.softplus(a * x) / a
        case "power":
            base = x.clamp(min=0) + b
            return torch.where(base > 0, base.clamp(min=torch.finfo(x.dtype).tiny) ** a, 0)  # with finite derivatives


class FreeWeight(LayerWeight):
    """A weight whose values are learned where `mask` is not zero: pruned weights stay pruned (Han et al. 2015).

    Without a mask, all are.
    """

    mask: Tensor | None

    def __init__(self, values: Tensor, mask: Tensor | None = None) -> None:
        super().__init__()
        self.values = nn.Parameter(values.detach().clone())
        self.register_buffer("mask", None if mask is None else mask.to(values.dtype))

    def forward(self) -> Tensor:
        return self.values if self.mask is None else self.values * self.mask

    def tensor(self) -> Plain:
        values = self.values.detach()
        if self.mask is not None:  # a product with the mask could be -0.0, which the file stores as a value
            values = torch.where(self.mask != 0, values, values.new_zeros(()))
        return Plain(values.cpu().contiguous().numpy().copy())


class SharedWeight(LayerWeight):
    """A weight of indices into a codebook; index 0 is a pruned weight.

    The lookup is a gather, so the gradient of a centroid is the sum over the weights that share it: trained
    quantization (Deep Compression, section 3.3).
    """

    indices: Tensor

    def __init__(self, indices: Tensor, codebook: Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices.long())
        self.codebook = nn.Parameter(codebook.detach().clone())

    def forward(self) -> Tensor:
        zero = self.codebook.new_zeros(1)
        return torch.cat([zero, self.codebook])[self.indices]

    def tensor(self) -> Shared:
        indices = self.indices.cpu().numpy().astype(np.uint16)
        return Shared(indices, self.codebook.detach().cpu().numpy().copy())


def from_model(model: Model) -> Network:
    """A network to fine-tune: pruned weights stay zero, and shared weights keep their codebooks."""
    weights: dict[str, LayerWeight] = {}
    model = model.dequantised()
    for name, held in model.weights.items():
        if isinstance(held.weight, Shared):
            indices = torch.from_numpy(held.weight.indices.astype(np.int64))
            weights[name] = SharedWeight(indices, torch.from_numpy(held.weight.codebook))
        else:
            values = torch.from_numpy(held.weight.values())
            weights[name] = FreeWeight(values, values != 0)
    return Network(model.graph, weights, {n: torch.from_numpy(w.bias) for n, w in model.weights.items()})


def dense(model: Model) -> Network:
    """A network to train further: all weights become float32 values, and pruned weights may become nonzero again."""
    model = model.dequantised()
    weights = {name: FreeWeight(torch.from_numpy(held.weight.values())) for name, held in model.weights.items()}
    return Network(model.graph, weights, {name: torch.from_numpy(held.bias) for name, held in model.weights.items()})


def to_weights(network: Network) -> dict[str, Weights]:
    """The weights and biases of a network, as they are shipped."""
    return {
        op.name: Weights(network.weight(op.name).tensor(), network.bias(op.name).detach().cpu().numpy().copy())
        for op in network.graph.layers
    }
