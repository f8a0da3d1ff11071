"""Operators that compute each element from one element: they become expressions, which `scalars` recognises."""

from collections.abc import Callable
from math import erf, sqrt
from typing import Any

import numpy as np

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import ReLU
from squeezenet.importing.builder import Builder, Value
from squeezenet.importing.onnx.call import Argument, Array, Call
from squeezenet.importing.scalars import MOST_PARTS, Affine, Scalar, recognise

Function = Callable[..., Any]

_erf = np.vectorize(erf, otypes=[np.float64])


def _sigmoid(x: Any) -> Any:
    return (1 + np.tanh(x / 2)) / 2


def _elu(a: float, b: float = 1.0, scale: float = 1.0) -> Function:
    return lambda x: scale * np.where(x > 0, x, a * np.expm1(np.minimum(x / b, 0)))


def _gelu(call: Call) -> Function:
    if call.text("approximate", "none") == "tanh":
        return lambda x: x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    return lambda x: x * (1 + _erf(x / sqrt(2))) / 2


def _clip(call: Call) -> Function:
    low, high = call.numbers("min", 1), call.numbers("max", 2)
    return lambda x: np.minimum(np.maximum(x, -np.inf if low is None else low[0]), np.inf if high is None else high[0])


def _hard_sigmoid(call: Call) -> Function:
    a, b = call.number("alpha", 0.2), call.number("beta", 0.5)
    return lambda x: np.clip(a * x + b, 0, 1)


def _leaky(call: Call) -> Function:
    slope = call.number("alpha", 0.01)
    return lambda x: np.where(x > 0, x, slope * x)


def _swish(call: Call) -> Function:
    alpha = call.number("alpha", 1.0)
    return lambda x: x * _sigmoid(alpha * x)


