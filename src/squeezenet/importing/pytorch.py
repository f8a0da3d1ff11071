"""The translation of PyTorch's operations: a table of functions by the names of the operations."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import LRN, Activation, AvgPool, MaxPool, Pair, ReLU
from squeezenet.importing.builder import FLOAT32_MAX, Builder, Value
from squeezenet.importing.draft import Erf, Real
from squeezenet.importing.recording import Call, Recording

HARD = (1 / 6, 0.5)
"""PyTorch's hardsigmoid(x) is min(max(x / 6 + 0.5, 0), 1)."""

SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)
"""The scale and the alpha of SELU (Klambauer et al. 2017)."""


def translate(recording: Recording, call: Call) -> Value:
    """The value that an operation computes. Raises `UnsupportedOperation`."""
    if "attention" in call.name:
        raise UnsupportedOperation("attention cannot be expressed in a .sqz file")
    if call.name not in OPERATIONS:
        raise UnsupportedOperation(f"{call.name} cannot be expressed in a .sqz file; replace or remove it")
    return OPERATIONS[call.name](recording, call)


# Layers


def _convolution(recording: Recording, call: Call) -> Value:
    x, weight, bias = call["input"], _constant(call["weight"]), call["bias"]
    if call["transposed"]:
        raise UnsupportedOperation("a transposed convolution cannot be expressed in a .sqz file")
    name = recording.name(weight, call)
    if weight.shape[:2] == (1, 1) and call["stride"] == [1] and 2 * call["padding"][0] == weight.shape[2] - 1:
        return _along_channels(recording.builder, x, name, weight, bias)
    if len(call["stride"]) != 2:
        raise UnsupportedOperation(f"a convolution of {len(call['stride'])} dimensions cannot be expressed")
    options = (_pair(call["stride"]), _pair(call["padding"]), _pair(call["dilation"]), call["groups"])
    return recording.builder.conv(x, name, weight.detach().numpy(), None if bias is None else _array(bias), *options)


def _along_channels(builder: Builder, x: Value, name: str, weight: Tensor, bias: Any) -> Value:
    """A convolution over the channels (ECA-Net, Wang et al. 2020): a matrix product whose matrix is a band."""
    band = _array(weight).ravel()
    outside = len(band) // 2
    count = x.shape[-1]
    matrix = sum(value * np.eye(count, k=offset - outside) for offset, value in enumerate(band))
    return builder.linear(x, name, matrix, None if bias is None else np.full(count, _array(bias).item()))


def _linear(recording: Recording, call: Call) -> Value:
    """addmm(bias, x, weight) and mm(x, weight)."""
    x, weight = (call["mat1"], call["mat2"]) if "mat1" in call.arguments else (call["self"], call["mat2"])
    bias = call["self"] if "mat1" in call.arguments else None
    return _product_of_matrices(recording, call, x, weight, bias)


def _product_of_matrices(recording: Recording, call: Call, x: Any, weight: Any, bias: Any) -> Value:
    if isinstance(weight, Value) and isinstance(x, Value):
        raise UnsupportedOperation("a matrix product of two results cannot be expressed (attention?)")
    if isinstance(weight, Value) or isinstance(bias, Value) or weight.ndim != 2:
        raise UnsupportedOperation("a matrix product whose first matrix is a constant cannot be expressed")
    held = None if bias is None else np.broadcast_to(_array(bias), (weight.shape[1],))
    return recording.builder.linear(x, recording.name(weight, call), weight.detach().numpy().T, held)


def _batched(recording: Recording, call: Call) -> Value:
    """A batched product with the same matrix for all, as PyTorch computes a layer without bias."""
    x, weight = call["self"], call["mat2"]
    if isinstance(weight, Value) or isinstance(x, Tensor):
        return _product_of_matrices(recording, call, x, weight, None)
    if (weight != weight[:1]).any():
        raise UnsupportedOperation("a matrix product with a different constant for each part")
    return _product_of_matrices(recording, call, x, weight[0], None)


