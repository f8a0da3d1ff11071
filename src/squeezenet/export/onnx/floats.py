"""ONNX nodes of every operation on floats. `qdq.py` uses them as well, between its conversions to and from 8 bits.

Networks need only a few of ONNX's operators. An operation that ONNX defines in another way than the graph, or that
runtimes compute in different ways, is written as several nodes.
"""

import numpy as np
import onnx_ir as ir

from squeezenet.export.onnx.moving import moved, padded, windows
from squeezenet.export.onnx.nodes import Nodes
from squeezenet.export.reach import reached
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
    sides,
)
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.reference import averaged


def float_network(nodes: Nodes, model: Model, image: ir.Value) -> ir.Value:
    """The logits of a float network."""
    values, shapes = [image], model.graph.shapes()
    for index, op in enumerate(model.graph.ops):
        name = op.name if isinstance(op, Conv | Linear) else type(op).__name__
        nodes.scope = nodes.scope_of(index + 1, name)
        layer: tuple[ir.Value, ...] = ()
        if isinstance(op, Conv | Linear):
            held = model.weights[op.name]
            weight = nodes.constant("weight", held.weight.values())
            layer = (weight, nodes.constant("bias", np.asarray(held.bias, np.float32)))
        operands = [values[i] for i in op.inputs]
        values.append(computed(nodes, op, operands, shapes[op.inputs[0]], layer))
    return values[-1]


def computed(nodes: Nodes, op: Op, operands: list[ir.Value], shape: Shape, layer: tuple[ir.Value, ...] = (),
             halves: int = 1) -> ir.Value:  # fmt: skip
    """The result of `op` as floats. It reads values of `shape`; `layer` holds weight and bias of a layer."""
    x = operands[0]
    match op:
        case Conv():
            how = windows(op.kernel, op.stride, op.dilation, sides(op.padding))
            return nodes("Conv", x, *layer, group=op.groups, **how)
        case Linear():
            return nodes("Gemm", x, *layer, transB=1)
        case ReLU() if op.cap:
            return clipped(nodes, x, 0.0, op.cap)
        case ReLU():
            return nodes("Relu", x)
        case Activation():
            return function(nodes, op, x)
        case AvgPool():
            return _average(nodes, op, x, shape)
        case AdaptivePool() if not op.maximum:
            return _adaptive_mean(nodes, op, x, shape)
        case GlobalAvgPool():
            return nodes("GlobalAveragePool", x)
        case LRN():
            return _lrn(nodes, op, x, shape)
        case LayerNorm():
            return _layer_norm(nodes, op, x, shape)
        case Add():
            return nodes("Add", *operands)
        case Multiply():
            return nodes("Mul", *operands)
        case MaxPool() | AdaptivePool() | Concat() | Select() | Upsample() | Flatten():
            return moved(nodes, op, operands, shape, halves)


def function(nodes: Nodes, op: Activation, x: ir.Value) -> ir.Value:
    """A scalar function."""
    a, b = np.float32(op.a), np.float32(op.b)
    match op.function:
        case "clamp":
            return clipped(nodes, x, op.a, op.b)
        case "leaky_relu":
            return nodes("LeakyRelu", x, alpha=float(a))
        case "elu" if op.b == 1:
            return nodes("Elu", x, alpha=float(a))
        case "elu":
            zero = nodes.constant("zero", np.float32(0))
            below = nodes("Min", nodes("Mul", nodes("Min", x, zero), nodes.constant("b", b)), zero)
            return nodes("Add", nodes("Relu", x), nodes("Elu", below, alpha=float(a)))
        case "hard_sigmoid":
            return nodes("HardSigmoid", x, alpha=float(a), beta=float(b))
        case "hard_swish":
            return nodes("Mul", x, nodes("HardSigmoid", x, alpha=float(a), beta=float(b)))
        case "sigmoid":
            return nodes("Sigmoid", x)
        case "silu":
            inner = x if op.a == 1 else nodes("Mul", x, nodes.constant("a", a))
            return nodes("Mul", x, nodes("Sigmoid", inner))
        case "tanh":
            return nodes("Tanh", x)
        case "gelu":
            return nodes("Gelu", x)
        case "gelu_tanh":
            return nodes("Gelu", x, approximate="tanh")
        case "mish":
            return nodes("Mul", x, nodes("Tanh", nodes("Softplus", x)))
        case "softplus" if op.a == 1:
            return nodes("Softplus", x)
        case "softplus":
            scale = nodes.constant("a", a)
            return nodes("Div", nodes("Softplus", nodes("Mul", x, scale)), scale)
        case "power":
            base = nodes("Add", nodes("Relu", x), nodes.constant("b", b))
            return nodes("Pow", base, nodes.constant("a", a))


