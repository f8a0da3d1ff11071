"""Operators on constants: shape arithmetic, weights that nodes compute, weights that are stored as integers."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from squeezenet.errors import LimitExceeded, UnsupportedOperation
from squeezenet.importing.onnx.call import Array, Call
from squeezenet.importing.onnx.elementwise import BINARY, CHOICES, UNARY
from squeezenet.importing.onnx.layouts import LAYOUTS
from squeezenet.limits import MAX_WEIGHTS


def _constant(call: Call) -> Array:
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if (held := call.attribute(name)) is not None:
            kind = np.float32 if "float" in name else np.int64
            return held.numpy() if name == "value" else np.array(held, kind)
    raise UnsupportedOperation("a constant without numbers")


def _filled(call: Call) -> Array:
    """An array of equal elements, which takes the memory of one."""
    shape = tuple(int(n) for n in call.given(0).ravel())
    if len(shape) > 8 or min(shape, default=0) < 0 or prod(shape) > MAX_WEIGHTS:
        raise LimitExceeded(f"a constant of {prod(shape):,} elements; the limit is {MAX_WEIGHTS:,}")
    held = call.attribute("value")
    one = np.zeros(1, np.float32) if held is None else held.numpy()
    return np.broadcast_to(one.ravel()[:1].reshape([1] * len(shape)), shape)


def _quantised(call: Call) -> Array:
    x, scale = call.given(0), _along(call, 1, call.given(0).shape)
    zero = _along(call, 2, x.shape) if call.has(2) else np.zeros((), np.uint8)
    bounds = np.iinfo(zero.dtype)
    levels = np.rint(x / scale) + zero.astype(np.float64)
    found: Array = np.clip(levels, bounds.min, bounds.max).astype(zero.dtype)
    return found


def _dequantised(call: Call) -> Array:
    x, scale = call.given(0), _along(call, 1, call.given(0).shape)
    zero = _along(call, 2, x.shape) if call.has(2) else np.zeros((), np.int64)
    found: Array = ((x.astype(np.float64) - zero.astype(np.float64)) * scale.astype(np.float64)).astype(np.float32)
    return found


def _along(call: Call, index: int, shape: tuple[int, ...]) -> Array:
    """A scale or zero point, which is one number, or one for each position along the attribute `axis`."""
    held = call.given(index)
    if held.size == 1:
        return held.reshape(())
    if held.ndim != 1 or call.integer("block_size", 0):
        raise UnsupportedOperation("weights that are quantised in blocks cannot be read")
    wanted = [1] * len(shape)
    wanted[call.axis(1, len(shape))] = -1
    return held.reshape(wanted)


def _range(call: Call) -> Array:
    start, limit, step = (float(call.given(i).item()) for i in range(3))
    if not step or (limit - start) / step > 1 << 16:
        raise LimitExceeded("a range of more than 65,536 numbers")
    return np.arange(start, limit, step).astype(call.given(0).dtype)


def _cast(call: Call) -> Array:
    return call.given(0).astype(ir.DataType(call.integer("to", 1)).numpy())


def _reduced(function: Callable[..., Any]) -> Callable[[Call], Array]:
    def reduce(call: Call) -> Array:
        x = call.given(0)
        axes = call.axes(1, x.ndim)
        return np.asarray(function(x, axis=axes, keepdims=bool(call.integer("keepdims", 1)))).astype(x.dtype)

    return reduce


def _divided(a: Array, b: Array) -> Array:
    """Division; the quotient of integers is rounded towards zero."""
    if a.dtype.kind in "iu":
        with np.errstate(divide="raise"):
            found: Array = (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
            return found
    return a / b


def _arithmetic(call: Call) -> Array:
    function = _divided if call.node.op_type == "Div" else BINARY[call.node.op_type]
    found = call.given(0)
    for index in range(1, len(call.arguments)):
        found = np.asarray(function(found, call.given(index))).astype(found.dtype)
    return found


def _unary(call: Call) -> Array:
    x = call.given(0)
    if x.dtype.kind in "iu" and call.node.op_type in ("Abs", "Neg"):
        return np.asarray(UNARY[call.node.op_type](call)(x))
    return np.asarray(UNARY[call.node.op_type](call)(x.astype(np.float64))).astype(x.dtype)


def _chosen(call: Call) -> Array:
    return np.asarray(CHOICES[call.node.op_type](*(call.given(i) for i in range(len(call.arguments)))))


FOLDED: dict[str, Callable[[Call], Any]] = {
    **LAYOUTS,
    **dict.fromkeys(BINARY, _arithmetic),
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(CHOICES, _chosen),
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Identity": lambda call: call.given(0),
    "Cast": _cast,
    "CastLike": lambda call: call.given(0).astype(call.given(1).dtype),
    "Concat": lambda call: np.concatenate([call.given(i) for i in range(len(call.arguments))], call.integer("axis", 0)),
    "Range": _range,
    "Shape": lambda call: np.array(call.given(0).shape, np.int64),
    "Size": lambda call: np.array(call.given(0).size, np.int64),
    "Floor": lambda call: np.floor(call.given(0)),
    "Ceil": lambda call: np.ceil(call.given(0)),
    "Round": lambda call: np.rint(call.given(0)),
    "Mod": lambda call: np.mod(call.given(0), call.given(1)),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "ReduceMean": _reduced(np.mean),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _dequantised,
}
"""What is computed if all inputs are constants. Resize and Upsample are among them as layouts."""


def elements_of(call: Call) -> int:
    """The largest number of elements of the result, for an operator whose result may be larger than its inputs."""
    arrays = [held for held in call.arguments if isinstance(held, np.ndarray)]
    kind = call.node.op_type
    if kind == "Gather" and len(arrays) == 2:
        return arrays[0].size // max(1, min(arrays[0].shape, default=1)) * arrays[1].size
    if kind in ("Resize", "Upsample"):
        raise UnsupportedOperation("of a constant cannot be expressed")
    if kind in ("Expand", "Constant", "ConstantOfShape", "Reshape", "Transpose", "Slice", "Identity"):
        return 0  # a view
    if kind in BINARY or kind in CHOICES or kind == "Mod":
        return prod(np.broadcast_shapes(*(held.shape for held in arrays)))
    return sum(held.size for held in arrays)