def _batch_norm(recording: Recording, call: Call) -> Value:
    x, mean, variance = call["input"], call["running_mean"], call["running_var"]
    if call.arguments.get("training", call.arguments.get("use_input_stats")) or mean is None:
        return _instance_norm(recording, call)
    ones = torch.ones_like(mean)
    gamma = _array(ones if call["weight"] is None else call["weight"])
    beta = _array(0 * ones if call["bias"] is None else call["bias"])
    scale = gamma / np.sqrt(_array(variance) + call["eps"])
    shift = beta - _array(mean) * scale
    along = (-1, *[1] * (len(x.shape) - 2))
    return recording.builder.affine(x, recording.name(mean, call), scale.reshape(along), shift.reshape(along))


def _instance_norm(recording: Recording, call: Call) -> Value:
    """PyTorch computes it as BatchNorm of (1, N * channels, height, width) with the statistics of this batch."""
    x, builder = call["input"], recording.builder
    if len(x.shape) != 4 or x.shape[0] != 1 or x.shape[1] % builder.batch:
        raise UnsupportedOperation("BatchNorm without running statistics cannot be folded")
    images = builder.reshape(x, (builder.batch, -1, *x.shape[2:]))
    result = builder.group_norm(images, images.shape[1], call["eps"])
    return _scaled(recording, call, builder.reshape(result, x.shape), 1)


def _layer_norm(recording: Recording, call: Call) -> Value:
    x = call["input"]
    if len(call["normalized_shape"]) == len(x.shape) - 1 == 3:
        scale = 1.0 if call["weight"] is None else _array(call["weight"])
        shift = 0.0 if call["bias"] is None else _array(call["bias"])
        return recording.builder.affine(recording.builder.group_norm(x, 1, call["eps"]), call.module, scale, shift)
    if len(call["normalized_shape"]) != 1:
        raise UnsupportedOperation("layer normalisation over a part of an image cannot be expressed")
    return _scaled(recording, call, recording.builder.layer_norm(x, -1, call["eps"]), -1)


def _group_norm(recording: Recording, call: Call) -> Value:
    x = call["input"]
    if len(x.shape) < 3:
        raise UnsupportedOperation("group normalisation of features cannot be expressed")
    whole = recording.builder.reshape(x, (*x.shape[:2], -1, x.shape[-1])) if len(x.shape) != 4 else x
    result = recording.builder.group_norm(whole, call["group"], call["eps"])
    return _scaled(recording, call, recording.builder.reshape(result, x.shape), 1)


def _scaled(recording: Recording, call: Call, x: Value, axis: int) -> Value:
    """Scale and shift after a normalisation, along an axis."""
    weight, bias = call["weight"], call["bias"]
    if weight is None and bias is None:
        return x
    along = (-1, *[1] * (len(x.shape) - 1 - axis % len(x.shape)))
    name = call.module if weight is None else recording.name(weight, call)
    scale, shift = (default if t is None else _array(t) for t, default in ((weight, np.ones(1)), (bias, np.zeros(1))))
    return recording.builder.affine(x, name, scale.reshape(along), shift.reshape(along))


def _response_norm(recording: Recording, call: Call) -> Value:
    x = call["input"]
    op = LRN((recording.builder.map(x),), call["size"], call["alpha"], call["beta"], call["k"])
    return Value(recording.builder.draft.put(op, recording.builder.origin), x.shape)


# Functions of one number


def _activation(
    function: Any, *fixed: float, named: tuple[str, ...] = (), where: str = "self"
) -> Callable[[Recording, Call], Value]:
    """An `Activation` with fixed parameters, or with those arguments of the call."""

    def build(recording: Recording, call: Call) -> Value:
        parameters = [float(call[name]) for name in named] or list(fixed)
        return recording.builder.elementwise(call[where], Activation((0,), function, *parameters))

    return build


def _relu(recording: Recording, call: Call) -> Value:
    return recording.builder.elementwise(call["self"], ReLU((0,)))


