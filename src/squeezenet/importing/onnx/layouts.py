"""Operators that only move elements: NumPy functions of an array.

For a constant, the array has its elements. For a value of the network, it has the places of the elements
(`Builder.order`). So the same function folds shape arithmetic, slices channels, and cancels the transposes of exporters
that write channels last.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from squeezenet.errors import LimitExceeded, UnsupportedOperation
from squeezenet.importing.builder import Value
from squeezenet.importing.onnx.call import Argument, Array, Call, axis_of
from squeezenet.limits import MAX_ONNX_VIEW


def moved(call: Call, function: Callable[[Array], Array]) -> Argument:
    """`function` of the array at input 0."""
    if isinstance(call.arguments[0], np.ndarray):
        return function(call.arguments[0])
    value = call.arranged(call.value())
    return call.builder.view(value, np.ascontiguousarray(function(call.builder.order(value))))


def reshaped(call: Call, shape: tuple[int, ...]) -> Argument:
    """The array at input 0 with the same elements in another shape."""
    if isinstance(call.arguments[0], np.ndarray):
        return call.arguments[0].reshape(shape)
    return call.builder.reshape(call.value(), shape)


def shape_of(call: Call) -> tuple[int, ...]:
    """The shape of input 0."""
    held = call.arguments[0]
    return held.shape if isinstance(held, np.ndarray | Value) else call.value().shape


def _reshape(call: Call) -> Argument:
    old = shape_of(call)
    held = call.ints("shape") if call.opset < 5 else None
    wanted = [int(n) for n in (call.given(1).ravel() if held is None else held)]
    if not call.integer("allowzero", 0):
        wanted = [old[i] if n == 0 and i < len(old) else n for i, n in enumerate(wanted)]
    return reshaped(call, tuple(wanted))


def _flatten(call: Call) -> Argument:
    shape = shape_of(call)
    axis = call.integer("axis", 1)
    axis = axis if axis == len(shape) else axis_of(axis, len(shape))
    return reshaped(call, (prod(shape[:axis]), prod(shape[axis:])))


def _squeeze(call: Call) -> Argument:
    shape = shape_of(call)
    axes = call.axes(1, len(shape))
    gone = [i for i, n in enumerate(shape) if n == 1] if axes is None else axes
    if any(shape[i] != 1 for i in gone):
        raise UnsupportedOperation(f"squeezes an axis of {shape} that is not 1")
    return reshaped(call, tuple(n for i, n in enumerate(shape) if i not in gone))


def _unsqueeze(call: Call) -> Argument:
    shape = list(shape_of(call))
    given = call.numbers("axes", 1) or ()
    for axis in sorted(axis_of(int(i), len(shape) + len(given)) for i in given):
        shape.insert(axis, 1)
    return reshaped(call, tuple(shape))


def _transpose(call: Call) -> Argument:
    order = call.ints("perm")
    return moved(call, lambda x: x.transpose(order))


def _slice(call: Call) -> Argument:
    shape = shape_of(call)
    starts, ends = call.numbers("starts", 1), call.numbers("ends", 2)
    if starts is None or ends is None:
        raise UnsupportedOperation("a slice without starts or ends")
    axes = call.axes(3, len(shape)) or tuple(range(len(starts)))
    steps = call.numbers("steps", 4) or (1,) * len(starts)
    cut: list[Any] = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # A negative end that is below all elements means "to the very first", which NumPy writes as None.
        low = None if step < 0 and end < -shape[axis] else int(end)
        cut[axis] = slice(int(start), low, int(step))
    return moved(call, lambda x: x[tuple(cut)])


def _gather(call: Call) -> Argument:
    index, shape = call.given(1).astype(np.int64), shape_of(call)
    axis = call.axis(0, len(shape))
    fits((*shape[:axis], index.size, *shape[axis + 1 :]))
    return moved(call, lambda x: x.take(index, axis))


def _split(call: Call) -> list[Argument]:
    shape = shape_of(call)
    axis = call.axis(0, len(shape))
    count = len(call.node.outputs)
    step = -(-shape[axis] // count)
    sizes = call.numbers("split", 1) or tuple(min(step, shape[axis] - i * step) for i in range(count))
    ends = [int(n) for n in np.cumsum(sizes)]
    if len(ends) != count or ends[-1] != shape[axis]:
        raise UnsupportedOperation(f"a split of {shape[axis]} into {sizes}")
    found = []
    for start, end in zip([0, *ends], ends, strict=False):
        cut = (slice(None),) * axis + (slice(start, end),)
        found.append(moved(call, lambda x, cut=cut: x[cut]))  # type: ignore[misc]
    return found


def _expand(call: Call) -> Argument:
    wanted = tuple(int(n) for n in call.given(1).ravel())
    shape = np.broadcast_shapes(shape_of(call), wanted)
    fits(shape)
    return moved(call, lambda x: np.broadcast_to(x, shape))


def _depth_to_space(call: Call) -> Argument:
    n, c, h, w = _four(call)
    b = call.integer("blocksize", 1)
    if call.text("mode", "DCR") == "DCR":
        return moved(call, lambda x: x.reshape(n, b, b, c // b // b, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(
            n, c // b // b, h * b, w * b))  # fmt: skip
    return moved(call, lambda x: x.reshape(n, c // b // b, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(
        n, c // b // b, h * b, w * b))  # fmt: skip


def _space_to_depth(call: Call) -> Argument:
    n, c, h, w = _four(call)
    b = call.integer("blocksize", 1)
    order = (0, 3, 5, 1, 2, 4) if call.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return moved(call, lambda x: x.reshape(n, c, h // b, b, w // b, b).transpose(order).reshape(
        n, c * b * b, h // b, w // b))  # fmt: skip


def _resize(call: Call) -> Argument:
    """Nearest neighbours: each position along an axis takes the element at one position of the input."""
    shape = shape_of(call)
    if (mode := call.text("mode", "nearest")) != "nearest":
        raise UnsupportedOperation(f"interpolation {mode!r} cannot be expressed, only whole factors of the nearest")
    old = call.opset < 11
    axes = call.axes(99, len(shape)) or tuple(range(len(shape)))
    scales, sizes = call.numbers("scales", 1 if old else 2), None if old else call.numbers("", 3)
    if not (scales or sizes):
        raise UnsupportedOperation("a size that cannot be read")
    policy = call.text("keep_aspect_ratio_policy", "stretch")
    if sizes and policy != "stretch":
        ratios = [size / shape[axis] for size, axis in zip(sizes, axes, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        scales, sizes = (ratio,) * len(axes), tuple(int(np.floor(ratio * shape[axis] + 0.5)) for axis in axes)
    places = [np.arange(n) for n in shape]
    for i, axis in enumerate(axes):
        n = shape[axis]
        count = int(sizes[i]) if sizes else int(np.floor(n * scales[i]))  # type: ignore[index]
        scale = scales[i] if scales else count / n
        places[axis] = _nearest(call, n, count, scale, old)
    fits(tuple(map(len, places)))
    return moved(call, lambda x: x[np.ix_(*places)])


def _nearest(call: Call, n: int, count: int, scale: float, old: bool) -> Array:
    """For each of `count` positions, the nearest of `n` positions, by the rules of the operator Resize."""
    at = np.arange(count)
    how = "asymmetric" if old else call.text("coordinate_transformation_mode", "half_pixel")
    if how in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"):
        x = (at + 0.5) / scale - 0.5
        if how == "half_pixel_symmetric":
            x = n / 2 * (1 - count / (scale * n)) + x
        if how == "pytorch_half_pixel" and count == 1:
            x = np.zeros(1)
    elif how == "align_corners":
        x = at * (n - 1) / max(count - 1, 1)
    elif how == "asymmetric":
        x = at / scale
    else:
        raise UnsupportedOperation(f"coordinates {how!r} cannot be expressed")
    rounding = "floor" if old else call.text("nearest_mode", "round_prefer_floor")
    rounded: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    }
    if rounding not in rounded:
        raise UnsupportedOperation(f"rounding {rounding!r}")
    found: Array = np.clip(rounded[rounding](np.round(x, 9)), 0, n - 1).astype(np.int64)
    return found


def fits(shape: tuple[int, ...]) -> None:
    """Raise `LimitExceeded` for an array that has more elements than the limit."""
    if prod(shape) > MAX_ONNX_VIEW:
        raise LimitExceeded(f"an array of {prod(shape):,} elements; the limit is {MAX_ONNX_VIEW:,}")


def _four(call: Call) -> tuple[int, ...]:
    shape = shape_of(call)
    if len(shape) != 4:
        raise UnsupportedOperation(f"an array of {len(shape)} axes, not 4")
    return shape


LAYOUTS: dict[str, Callable[[Call], Argument | list[Argument]]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Expand": _expand,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Resize": _resize,
    "Upsample": _resize,
}
