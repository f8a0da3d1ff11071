"""PyTorch's arithmetic on results and constants: sums, products, powers, variances."""

from collections.abc import Callable

import numpy as np

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Activation
from squeezenet.importing.builder import FLOAT32_MAX, Value
from squeezenet.importing.pytorch.constants import array, name_of, one_number, widened
from squeezenet.importing.recording import Call, Recording


def sum_of_two(recording: Recording, call: Call) -> Value:
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
            widened(builder, first, second), name_of(recording, call, second), 1, factor * array(second)
        )
    return builder.affine(widened(builder, second, first), name_of(recording, call, first), factor, array(first))


def product(recording: Recording, call: Call) -> Value:
    """mul: of two results, or of a result and a constant."""
    first, second = call["self"], call["other"]
    if isinstance(first, Value) and isinstance(second, Value):
        return recording.builder.multiply(first, second)
    x, factor = (first, second) if isinstance(first, Value) else (second, first)
    x = widened(recording.builder, x, factor)
    return recording.builder.affine(x, name_of(recording, call, factor), array(factor), 0.0)


def larger(recording: Recording, call: Call) -> Value:
    """maximum and minimum of two results, or of a result and one number."""
    first, second = call["self"], call["other"]
    sign = 1.0 if call.name == "maximum" else -1.0
    if isinstance(first, Value) and isinstance(second, Value):
        return recording.builder.maximum(first, second, sign)
    x, limit = (first, second) if isinstance(first, Value) else (second, first)
    number = one_number(limit)
    ends = (number, FLOAT32_MAX) if sign > 0 else (-FLOAT32_MAX, number)
    return recording.builder.elementwise(x, Activation((0,), "clamp", *ends))


def gated(recording: Recording, call: Call) -> Value:
    """glu: one half, multiplied by the sigmoid of the other."""
    builder, x = recording.builder, call["self"]
    first, second = (builder.view(x, half.copy()) for half in np.split(builder.order(x), 2, call["dim"]))
    return builder.multiply(first, builder.elementwise(second, Activation((0,), "sigmoid")))


def quotient(recording: Recording, call: Call) -> Value:
    """div: by a constant, or by a result that is never 0."""
    x, divisor = call["self"], call["other"]
    if call.arguments.get("rounding_mode"):
        raise UnsupportedOperation("a division that is rounded cannot be expressed")
    if isinstance(divisor, Value):
        inverse = recording.builder.power(divisor, -1.0)
        return product(recording, Call("mul", {"self": x, "other": inverse}, [], call.module))
    return recording.builder.affine(x, name_of(recording, call, divisor), 1 / array(divisor), 0.0)


def negative(recording: Recording, call: Call) -> Value:
    """neg."""
    return recording.builder.affine(call["self"], "negative", -1.0, 0.0)


def power(recording: Recording, call: Call) -> Value:
    """pow: a result to the power of a number."""
    x, exponent = call["self"], call["exponent"]
    if not isinstance(x, Value):
        raise UnsupportedOperation("a power whose exponent is a result cannot be expressed")
    number = one_number(exponent)
    if number not in (2, 3):
        return recording.builder.power(x, number)
    square = recording.builder.multiply(x, x)
    return recording.builder.multiply(square, x) if number == 3 else square


def root(exponent: float) -> Callable[[Recording, Call], Value]:
    """sqrt, rsqrt and reciprocal: powers with a fixed exponent."""
    return lambda recording, call: recording.builder.power(call["self"], exponent)


def norm(recording: Recording, call: Call) -> Value:
    """The square root of the sum of squares."""
    x, builder = call["self"], recording.builder
    if call["ord"] != 2 or call["dim"] is None:
        raise UnsupportedOperation("a norm other than that of squares over some axes cannot be expressed")
    axes = [call["dim"]] if isinstance(call["dim"], int) else list(call["dim"])
    mean = builder.mean(builder.multiply(x, x), axes, bool(call["keepdim"]))
    count = float(np.prod([x.shape[axis] for axis in axes]))
    return builder.power(builder.affine(mean, "sum", count, 0.0), 0.5)


def variance(recording: Recording, call: Call) -> Value:
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


def weighted_product(recording: Recording, call: Call) -> Value:
    """addcmul: self + value * tensor1 * tensor2."""
    builder, total = recording.builder, call["self"]
    found = product(recording, Call("mul", {"self": call["tensor1"], "other": call["tensor2"]}, [], call.module))
    found = builder.affine(found, "scale", float(call["value"]), 0.0)
    return sum_of_two(recording, Call("add", {"self": total, "other": found}, [], call.module))
