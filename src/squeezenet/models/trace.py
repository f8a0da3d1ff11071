"""A PyTorch module as a graph and its weights. All networks enter the package in this way.

    >>> graph, weights = trace(create_model("squeezenet1_0"), (3, 227, 227))    # doctest: +SKIP

torch.fx traces `forward`. BatchNorm is folded into the convolution before it, or becomes a depthwise 1x1 convolution
if there is none. Dropout is removed. An operation that the graph cannot express is refused by its name.
"""

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F

from squeezenet.errors import BadGraph, UnsupportedOperation
from squeezenet.graph import (
    LRN,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
)
from squeezenet.model import FloatArray

Arrays = dict[str, tuple[FloatArray, FloatArray]]  # layer name -> (weight, bias)

_RELU = {nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
_RELU6 = {nn.ReLU6, F.relu6}
_CONCAT = {torch.cat, torch.concat}
_ADD = {operator.add, operator.iadd, torch.add, "add", "add_"}
_IGNORED = {nn.Dropout, nn.Dropout2d, nn.Identity, F.dropout, "contiguous"}
_FLATTEN = {nn.Flatten, torch.flatten, "flatten"}
_RESHAPE = {torch.reshape, "view", "reshape"}
_MEAN = {torch.mean, "mean"}
_IN_PLACE = {F.relu_, torch.relu_, operator.iadd, "relu_", "add_"}


def trace(module: nn.Module, input_shape: tuple[int, ...]) -> tuple[Graph, Arrays]:
    """The graph of a classifier that reads (N, *input_shape), and float32 weights by layer name.

    Names of layers are the paths of their modules. Raises `UnsupportedOperation`, which names the operation.
    """
    try:
        traced = fx.symbolic_trace(module)
    except (fx.proxy.TraceError, TypeError, ValueError) as error:
        raise UnsupportedOperation(f"forward() depends on its data and cannot be traced ({error})") from None
    tracer = _Tracer(module, input_shape)
    for node in traced.graph.nodes:
        tracer.visit(node)
    try:
        return Graph(input_shape, tuple(tracer.ops)), tracer.weights
    except BadGraph as error:
        raise UnsupportedOperation(str(error)) from None


class _Tracer:
    def __init__(self, module: nn.Module, input_shape: tuple[int, ...]) -> None:
        self.module = module
        self.ops: list[Op] = []
        self.weights: Arrays = {}
        self.values: dict[fx.Node, int] = {}
        self.sizes: set[fx.Node] = set()  # x.size(0) and x.shape[0], on their way into a reshape
        self.shapes = [input_shape]

    def visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self.values:
                raise UnsupportedOperation("the network takes more than one input")
            self.values[node] = 0
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise UnsupportedOperation("the network must return its logits and nothing else")
            if self.values[node.args[0]] != len(self.ops):
                raise UnsupportedOperation("the network computes something after its logits")
        elif node.op == "get_attr":
            raise UnsupportedOperation(f"{node.target}: a parameter used outside a layer cannot be expressed")
        else:
            self._operation(node)

    def _operation(self, node: fx.Node) -> None:
        target: Any = node.target
        name = str(target)
        layer: nn.Module | None = None
        if node.op == "call_module":
            layer = self.module.get_submodule(name)
            target = type(layer)
        if self._is_size(node):
            self.sizes.add(node)
            return
        inputs = tuple(self.values[a] for a in node.all_input_nodes if a not in self.sizes)
        if target in _IGNORED:
            self.values[node] = inputs[0]
            return
        if isinstance(layer, nn.BatchNorm2d):
            self._batch_norm(node, name, layer, inputs)
            return
        if isinstance(layer, nn.Conv2d | nn.Linear):
            op: Op = self._layer(name, layer, inputs)
        elif isinstance(layer, nn.AdaptiveAvgPool2d) or target is F.adaptive_avg_pool2d:
            size = layer.output_size if isinstance(layer, nn.AdaptiveAvgPool2d) else _argument(node, 1, "output_size")
            pool = self._adaptive(size, inputs)
            if pool is None:
                self.values[node] = inputs[0]
                return
            op = pool
        else:
            op = self._plain(node, target, layer, inputs)
        self._append(node, op)
        in_place = target in _IN_PLACE or getattr(layer, "inplace", False)
        if in_place or (target in (F.relu, F.relu6) and _argument(node, 1, "inplace", False)):
            # All other names of the operand now mean the result.
            self.values.update({alias: len(self.ops) for alias, value in self.values.items() if value == inputs[0]})

    def _is_size(self, node: fx.Node) -> bool:
        if (node.op, node.target) == ("call_method", "size") or (node.target is getattr and node.args[1] == "shape"):
            return True
        return node.target is operator.getitem and node.args[0] in self.sizes

    def _append(self, node: fx.Node, op: Op) -> None:
        self.ops.append(op)
        self.values[node] = len(self.ops)
        operands = [self.shapes[i] for i in op.inputs]
        try:
            shape = op.shape_of(operands) if isinstance(op, Concat | Add | Multiply) else op.shape(*operands[0])
        except (BadGraph, TypeError) as error:
            raise UnsupportedOperation(f"{node.target}: {error}") from None
        self.shapes.append(shape)

    def _layer(self, name: str, layer: nn.Conv2d | nn.Linear, inputs: tuple[int, ...]) -> Op:
        if name in self.weights:
            raise UnsupportedOperation(f"{name}: a layer used twice; give each use a layer of its own")
        weight = layer.weight.detach().cpu().float().numpy().copy()
        bias = np.zeros(len(weight), np.float32)
        if layer.bias is not None:
            bias = layer.bias.detach().cpu().float().numpy().copy()
        self.weights[name] = weight, bias
        if isinstance(layer, nn.Linear):
            return Linear(inputs, name, layer.out_features)
        if layer.padding_mode != "zeros" or _pair(layer.dilation) != (1, 1):
            raise UnsupportedOperation(f"{name}: only zero padding and no dilation can be expressed")
        if isinstance(layer.padding, str):
            odd = all(k % 2 for k in layer.kernel_size)
            if layer.padding == "same" and not (odd and _pair(layer.stride) == (1, 1)):
                raise UnsupportedOperation(f'{name}: padding="same" of an even kernel is not symmetric')
            padding = (0, 0) if layer.padding == "valid" else tuple(k // 2 for k in layer.kernel_size)
        else:
            padding = _pair(layer.padding)
        kernel, stride = _pair(layer.kernel_size), _pair(layer.stride)
        return Conv(inputs, name, layer.out_channels, kernel, stride, (padding[0], padding[1]), layer.groups)

    def _batch_norm(self, node: fx.Node, name: str, layer: nn.BatchNorm2d, inputs: tuple[int, ...]) -> None:
        if layer.running_mean is None or layer.running_var is None:
            raise UnsupportedOperation(f"{name}: BatchNorm without running statistics cannot be folded")
        ones = torch.ones(layer.num_features)
        gamma = (layer.weight if layer.affine else ones).detach().cpu().double()
        beta = (layer.bias if layer.affine else 0 * ones).detach().cpu().double()
        scale = (gamma / (layer.running_var.cpu().double() + layer.eps).sqrt()).numpy()
        shift = beta.numpy() - layer.running_mean.cpu().double().numpy() * scale
        before = self.ops[inputs[0] - 1] if inputs[0] else None
        # Folding is allowed only if nothing else reads the output of the convolution, under any name.
        names = {alias for alias, value in self.values.items() if value == inputs[0]}
        readers = {user for alias in names for user in alias.users} - names
        if isinstance(before, Conv) and readers == {node}:
            weight, bias = self.weights[before.name]
            folded = weight * scale[:, None, None, None]
            self.weights[before.name] = folded.astype(np.float32), (bias * scale + shift).astype(np.float32)
            self.values[node] = inputs[0]
            return
        channels = layer.num_features
        self.weights[name] = scale.astype(np.float32).reshape(-1, 1, 1, 1), shift.astype(np.float32)
        self._append(node, Conv(inputs, name, channels, (1, 1), groups=channels))

    def _adaptive(self, size: Any, inputs: tuple[int, ...]) -> Op | None:
        """A pool with fixed windows; None if the input already has the size asked for."""
        height, width = self.shapes[inputs[0]][1:]
        wanted = tuple(n or s for n, s in zip(_pair(size), (height, width), strict=True))
        if wanted == (1, 1):
            return GlobalAvgPool(inputs)
        if wanted == (height, width):
            return None
        if height % wanted[0] or width % wanted[1]:
            raise UnsupportedOperation(f"adaptive pooling of {height}x{width} to {wanted} has windows of unequal size")
        window = height // wanted[0], width // wanted[1]
        return AvgPool(inputs, window, window)

    def _plain(self, node: fx.Node, target: Any, layer: nn.Module | None, inputs: tuple[int, ...]) -> Op:
        """Operations without weights, as layers, functions or methods."""
        simple: list[tuple[set[Any], Callable[[], Op]]] = [
            (_RELU, lambda: ReLU(inputs)),
            (_RELU6, lambda: ReLU(inputs, 6.0)),
            (_CONCAT, lambda: self._concat(node, inputs)),
            (_ADD, lambda: self._add(node, inputs)),
            (_FLATTEN, lambda: self._flatten(node, inputs)),
            (_RESHAPE, lambda: self._flatten(node, inputs, reshape=True)),
            (_MEAN, lambda: self._mean(node, inputs)),
        ]
        for names, build in simple:
            if target in names:
                return build()
        if isinstance(layer, nn.Hardtanh) and layer.min_val == 0 and layer.max_val > 0:
            return ReLU(inputs, float(layer.max_val))
        if isinstance(layer, nn.LocalResponseNorm):
            return LRN(inputs, layer.size, layer.alpha, layer.beta, layer.k)
        if isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
            return _pool(layer, inputs)
        if target in (F.max_pool2d, F.avg_pool2d, torch.max_pool2d):
            kind: Any = nn.AvgPool2d if target is F.avg_pool2d else nn.MaxPool2d
            return _pool(kind(*node.args[1:], **{k: v for k, v in node.kwargs.items() if k != "input"}), inputs)
        name = getattr(target, "__name__", str(target))
        where = f" ({node.target})" if node.op == "call_module" else ""
        raise UnsupportedOperation(f"{name}{where} cannot be expressed in a .sqz file; replace or remove it")

    def _concat(self, node: fx.Node, inputs: tuple[int, ...]) -> Op:
        if _argument(node, 1, "dim", 0) not in (1, -3):
            raise UnsupportedOperation(f"{node}: values can be joined along channels (dim=1) only")
        values = _argument(node, 0, "tensors")  # `inputs` has a value once, even if it is concatenated with itself
        return Concat(tuple(self.values[value] for value in values))

    def _add(self, node: fx.Node, inputs: tuple[int, ...]) -> Op:
        first, second = node.args[0], _argument(node, 1, "other")
        if not isinstance(first, fx.Node) or not isinstance(second, fx.Node) or node.kwargs.get("alpha", 1) != 1:
            raise UnsupportedOperation(f"{node}: only the sum of two results can be expressed")
        return Add((self.values[first], self.values[second]))

    def _flatten(self, node: fx.Node, inputs: tuple[int, ...], reshape: bool = False) -> Op:
        if reshape:
            sizes = node.args[1] if isinstance(node.args[1], tuple | list) else node.args[1:]
            features = prod(self.shapes[inputs[0]])
            ok = len(sizes) == 2 and (
                (isinstance(sizes[0], fx.Node) and sizes[1] in (-1, features)) or tuple(sizes) == (-1, features)
            )
        elif node.op == "call_module":
            layer = self.module.get_submodule(str(node.target))
            ok = isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)
        else:
            ok = _argument(node, 1, "start_dim", 0) == 1 and _argument(node, 2, "end_dim", -1) == -1
        if not ok:
            raise UnsupportedOperation(f"{node}: only flattening to (N, features) can be expressed")
        return Flatten(inputs)

    def _mean(self, node: fx.Node, inputs: tuple[int, ...]) -> Op:
        dims = _argument(node, 1, "dim", None)
        if not isinstance(dims, list | tuple) or sorted(d % 4 for d in dims) != [2, 3]:
            raise UnsupportedOperation(f"{node}: only the mean over height and width can be expressed")
        if _argument(node, 2, "keepdim", False):
            return GlobalAvgPool(inputs)
        self._append(node, GlobalAvgPool(inputs))
        return Flatten((len(self.ops),))


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d, inputs: tuple[int, ...]) -> Op:
    kernel, padding = _pair(layer.kernel_size), _pair(layer.padding)
    stride = _pair(layer.stride or layer.kernel_size)
    if isinstance(layer, nn.MaxPool2d):
        if _pair(layer.dilation) != (1, 1) or layer.return_indices:
            raise UnsupportedOperation("max-pooling with dilation or indices cannot be expressed")
        return MaxPool(inputs, kernel, stride, padding, bool(layer.ceil_mode))
    if layer.ceil_mode or layer.divisor_override or (any(padding) and not layer.count_include_pad):
        raise UnsupportedOperation("average pooling with ceil_mode or uncounted padding cannot be expressed")
    return AvgPool(inputs, kernel, stride, padding)


def _argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _pair(value: Any) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second