def _clamp(recording: Recording, call: Call) -> Value:
    """clamp, clamp_min, clamp_max and hardtanh."""
    low, high = (
        next((call[name] for name in names if call.arguments.get(name) is not None), None)
        for names in (("min", "min_val"), ("max", "max_val"))
    )
    if isinstance(low, Value | Tensor) or isinstance(high, Value | Tensor):
        raise UnsupportedOperation("limits that are no numbers cannot be expressed")
    x = call["self"]
    if low == 0 and (high is None or high > 0):
        return recording.builder.elementwise(x, ReLU((0,), 0.0 if high is None else float(high)))
    low, high = -FLOAT32_MAX if low is None else float(low), FLOAT32_MAX if high is None else float(high)
    return recording.builder.elementwise(x, Activation((0,), "clamp", low, high))


def _elu(recording: Recording, call: Call) -> Value:
    """scale * (x if x > 0, else alpha * (exp(input_scale * x) - 1)): ELU, SELU and CELU."""
    alpha, scale, inside = (float(call.arguments.get(name, 1)) for name in ("alpha", "scale", "input_scale"))
    result = recording.builder.elementwise(call["self"], Activation((0,), "elu", alpha, inside))
    return recording.builder.affine(result, "scale", scale, 0.0)


def _selu(recording: Recording, call: Call) -> Value:
    result = recording.builder.elementwise(call["self"], Activation((0,), "elu", SELU[1], 1.0))
    return recording.builder.affine(result, "scale", SELU[0], 0.0)


def _celu(recording: Recording, call: Call) -> Value:
    alpha = float(call["alpha"])
    return recording.builder.elementwise(call["self"], Activation((0,), "elu", alpha, 1 / alpha))


def _gelu(recording: Recording, call: Call) -> Value:
    function: Any = "gelu_tanh" if call["approximate"] == "tanh" else "gelu"
    return recording.builder.elementwise(call["self"], Activation((0,), function))


def _softplus(recording: Recording, call: Call) -> Value:
    return recording.builder.elementwise(call["self"], Activation((0,), "softplus", float(call["beta"])))


def _erf(recording: Recording, call: Call) -> Value:
    return recording.builder.elementwise(call["self"], Erf((0,)))


def _prelu(recording: Recording, call: Call) -> Value:
    slope = _constant(call["weight"])
    x = call["self"]
    values = _array(slope)
    if slope.ndim == 1 and len(x.shape) > 1:
        values = values.reshape(-1, *[1] * (len(x.shape) - 2))
    return recording.builder.prelu(x, recording.name(slope, call), values)


def _softmax(recording: Recording, call: Call) -> Value:
    return recording.builder.softmax(call["self"], call["dim"], "log" in call.name)


# Arithmetic


def _sum_of_two(recording: Recording, call: Call) -> Value:
    """add and sub; `alpha` multiplies the second."""
    sign = -1 if call.name in ("sub", "rsub") else 1
    factor = sign * float(call.arguments.get("alpha", 1))
    first, second = call["self"], call["other"]
    if call.name == "rsub":
        first, second = second, first
    builder = recording.builder
    if isinstance(first, Value) and isinstance(second, Value):
        return builder.add(first, builder.affine(second, "negative" if factor == -1 else "scale", factor, 0.0))
    if isinstance(first, Value):
        return builder.affine(
            _widened(builder, first, second), _name(recording, call, second), 1, factor * _array(second)
        )
    return builder.affine(_widened(builder, second, first), _name(recording, call, first), factor, _array(first))


def _product(recording: Recording, call: Call) -> Value:
    first, second = call["self"], call["other"]
    if isinstance(first, Value) and isinstance(second, Value):
        return recording.builder.multiply(first, second)
    x, factor = (first, second) if isinstance(first, Value) else (second, first)
    x = _widened(recording.builder, x, factor)
    return recording.builder.affine(x, _name(recording, call, factor), _array(factor), 0.0)


def _larger(recording: Recording, call: Call) -> Value:
    """maximum and minimum of two results, or of a result and one number."""
    first, second = call["self"], call["other"]
    sign = 1.0 if call.name == "maximum" else -1.0
    if isinstance(first, Value) and isinstance(second, Value):
        return recording.builder.maximum(first, second, sign)
    x, limit = (first, second) if isinstance(first, Value) else (second, first)
    number = _one_number(limit)
    ends = (number, FLOAT32_MAX) if sign > 0 else (-FLOAT32_MAX, number)
    return recording.builder.elementwise(x, Activation((0,), "clamp", *ends))


