"""The translation of each ONNX operator with weights, windows or a reduction; see also `layouts` and `elementwise`."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from squeezenet.errors import LimitExceeded, UnsupportedOperation
from squeezenet.graph import LRN, AvgPool, Conv, MaxPool, Pair, Sides, shortest
from squeezenet.importing.builder import MOST_BRANCHES, Value
from squeezenet.importing.onnx.call import Argument, Array, Call, axis_of
from squeezenet.importing.onnx.elementwise import BINARY, CHOICES, UNARY, binary, choice, grown, unary
from squeezenet.importing.onnx.layouts import LAYOUTS, fits, moved, shape_of
from squeezenet.limits import MAX_LIVE
from squeezenet.model import Range


def _pair(numbers: tuple[int, ...] | None, default: int = 1) -> Pair:
    if numbers is None:
        return default, default
    if len(numbers) != 2:
        raise UnsupportedOperation(f"windows of {len(numbers)} dimensions; only those over height and width")
    return numbers[0], numbers[1]


def _window(call: Call, size: tuple[int, ...], kernel: Pair) -> tuple[Pair, Sides, Pair]:
    """Stride, padding (top, left, bottom, right) and dilation of a convolution or a pool over an image of `size`."""
    stride, dilation = _pair(call.ints("strides")), _pair(call.ints("dilations"))
    auto = call.text("auto_pad", "NOTSET")
    if auto == "NOTSET":
        pads = call.ints("pads", (0, 0, 0, 0))
        if pads is None or len(pads) != 4:
            raise UnsupportedOperation(f"padding of {pads}")
        return stride, (pads[0], pads[1], pads[2], pads[3]), dilation
    if auto == "VALID":
        return stride, (0, 0, 0, 0), dilation
    if auto not in ("SAME_UPPER", "SAME_LOWER") or min(stride) < 1:
        raise UnsupportedOperation(f"padding {auto!r}")
    reach = [(-(-n // s) - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, stride, kernel, dilation, strict=True)]
    total = [max(0, r - n) for r, n in zip(reach, size, strict=True)]
    less, more = [n // 2 for n in total], [-(-n // 2) for n in total]
    first, last = (less, more) if auto == "SAME_UPPER" else (more, less)
    padding = first[0], first[1], last[0], last[1]
    call.pads[str(call.node.outputs[0].name)] = padding
    return stride, padding, dilation


def _image(call: Call) -> Value:
    """Input 0, which must be (batch, channels, height, width)."""
    value = call.value()
    if len(value.shape) != 4:
        raise UnsupportedOperation(f"of an array of {len(value.shape)} axes; only images of (N, C, H, W) can be read")
    return value


def _conv(call: Call) -> Argument:
    x, weight = _image(call), call.weight(1)
    if weight.ndim != 4:
        raise UnsupportedOperation(f"a weight of {weight.ndim} axes")
    kernel = weight.shape[2], weight.shape[3]
    stride, padding, dilation = _window(call, x.shape[2:], kernel)
    groups = call.integer("group", 1)
    if groups < 1 or x.shape[1] != weight.shape[1] * groups:
        raise UnsupportedOperation(f"a weight of {weight.shape} for {x.shape[1]} channels in {groups} groups")
    conv = Conv((0,), call.name, len(weight), kernel, stride, padding, groups, dilation)
    if (count := prod(conv.shape(x.shape[1], x.shape[2], x.shape[3]))) > MAX_LIVE:  # before the weight takes memory
        raise LimitExceeded(f"a result of {count:,} elements; the limit is {MAX_LIVE:,}")
    return call.builder.conv(x, call.name, weight, call.constant(2), stride, padding, dilation, groups)


def _pool(call: Call) -> Argument:
    x = _image(call)
    kernel = _pair(call.ints("kernel_shape", ()))
    stride, padding, dilation = _window(call, x.shape[2:], kernel)
    ceil = bool(call.integer("ceil_mode", 0))
    if call.node.op_type == "MaxPool":
        return call.builder.pool(x, MaxPool((0,), kernel, stride, shortest(padding), ceil, dilation))
    counted = bool(call.integer("count_include_pad", 0)) or not any(padding)
    return call.builder.pool(x, AvgPool((0,), kernel, stride, shortest(padding), ceil, counted, dilation))


def _global_pool(call: Call) -> Argument:
    return call.builder.mean(_image(call), (2, 3), True, "Max" in call.node.op_type)


def _reduce(call: Call) -> Argument:
    x = call.value()
    axes = call.axes(1, len(x.shape))
    if not axes:
        if axes is not None and call.integer("noop_with_empty_axes", 0):
            return x
        axes = tuple(range(len(x.shape)))
        if x.shape[0] == 1:  # the batch
            axes = axes[1:]
    kind, kept = call.node.op_type, bool(call.integer("keepdims", 1))
    if kind == "ReduceL2":
        x = call.builder.multiply(x, x)
    missing = 4 - len(x.shape)
    if missing > 0 and x.shape[0] != call.builder.batch == 1:  # one image without the axis of the batch
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if kept or i not in axes)
        wide = call.builder.reshape(x, (*[1] * missing, *x.shape))
        found = call.builder.mean(wide, [axis + missing for axis in axes], True, kind == "ReduceMax")
        found = call.builder.reshape(found, shape)
    else:
        found = call.builder.mean(x, axes, kept, kind == "ReduceMax")
    if kind in ("ReduceSum", "ReduceL2"):
        found = call.builder.affine(found, call.name, float(prod(x.shape[axis] for axis in axes)), 0.0)
    return call.builder.power(found, 0.5) if kind == "ReduceL2" else found


def _lrn(call: Call) -> Argument:
    size = call.integer("size", 5)
    if size % 2 == 0:
        raise UnsupportedOperation(f"local response normalisation over an even number of channels ({size})")
    a, b, k = call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0)
    return call.builder.pool(_image(call), LRN((0,), size, a, b, k))  # type: ignore[arg-type]


def _batch_norm(call: Call) -> Argument:
    if call.integer("training_mode", 0) or not call.integer("spatial", 1):
        raise UnsupportedOperation("in training mode cannot be expressed")
    x = call.value()
    gamma, beta, mean, variance = (call.given(i).astype(np.float64).ravel() for i in range(1, 5))
    with np.errstate(invalid="ignore"):
        scale = gamma / np.sqrt(variance + np.float32(call.number("epsilon", 1e-5)))
    wanted = (-1, *[1] * (len(x.shape) - 2))
    return call.builder.affine(x, call.name, scale.reshape(wanted), (beta - mean * scale).reshape(wanted))


def normalised(call: Call, x: Value, axes: tuple[int, ...], epsilon: float) -> Value:
    """Layer normalisation over `axes`."""
    long = [i for i in axes if x.shape[i] > 1]
    if len(long) != 1:
        raise UnsupportedOperation("a normalisation over anything but the channels of each position")
    return call.builder.layer_norm(x, long[0], float(np.float32(epsilon)))


def _layer_norm(call: Call) -> Argument:
    x = call.value()
    axes = tuple(range(call.axis(-1, len(x.shape)), len(x.shape)))
    normal = normalised(call, x, axes, call.number("epsilon", 1e-5))
    shift = call.constant(2)
    return call.builder.affine(normal, call.name, call.given(1), 0.0 if shift is None else shift)


def _group_norm(call: Call) -> Argument:
    """GroupNormalization, and InstanceNormalization of (N, groups, elements) or of images."""
    x = call.value()
    groups = call.integer("num_groups", x.shape[1])
    images = call.builder.reshape(x, (x.shape[0], *call.builder.base(x))) if len(x.shape) == 3 else x
    if len(images.shape) != 4 or groups < 1 or images.shape[1] % groups:
        raise UnsupportedOperation(f"of {x.shape} in {groups} groups cannot be expressed")
    normal = call.builder.group_norm(images, groups, float(np.float32(call.number("epsilon", 1e-5))))
    along = (-1, *[1] * (len(x.shape) - 2))
    if not {call.given(1).size, call.given(2).size} <= {groups, x.shape[1]}:
        raise UnsupportedOperation(f"scales of {call.given(1).shape} for {x.shape[1]} channels")
    scale, shift = (held.repeat(x.shape[1] // held.size).reshape(along) for held in (call.given(1), call.given(2)))
    return call.builder.affine(call.builder.reshape(normal, x.shape), call.name, scale, shift)


def _gemm(call: Call) -> Argument:
    result = _product(call, bool(call.integer("transA", 0)), bool(call.integer("transB", 0)))
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    if not call.has(2):
        return call.builder.affine(result, call.name, alpha, 0.0)
    if not isinstance(call.arguments[2], np.ndarray):
        scaled = call.builder.affine(call.value(2), call.name, beta, 0.0)
        return call.builder.add(call.builder.affine(result, call.name, alpha, 0.0), scaled)
    return call.builder.affine(result, call.name, alpha, beta * call.arguments[2].astype(np.float64))


def _product(call: Call, turn_left: bool = False, turn_right: bool = False) -> Value:
    """A matrix product with a constant on one side."""
    left, right = call.arguments[:2]
    if isinstance(left, np.ndarray):  # W @ X is the transpose of X.T @ W.T
        weight = call.weight(0).T if turn_left else call.weight(0)
        x = call.value(1)
        if weight.ndim != 2 or len(x.shape) != 2:
            raise UnsupportedOperation("a product with a constant on the left, of more than two axes")
        x = x if turn_right else _turned(call, x)
        return _turned(call, call.builder.linear(x, call.name, weight))
    if not isinstance(right, np.ndarray):
        raise UnsupportedOperation("a product of two values of the network (attention?) cannot be expressed")
    x = _turned(call, call.value()) if turn_left else call.value()
    weight = call.weight(1).T if turn_right else call.weight(1)
    while weight.ndim > 2 and weight.shape[0] == 1 and len(x.shape) >= weight.ndim:
        weight = weight[0]
    if weight.ndim == 1:
        found = call.builder.linear(x, call.name, weight[None])
        return call.builder.reshape(found, found.shape[:-1])
    if weight.ndim != 2 or len(x.shape) < 2:
        raise UnsupportedOperation(f"a product of {x.shape} and {weight.shape}")
    return call.builder.linear(x, call.name, weight.T)


def _turned(call: Call, x: Value) -> Value:
    return call.builder.view(x, np.ascontiguousarray(call.builder.order(call.arranged(x)).T))


def _softmax(call: Call) -> Argument:
    x = call.value()
    axis = call.axis(-1 if call.opset >= 13 else 1, len(x.shape))
    behind = prod(x.shape[axis + 1 :])
    of_branches = call.node.op_type == "Softmax" and call.opset >= 13 and len(x.shape) > 2
    if of_branches and 2 <= x.shape[axis] <= MOST_BRANCHES:
        return call.builder.softmax(x, axis)
    if axis != 1 or behind != 1 or x.shape[0] != call.builder.batch:
        raise UnsupportedOperation("over anything but the classes (attention?) cannot be expressed")
    return call.builder.softmax(x, axis)


def _pad(call: Call) -> Argument:
    x = call.value()
    rank = len(x.shape)
    pads, held = call.numbers("pads", 1), call.constant(2)
    if pads is None:
        raise UnsupportedOperation("without pads")
    fill = call.number("value", 0.0) if held is None or not held.size else float(held.ravel()[0])
    axes = call.axes(3, rank) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise UnsupportedOperation(f"{len(pads)} pads for {len(axes)} axes")
    around = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        around[axis] = int(pads[i]), int(pads[i + len(axes)])
    padded = [axis for axis in range(rank) if any(around[axis])]
    if call.text("mode", "constant") != "constant" or min(min(pair) for pair in around) < 0:
        raise UnsupportedOperation("a border that is not constant, or negative, cannot be expressed")
    if rank == 4 and set(padded) <= {2, 3}:
        return call.builder.pad(x, _sides(around[2], around[3]), fill)
    if rank == 4 and set(padded) <= {1, 2}:  # channels last
        turned = call.builder.view(x, call.builder.order(call.arranged(x)).transpose(0, 3, 1, 2))
        bordered = call.builder.pad(turned, _sides(around[1], around[2]), fill)
        return call.builder.view(bordered, call.builder.order(call.arranged(bordered)).transpose(0, 2, 3, 1))
    if fill:
        raise UnsupportedOperation(f"channels of {fill:g} cannot be expressed")
    return moved(call, lambda order: np.pad(order, around, constant_values=-1))


def _sides(rows: Pair, columns: Pair) -> Sides:
    return rows[0], columns[0], rows[1], columns[1]


def _concat(call: Call) -> Argument:
    values = [call.value(i) for i in range(len(call.arguments)) if call.has(i)]
    fits((sum(prod(value.shape) for value in values),))
    return call.builder.concat(values, axis_of(call.integer("axis", 1), len(values[0].shape)))


def _prelu(call: Call) -> Argument:
    return call.builder.prelu(call.value(), call.name, call.given(1))


def _dropout(call: Call) -> Argument:
    training = call.constant(2)
    if training is not None and bool(training.any()):
        raise UnsupportedOperation("in training mode cannot be expressed")
    return _same(call)


def _same(call: Call) -> Argument:
    found = call.arguments[0]
    if found is None:
        raise UnsupportedOperation("without an input")
    return found


def _cast(call: Call) -> Argument:
    if call.node.op_type == "Cast" and call.integer("to", 1) not in FLOATS:
        raise UnsupportedOperation("of values of the network to integers cannot be expressed")
    return _same(call)


FLOATS = (1, 10, 11, 16)
"""ONNX's numbers of float32, float16, float64 and bfloat16."""