UNARY: dict[str, Callable[[Call], Function]] = {
    "Relu": lambda _: lambda x: np.maximum(x, 0),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "Elu": lambda call: _elu(call.number("alpha", 1.0)),
    "Celu": lambda call: _elu(call.number("alpha", 1.0), call.number("alpha", 1.0)),
    "Selu": lambda call: _elu(call.number("alpha", 1.6732632), scale=call.number("gamma", 1.0507009)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Sigmoid": lambda _: _sigmoid,
    "Tanh": lambda _: np.tanh,
    "Softplus": lambda _: lambda x: np.logaddexp(0, x),
    "Mish": lambda _: lambda x: x * np.tanh(np.logaddexp(0, x)),
    "Gelu": _gelu,
    "Swish": _swish,
    "Erf": lambda _: _erf,
    "Exp": lambda _: np.exp,
    "Log": lambda _: np.log,
    "Sqrt": lambda _: np.sqrt,
    "Neg": lambda _: np.negative,
    "Abs": lambda _: np.abs,
    "Reciprocal": lambda _: np.reciprocal,
    "Softsign": lambda _: lambda x: x / (1 + np.abs(x)),
    "ThresholdedRelu": lambda call: lambda x: np.where(x > call.number("alpha", 1.0), x, 0),
}
"""Functions of one input."""

BINARY: dict[str, Function] = {
    "Add": np.add,
    "Sum": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": np.maximum,
    "Min": np.minimum,
}
"""Functions of two or more inputs."""

CHOICES: dict[str, Function] = {
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
}
"""Comparisons and what is made of them. Together they may compute a function, as in `where(x > 20, x, softplus(x))`."""


def unary(call: Call) -> Argument:
    """An operator of `UNARY`."""
    return grown(call, UNARY[call.node.op_type](call), call.scalar())


def binary(call: Call) -> Argument:
    """An operator of `BINARY`, of any number of inputs."""
    arguments = [argument for argument in call.arguments if argument is not None]
    result = arguments[0]
    for argument in arguments[1:]:
        result = _two(call, result, argument)
    return result


def choice(call: Call) -> Argument:
    """An operator of `CHOICES`, of inputs that depend on one value of the network and of equal numbers."""
    parts: list[Scalar | float] = []
    for argument in call.arguments:
        if isinstance(argument, np.ndarray):
            if not argument.size or (argument != argument.flat[0]).any():
                raise UnsupportedOperation("with a constant of different numbers cannot be expressed")
            parts.append(argument.flat[0])
        elif argument is not None:
            parts.append(argument if isinstance(argument, Scalar) else Scalar(argument))
    bases = [part.base for part in parts if isinstance(part, Scalar)]
    shapes = [argument.shape for argument in call.arguments if isinstance(argument, np.ndarray)]
    one = all(base is bases[0] or _same(base, bases[0]) for base in bases[1:])
    if not one or np.broadcast_shapes(bases[0].shape, *shapes) != bases[0].shape:
        raise UnsupportedOperation("of two values of the network cannot be expressed")
    return grown(call, CHOICES[call.node.op_type], *parts)


def grown(call: Call, function: Function, *parts: Scalar | float) -> Scalar:
    """An expression of `parts`. Parts that are too long are settled: each becomes a value."""
    scalars = [part for part in parts if isinstance(part, Scalar)]
    if sum(part.count for part in scalars) >= MOST_PARTS:
        parts = tuple(Scalar(call.settle(part)) if isinstance(part, Scalar) else part for part in parts)
        if len({part.base for part in parts if isinstance(part, Scalar)}) > 1:
            raise UnsupportedOperation("an expression that is too long")
        scalars = [part for part in parts if isinstance(part, Scalar)]
    return Scalar(scalars[0].base, function, parts, call.name, call.label, 1 + sum(part.count for part in scalars))


def _two(call: Call, left: Argument, right: Argument) -> Argument:
    kind = call.node.op_type
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        result: Array = BINARY[kind](left, right)
        return result
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return _with_constant(call, left, right)
    a, b = (x if isinstance(x, Scalar) else Scalar(x) for x in (left, right))
    if a.base is b.base or _same(a.base, b.base):
        return grown(call, BINARY[kind], a, b)
    x, y = call.settle(a), call.settle(b)
    if kind == "Mul":
        return call.builder.multiply(x, y)
    if kind == "Div":
        return call.builder.multiply(x, call.builder.power(y, -1.0))
    if kind in ("Max", "Min"):
        return call.builder.maximum(x, y, 1.0 if kind == "Max" else -1.0)
    if kind == "Sub":
        y = call.builder.affine(y, call.name, -1.0, 0.0)
    elif kind not in ("Add", "Sum"):
        raise UnsupportedOperation("of two values of the network cannot be expressed")
    return call.builder.add(x, y)


def _same(a: Value, b: Value) -> bool:
    return a.number == b.number and a.shape == b.shape and a.order is b.order is None


def _with_constant(call: Call, left: Argument, right: Argument) -> Argument:
    kind = call.node.op_type
    held, other = (right, left) if isinstance(right, np.ndarray) else (left, right)
    assert isinstance(held, np.ndarray)
    assert not isinstance(other, np.ndarray)
    expression = other if isinstance(other, Scalar) else Scalar(other)
    constant = held.astype(np.float64)
    uniform = constant.size and (constant == constant.flat[0]).all()
    if uniform and np.broadcast_shapes(expression.base.shape, constant.shape) == expression.base.shape:
        number = float(constant.flat[0])
        return grown(call, BINARY[kind], *((expression, number) if held is right else (number, expression)))
    x = call.settle(expression)
    if constant.ndim > len(x.shape):
        x = call.builder.reshape(x, (*[1] * (constant.ndim - len(x.shape)), *x.shape))
    scale: Any = 1.0
    shift: Any = 0.0
    if kind in ("Add", "Sum"):
        shift = constant
    elif kind == "Sub":
        scale, shift = (1.0, -constant) if held is right else (-1.0, constant)
    elif kind == "Mul":
        scale = constant
    elif kind == "Div" and held is right:
        scale = 1 / constant
    elif kind in ("Max", "Min"):  # max(x - c, 0) + c, c - max(c - x, 0)
        sign = 1.0 if kind == "Max" else -1.0
        over = call.builder.elementwise(call.builder.affine(x, call.name, sign, -sign * constant), ReLU((0,)))
        return call.builder.affine(over, call.name, sign, constant)
    else:
        raise UnsupportedOperation("with a constant for each channel cannot be expressed")
    return call.builder.affine(x, call.name, scale, shift)


def settled(builder: Builder, expression: Scalar, known: dict[Scalar, Value]) -> Value:
    """The value of an expression, in as few operations as `recognise` finds. Raises `UnsupportedOperation`.

    `known` holds the values of expressions that were settled before.
    """
    if expression.function is None:
        return expression.base
    if expression in known:
        return known[expression]
    for inner in dict.fromkeys((Scalar(expression.base), *expression.below())):
        start = {inner: None} if inner.function else {}
        try:
            steps = recognise(lambda x, inner=inner: _at(expression, inner, x))  # type: ignore[misc]
        except KeyError:
            continue
        if steps is not None:
            value = settled(builder, inner, known) if start else expression.base
            for step in steps:
                if isinstance(step, Affine):
                    value = builder.affine(value, expression.name, step.scale, step.shift)
                else:
                    value = builder.elementwise(value, step)
            known[expression] = value
            return value
    if expression.function in CHOICES.values():
        raise UnsupportedOperation(f"the result of {expression.label} cannot be expressed")
    parts = [settled(builder, part, known) for part in expression.parts if isinstance(part, Scalar)]
    if expression.function is np.reciprocal:
        known[expression] = builder.power(parts[0], -1.0)
        return known[expression]
    if len(parts) == 2:
        left, right = parts
        if expression.function is np.multiply:
            value = builder.multiply(left, right)
        elif expression.function is np.divide:
            value = builder.multiply(left, builder.power(right, -1.0))
        elif expression.function in (np.add, np.subtract):
            sign = 1.0 if expression.function is np.add else -1.0
            value = builder.add(left, builder.affine(right, expression.name, sign, 0.0))
        else:
            raise UnsupportedOperation(f"the result of {expression.label} cannot be expressed")
        known[expression] = value
        return value
    if expression.function is np.power and isinstance(exponent := expression.parts[1], float):
        value = builder.multiply(parts[0], parts[0]) if exponent in (2, 3) else builder.power(parts[0], exponent)
        known[expression] = builder.multiply(value, parts[0]) if exponent == 3 else value
        return known[expression]
    raise UnsupportedOperation(f"the result of {expression.label} cannot be expressed")


def _at(expression: Scalar, inner: Scalar, x: Any) -> Any:
    """The values of `expression` if those of `inner` are `x`."""
    if inner.function is None:
        leaves = [part for part in (expression, *expression.below()) if part.function is None]
        return expression.at(dict.fromkeys(leaves, x))
    return expression.at({inner: x})