def _gated(recording: Recording, call: Call) -> Value:
    """glu: one half, multiplied by the sigmoid of the other."""
    builder, x = recording.builder, call["self"]
    first, second = (builder.view(x, half.copy()) for half in np.split(builder.order(x), 2, call["dim"]))
    return builder.multiply(first, builder.elementwise(second, Activation((0,), "sigmoid")))


def _quotient(recording: Recording, call: Call) -> Value:
    x, divisor = call["self"], call["other"]
    if call.arguments.get("rounding_mode"):
        raise UnsupportedOperation("a division that is rounded cannot be expressed")
    if isinstance(divisor, Value):
        inverse = recording.builder.power(divisor, -1.0)
        return _product(recording, Call("mul", {"self": x, "other": inverse}, [], call.module))
    return recording.builder.affine(x, _name(recording, call, divisor), 1 / _array(divisor), 0.0)


def _negative(recording: Recording, call: Call) -> Value:
    return recording.builder.affine(call["self"], "negative", -1.0, 0.0)


def _power(recording: Recording, call: Call) -> Value:
    x, exponent = call["self"], call["exponent"]
    if not isinstance(x, Value):
        raise UnsupportedOperation("a power whose exponent is a result cannot be expressed")
    number = _one_number(exponent)
    if number not in (2, 3):
        return recording.builder.power(x, number)
    square = recording.builder.multiply(x, x)
    return recording.builder.multiply(square, x) if number == 3 else square


def _root(exponent: float) -> Callable[[Recording, Call], Value]:
    return lambda recording, call: recording.builder.power(call["self"], exponent)


def _norm(recording: Recording, call: Call) -> Value:
    """The square root of the sum of squares."""
    x, builder = call["self"], recording.builder
    if call["ord"] != 2 or call["dim"] is None:
        raise UnsupportedOperation("a norm other than that of squares over some axes cannot be expressed")
    axes = [call["dim"]] if isinstance(call["dim"], int) else list(call["dim"])
    mean = builder.mean(builder.multiply(x, x), axes, bool(call["keepdim"]))
    count = float(np.prod([x.shape[axis] for axis in axes]))
    return builder.power(builder.affine(mean, "sum", count, 0.0), 0.5)


def _variance(recording: Recording, call: Call) -> Value:
    """The mean of squares of x - mean(x), with Bessel's correction."""
    x, builder = call["self"], recording.builder
    axes = call["dim"]
    axes = list(range(len(x.shape))) if axes is None else [axes] if isinstance(axes, int) else list(axes)
    lower = builder.affine(builder.mean(x, axes, True), "negative", -1.0, 0.0)
    centred = builder.add(x, lower)
    count = float(np.prod([x.shape[axis] for axis in axes]))
    correction = 1.0 if call["correction"] is None else float(call["correction"])
    mean = builder.mean(builder.multiply(centred, centred), axes, bool(call["keepdim"]))
    found = builder.affine(mean, "variance", count / max(count - correction, 1.0), 0.0)
    return builder.power(found, 0.5) if call.name == "std" else found


def _weighted_product(recording: Recording, call: Call) -> Value:
    """addcmul: self + value * tensor1 * tensor2."""
    builder, total = recording.builder, call["self"]
    product = _product(recording, Call("mul", {"self": call["tensor1"], "other": call["tensor2"]}, [], call.module))
    product = builder.affine(product, "scale", float(call["value"]), 0.0)
    return _sum_of_two(recording, Call("add", {"self": total, "other": product}, [], call.module))


# Windows and reductions


def _max_pool(recording: Recording, call: Call) -> Value:
    kernel = _pair(call["kernel_size"])
    stride = _pair(call["stride"]) if call["stride"] else kernel
    op = MaxPool((0,), kernel, stride, _pair(call["padding"]), bool(call["ceil_mode"]), _pair(call["dilation"]))
    return recording.builder.pool(call["self"], op)