def clipped(nodes: Nodes, x: ir.Value, low: float, high: float) -> ir.Value:
    """min(max(x, low), high)."""
    return nodes("Clip", x, nodes.constant("low", np.float32(low)), nodes.constant("high", np.float32(high)))


def _average(nodes: Nodes, op: AvgPool, x: ir.Value, shape: Shape) -> ir.Value:
    """The mean over whole windows, divided by the share of each window that counts: runtimes differ at the edges."""
    x, padding = padded(nodes, x, op.kernel, reached(op, shape), np.float32(0))
    how = windows(op.kernel, op.stride, op.dilation, padding)
    y = nodes("AveragePool", x, count_include_pad=1, **how)
    share = np.float32(op.kernel[0] * op.kernel[1]) / averaged(op, shape)
    return y if (share == 1).all() else nodes("Mul", y, nodes.constant("shares", share[None, None]))


def _adaptive_mean(nodes: Nodes, op: AdaptivePool, x: ir.Value, shape: Shape) -> ir.Value:
    """An adaptive mean, as a product with one matrix for the rows and one for the columns."""
    rows, columns = (adaptive_shares(size, count) for size, count in zip(shape[1:], op.size, strict=True))
    over_rows = nodes("MatMul", nodes.constant("rows", rows), x)
    return nodes("MatMul", over_rows, nodes.constant("columns", np.ascontiguousarray(columns.T)))


def adaptive_shares(size: int, count: int) -> FloatArray:
    """How much each element counts in each window of an adaptive mean along one axis: (windows, elements)."""
    starts, ends = (np.arange(count) * size // count, -(-(np.arange(count) + 1) * size // count))
    place = np.arange(size)
    inside = (starts[:, None] <= place) & (place < ends[:, None])
    return (inside / (ends - starts)[:, None]).astype(np.float32)


def _lrn(nodes: Nodes, op: LRN, x: ir.Value, shape: Shape) -> ir.Value:
    """Local response normalisation. ONNX's operator takes odd sizes; for even ones, a convolution adds the squares."""
    if op.size % 2:
        return nodes("LRN", x, size=op.size, alpha=op.alpha, beta=op.beta, bias=op.k)
    distance = np.arange(shape[0]) - np.arange(shape[0])[:, None]  # of channel j from channel i
    band = (-(op.size // 2) <= distance) & (distance <= (op.size - 1) // 2)
    weight = (band * (np.float32(op.alpha) / np.float32(op.size))).astype(np.float32)[:, :, None, None]
    bias = np.full(shape[0], op.k, np.float32)
    sums = nodes("Conv", nodes("Mul", x, x), nodes.constant("band", weight), nodes.constant("k", bias))
    return nodes("Div", x, nodes("Pow", sums, nodes.constant("beta", np.float32(op.beta))))


def _layer_norm(nodes: Nodes, op: LayerNorm, x: ir.Value, shape: Shape) -> ir.Value:
    """Layer normalisation. Runtimes compute it over the last axis, so channels are moved there and back."""
    x = nodes("Transpose", x, perm=[0, 2, 3, 1]) if len(shape) == 3 else x
    ones = nodes.constant("ones", np.ones(shape[0], np.float32))
    y = nodes("LayerNormalization", x, ones, axis=-1, epsilon=float(np.float32(op.epsilon)))
    return nodes("Transpose", y, perm=[0, 3, 1, 2]) if len(shape) == 3 else y
