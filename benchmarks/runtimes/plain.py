"""A network as anybody would write it in PyTorch: `nn.Conv2d` and the like, weights as parameters.

Peers convert this. The project's own `Network` makes its weights by a module each, and an exporter that meets those
may write down the making and not the weight.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import fx, nn

from squeezenet.graph import (
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Joining,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
    sides,
)
from squeezenet.model import Model


def resized(model: Model, size: int) -> Model:
    """The same weights for images of `size` pixels; 0 leaves them as they are."""
    if not size:
        return model
    graph = Graph((model.graph.input_shape[0], size, size), model.graph.ops)
    preparation = replace(model.preparation, crop=size, resize=max(size, model.preparation.resize))
    return replace(model, graph=graph, preparation=preparation)


def module(model: Model) -> fx.GraphModule:
    """(N, channels, height, width) -> (N, classes) logits in float32; no gradients."""
    model = model.dequantised()
    root, graph = nn.Module(), fx.Graph()
    values = [graph.placeholder("image")]
    for index, op in enumerate(model.graph.ops):
        operands = [values[i] for i in op.inputs]
        if isinstance(op, Joining):
            function = {Concat: torch.cat, Add: torch.add, Multiply: torch.mul}[type(op)]
            values.append(graph.call_function(function, (operands, 1) if isinstance(op, Concat) else tuple(operands)))
            continue
        root.add_module(f"op{index}", _layer(op, model))
        values.append(graph.call_module(f"op{index}", tuple(operands)))
    graph.output(values[-1])
    return fx.GraphModule(root, graph).eval().requires_grad_(False)


class Chosen(nn.Module):
    """A slice of the channels, or a channel shuffle as ShuffleNet writes it, perhaps with a slice of its result."""

    def __init__(self, op: Select) -> None:
        super().__init__()
        self.op = op

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, channels, height, width) -> (N, chosen channels, height, width)."""
        start, (rows, columns), (down, right) = self.op.start, self.op.counts, self.op.steps
        if rows == 1 and right > 0:
            return x[:, start : start + (columns - 1) * right + 1 : right]
        if down != 1 or start + rows > right:
            raise SystemExit("a choice of channels that is not compared with other runtimes")
        return x.unflatten(1, (columns, right)).narrow(2, start, rows).transpose(1, 2).flatten(1, 2)


def _layer(op: Op, model: Model) -> nn.Module:
    match op:
        case Conv() | Linear():
            held = model.weights[op.name]
            weight, bias = torch.from_numpy(held.weight.values().copy()), torch.from_numpy(held.bias.copy())
            if isinstance(op, Linear):
                layer: nn.Module = nn.Linear(weight.shape[1], op.out)
            else:
                channels = weight.shape[1] * op.groups
                layer = nn.Conv2d(channels, op.out, op.kernel, op.stride, 0, op.dilation, op.groups)
            layer.load_state_dict({"weight": weight, "bias": bias})
            return _padded(op, layer) if isinstance(op, Conv) else layer
        case ReLU():
            return nn.ReLU() if op.cap == 0 else nn.Hardtanh(0, op.cap)
        case Activation():
            return _activation(op)
        case MaxPool() if len(op.padding) == 2:
            return nn.MaxPool2d(op.kernel, op.stride, op.padding, op.dilation, ceil_mode=op.ceil)
        case AvgPool() if len(op.padding) == 2 and op.dilation == (1, 1):
            return nn.AvgPool2d(op.kernel, op.stride, op.padding, op.ceil, op.counted)
        case AdaptivePool():
            return nn.AdaptiveMaxPool2d(op.size) if op.maximum else nn.AdaptiveAvgPool2d(op.size)
        case GlobalAvgPool():
            return nn.AdaptiveAvgPool2d(1)
        case Select():
            return Chosen(op)
        case Upsample():
            return nn.Upsample(scale_factor=op.factor)
        case Flatten():
            return nn.Flatten()
    raise SystemExit(f"{type(op).__name__}: not compared with other runtimes")


def _padded(op: Conv, layer: nn.Module) -> nn.Module:
    if len(op.padding) == 2:
        layer.padding = op.padding
        return layer
    top, left, bottom, right = sides(op.padding)
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), layer)


def _activation(op: Activation) -> nn.Module:
    """PyTorch's own module, which its exporters know; parameters other than the usual ones are not compared."""
    usual: dict[str, tuple[float, float, Callable[[], nn.Module]]] = {
        "hard_sigmoid": (1 / 6, 0.5, nn.Hardsigmoid),
        "hard_swish": (1 / 6, 0.5, nn.Hardswish),
        "sigmoid": (0, 0, nn.Sigmoid),
        "silu": (1, 0, nn.SiLU),
        "tanh": (0, 0, nn.Tanh),
        "gelu": (0, 0, nn.GELU),
        "gelu_tanh": (0, 0, lambda: nn.GELU("tanh")),
        "mish": (0, 0, nn.Mish),
        "leaky_relu": (op.a, 0, lambda: nn.LeakyReLU(op.a)),
        "elu": (op.a, 1, lambda: nn.ELU(op.a)),
        "clamp": (op.a, op.b, lambda: nn.Hardtanh(op.a, op.b)),
    }
    a, b, module = usual.get(op.function, (math.nan, 0, nn.Identity))
    if not (math.isclose(op.a, a, rel_tol=1e-6) and math.isclose(op.b, b, rel_tol=1e-6)):
        raise SystemExit(f"{op.function} with the parameters {op.a:g}, {op.b:g}: not compared with other runtimes")
    return module()