def _average_pool(recording: Recording, call: Call) -> Value:
    kernel = _pair(call["kernel_size"])
    stride = _pair(call["stride"]) if call["stride"] else kernel
    if call["divisor_override"]:
        raise UnsupportedOperation("average pooling with divisor_override cannot be expressed")
    padding = _pair(call["padding"])
    counted = bool(call["count_include_pad"]) or not any(padding)
    return recording.builder.pool(
        call["self"], AvgPool((0,), kernel, stride, padding, bool(call["ceil_mode"]), counted)
    )


def _adaptive(recording: Recording, call: Call) -> Value:
    return recording.builder.adaptive(call["self"], _pair(call["output_size"]), "max" in call.name)


def _mean(recording: Recording, call: Call) -> Value:
    """mean, sum, amax, and max over one axis."""
    x, builder = call["self"], recording.builder
    axes = call.arguments.get("dim")
    axes = list(range(len(x.shape))) if axes is None or axes == [] else axes
    axes = [axes] if isinstance(axes, int) else list(axes)
    result = builder.mean(x, axes, bool(call.arguments.get("keepdim")), call.name in ("amax", "max"))
    if call.name == "sum":
        count = int(np.prod([x.shape[axis] for axis in axes]))
        result = builder.affine(result, "sum", float(count), 0.0)
    return result