def _quantise(call: Call) -> Argument:
    """The input without rounding. If the range begins at zero, a ReLU of it: exporters leave the ReLU out there."""
    ends = quantised_range(call)
    return _same(call) if ends is None or ends[0] else grown(call, UNARY["Relu"](call), call.scalar())


def quantised_range(call: Call) -> Range | None:
    """The range of the results of a quantiser, or None if it has a scale for each channel."""
    scale, zero = call.given(1), call.constant(2)
    if scale.size != 1:
        return None
    bounds, origin = (np.iinfo(np.uint8), 0) if zero is None else (np.iinfo(zero.dtype), int(zero.ravel()[0]))
    unit = float(scale.ravel()[0])
    return (bounds.min - origin) * unit, (bounds.max - origin) * unit


def _shape(call: Call) -> Array:
    shape = shape_of(call)
    start, end = call.integer("start", 0), call.integer("end", len(shape))
    return np.array(shape[start:end], np.int64)


OPERATORS: dict[str, Callable[[Call], Any]] = {
    **LAYOUTS,
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(CHOICES, choice),
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _product,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "ReduceSum": _reduce,
    "ReduceL2": _reduce,
    "InstanceNormalization": _group_norm,
    "GroupNormalization": _group_norm,
    "LRN": _lrn,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "PRelu": _prelu,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Pad": _pad,
    "Concat": _concat,
    "Dropout": _dropout,
    "Identity": _same,
    "Cast": _cast,
    "CastLike": _same,
    "QuantizeLinear": _quantise,
    "DequantizeLinear": _same,
    "Shape": _shape,
    "Size": lambda call: np.array(prod(shape_of(call)), np.int64),
}
"""ONNX operator -> its translation. What is missing is refused by its name."""
