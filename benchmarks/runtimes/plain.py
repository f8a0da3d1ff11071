"""A network as anybody would write it in PyTorch: `nn.Conv2d` and the like, weights as parameters.

Peers convert this. The project's own `Network` makes its weights by a module each, and an exporter that meets those
may write down the making and not the weight.
"""

from dataclasses import replace

import torch
from torch import fx, nn

from squeezenet.graph import Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, Op, ReLU
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
        if isinstance(op, Concat | Add):
            joined = (torch.cat, (operands, 1)) if isinstance(op, Concat) else (torch.add, tuple(operands))
            values.append(graph.call_function(*joined))
            continue
        root.add_module(f"op{index}", _layer(op, model))
        values.append(graph.call_module(f"op{index}", tuple(operands)))
    graph.output(values[-1])
    return fx.GraphModule(root, graph).eval().requires_grad_(False)


def _layer(op: Op, model: Model) -> nn.Module:
    match op:
        case Conv() | Linear():
            held = model.weights[op.name]
            weight, bias = torch.from_numpy(held.weight.values().copy()), torch.from_numpy(held.bias.copy())
            if isinstance(op, Linear):
                layer: nn.Module = nn.Linear(weight.shape[1], op.out)
            else:
                channels = weight.shape[1] * op.groups
                layer = nn.Conv2d(channels, op.out, op.kernel, op.stride, op.padding, groups=op.groups)
            layer.load_state_dict({"weight": weight, "bias": bias})
            return layer
        case ReLU():
            return nn.ReLU() if op.cap == 0 else nn.Hardtanh(0, op.cap)
        case MaxPool():
            return nn.MaxPool2d(op.kernel, op.stride, op.padding, ceil_mode=op.ceil)
        case AvgPool():
            return nn.AvgPool2d(op.kernel, op.stride, op.padding)
        case GlobalAvgPool():
            return nn.AdaptiveAvgPool2d(1)
        case Flatten():
            return nn.Flatten()
    raise SystemExit(f"{type(op).__name__}: not compared with other runtimes")