def _upsample(recording: Recording, call: Call) -> Value:
    x = call.arguments.get("self", call.arguments.get("input"))
    assert isinstance(x, Value)
    height, width = call.results[0].shape[2:]
    if height % x.shape[2] or width % x.shape[3]:
        places = torch.arange(x.shape[2] * x.shape[3]).double().view(1, 1, *x.shape[2:])
        arguments = {name: places if value is x else value for name, value in call.arguments.items()}
        chosen = getattr(torch.ops.aten, call.name)(**arguments).long().numpy()[0, 0]
        order = recording.builder.order(x).reshape(*x.shape[:2], -1)
        return recording.builder.view(x, order[..., chosen])
    return recording.builder.upsample(x, (height // x.shape[2], width // x.shape[3]))


def _pad(recording: Recording, call: Call) -> Value:
    x, pad, builder = call["self"], list(call["pad"]), recording.builder
    left, right, top, bottom = (*pad, 0, 0, 0, 0)[:4]
    if len(x.shape) == 4 and not any(pad[4:]) and min(pad) >= 0:
        return builder.pad(x, (top, left, bottom, right), float(call["value"] or 0))
    if call["value"]:
        raise UnsupportedOperation("padding of channels with anything but zeros cannot be expressed")
    return _moved(recording, Call(call.name, {**call.arguments, "value": -1}, call.results, call.module))


# Copies


def _concat(recording: Recording, call: Call) -> Value:
    """cat and stack."""
    axis = call["dim"]
    values = [value for value in call["tensors"] if isinstance(value, Value) or value.numel()]
    if not all(isinstance(value, Value) for value in values):
        raise UnsupportedOperation("a constant joined to a result cannot be expressed")
    if call.name == "stack":
        axis %= len(values[0].shape) + 1
        values = [recording.builder.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
    return recording.builder.concat(values, axis)


def _copy(recording: Recording, call: Call) -> Value:
    """copy_: the source, broadcast to the shape of the tensor that it overwrites."""
    source = call["src"]
    if not isinstance(source, Value):
        raise UnsupportedOperation("a constant overwrites a result")
    shape = call["self"].shape
    if tuple(source.shape) == tuple(shape):
        return source
    return recording.builder.view(source, np.broadcast_to(recording.builder.order(source), tuple(shape)).copy())


def _converted(recording: Recording, call: Call) -> Value:
    if call.results[0].dtype.is_floating_point:
        return _same(recording, call)
    raise UnsupportedOperation(f"conversion to {call.results[0].dtype} cannot be expressed")


def _same(recording: Recording, call: Call) -> Value:
    value: Value = call["self"]
    return value


def _moved(recording: Recording, call: Call) -> Value:
    """An operation that moves elements: PyTorch applies it to the array of the elements' places."""
    function = getattr(torch.ops.aten, call.name)
    builder = recording.builder
    values = [value for value in call.arguments.values() if isinstance(value, Value)]
    if len(values) != 1 or isinstance(call["self"], Tensor):
        raise UnsupportedOperation("elements chosen by a result cannot be expressed")
    order = torch.from_numpy(builder.order(values[0]))
    arguments = {name: order if isinstance(value, Value) else value for name, value in call.arguments.items()}
    moved = function(**arguments)
    return builder.view(values[0], moved.contiguous().numpy())


def _constant(weight: Any) -> Tensor:
    if isinstance(weight, Value):
        raise UnsupportedOperation("a layer whose weights depend on the image cannot be expressed")
    tensor: Tensor = weight
    return tensor


def _array(constant: Any) -> Real:
    """A constant as float64."""
    if isinstance(constant, Value):
        raise UnsupportedOperation("a result where a constant is expected")
    found: Real = (
        constant.detach().double().numpy() if isinstance(constant, Tensor) else np.asarray(constant, np.float64)
    )
    return found


def _one_number(constant: Any) -> float:
    held = _array(constant)
    if held.size != 1:
        raise UnsupportedOperation("a different number for each element, where one is expected")
    return float(held.item())


def _name(recording: Recording, call: Call, constant: Any) -> str:
    """A name for the multiplication with a constant, or for the addition of one."""
    named = isinstance(constant, Tensor) and recording.name(constant, call) != call.module
    return recording.name(constant, call) if named else f"{call.module}.{call.name}".removeprefix(".")


def _widened(builder: Builder, x: Value, constant: Any) -> Value:
    """`x`, broadcast if the constant is larger."""
    shape = np.broadcast_shapes(x.shape, np.shape(constant))
    return x if shape == x.shape else builder.view(x, np.broadcast_to(builder.order(x), shape).copy())


def _pair(value: Any) -> Pair:
    first, second = (value, value) if isinstance(value, int) else (*value, *value)[:2]
    return int(first), int(second)


MOVING = (
    "channel_shuffle", "flip", "gather", "index", "index_select", "native_channel_shuffle", "pixel_shuffle",
    "pixel_unshuffle", "repeat", "roll",
)  # fmt: skip

OPERATIONS: dict[str, Callable[[Recording, Call], Value]] = {
    **dict.fromkeys(MOVING, _moved),
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "lift_fresh", "dropout", "native_dropout"), _same),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6"), _clamp),
    **dict.fromkeys(("mean", "sum", "amax", "max"), _mean),
    **dict.fromkeys(("add", "sub", "rsub"), _sum_of_two),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"), _batch_norm
    ),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive),
    **dict.fromkeys(("addmm", "mm"), _linear),
    **dict.fromkeys(("maximum", "minimum"), _larger),
    **dict.fromkeys(("cat", "stack"), _concat),
    **dict.fromkeys(("_prelu_kernel", "prelu"), _prelu),
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d"), _upsample),
    "_to_copy": _converted,
    "abs": _activation("leaky_relu", -1.0),
    "addcmul": _weighted_product,
    "avg_pool2d": _average_pool,
    "bmm": _batched,
    "celu": _celu,
    "constant_pad_nd": _pad,
    "convolution": _convolution,
    "copy": _copy,
    "div": _quotient,
    "elu": _elu,
    "erf": _erf,
    "gelu": _gelu,
    "glu": _gated,
    "hardsigmoid": _activation("hard_sigmoid", *HARD),
    "hardswish": _activation("hard_swish", *HARD),
    "leaky_relu": _activation("leaky_relu", named=("negative_slope",)),
    "local_response_norm": _response_norm,
    "max_pool2d_with_indices": _max_pool,
    "mish": _activation("mish"),
    "linalg_vector_norm": _norm,
    "mul": _product,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "neg": _negative,
    "pow": _power,
    "reciprocal": _root(-1.0),
    "relu": _relu,
    "rsqrt": _root(-0.5),
    "selu": _selu,
    "sigmoid": _activation("sigmoid"),
    "silu": _activation("silu", 1.0),
    "softplus": _softplus,
    "sqrt": _root(0.5),
    "square": lambda recording, call: recording.builder.multiply(call["self"], call["self"]),
    "std": _variance,
    "tanh": _activation("tanh"),
    "var": _variance,
}
