"""ONNX nodes of the operations that move elements or take their maximum. They are the same for floats and for integers.

An array of 8-bit integers may hold the two halves of a 9-bit value as twice as many channels; see `exact.py`.
"""

import numpy as np
import onnx_ir as ir

from squeezenet.export.onnx.nodes import Nodes
from squeezenet.export.reach import reached
from squeezenet.graph import (
    AdaptivePool,
    Concat,
    Flatten,
    MaxPool,
    Op,
    Pair,
    Select,
    Shape,
    Sides,
    Upsample,
)

Moving = MaxPool | AdaptivePool | Concat | Select | Upsample | Flatten
"""The operations of this module; an `AdaptivePool` only if it takes the maximum."""


def moves(op: Op) -> bool:
    """Whether `moved` has nodes for an operation."""
    return isinstance(op, Moving) and (not isinstance(op, AdaptivePool) or op.maximum)


LOWEST = np.float32(np.finfo(np.float32).min)
"""What padding of a maximum is filled with."""


def moved(nodes: Nodes, op: Op, operands: list[ir.Value], shape: Shape, halves: int = 1,
          lowest: np.generic = LOWEST) -> ir.Value:  # fmt: skip
    """The result of `op`, which reads values of `shape`; `halves` is 2 if the arrays hold 9-bit values."""
    x = operands[0]
    match op:
        case MaxPool():
            x, padding = padded(nodes, x, op.kernel, reached(op, shape), lowest)
            return nodes("MaxPool", x, **windows(op.kernel, op.stride, op.dilation, padding))
        case AdaptivePool():
            return _adaptive_maximum(nodes, op, x, shape)
        case Concat():
            return nodes("Concat", *operands, axis=1)
        case Select():
            picks = [half * shape[0] + pick for half in range(halves) for pick in op.picks()]
            return nodes("Gather", x, nodes.constant("channels", np.array(picks, np.int64)), axis=1)
        case Upsample():
            factors = nodes.constant("factors", np.array([1, 1, *op.factor], np.float32))
            none = nodes.constant("no_region", np.zeros(0, np.float32))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return nodes("Resize", x, none, factors, **how)
        case Flatten():
            return nodes("Flatten", x, axis=1)
    raise AssertionError(f"{type(op).__name__} moves no elements")


def windows(kernel: Pair, stride: Pair, dilation: Pair, padding: Sides) -> dict[str, list[int]]:
    """The attributes of a node whose kernel moves over an image."""
    attributes = {"kernel_shape": list(kernel), "strides": list(stride), "pads": list(padding)}
    return attributes if dilation == (1, 1) else {**attributes, "dilations": list(dilation)}


def padded(nodes: Nodes, x: ir.Value, kernel: Pair, padding: Sides, fill: np.generic) -> tuple[ir.Value, Sides]:
    """The input and the padding of a node for a pool. Padding that ONNX Runtime refuses is added to the input first."""
    if all(p < k for p, k in zip(padding, kernel * 2, strict=True)):
        return x, padding
    top, left, bottom, right = padding
    amounts = nodes.constant("padding", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return nodes("Pad", x, amounts, nodes.constant("fill", fill)), (0, 0, 0, 0)


def window_indices(size: int, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """The elements of each window of an adaptive pool along one axis: (windows, longest); the last one is repeated."""
    spans = [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    longest = max(map(len, spans))
    return np.array([[min(span.start + j, span.stop - 1) for j in range(longest)] for span in spans], np.int64)


def _adaptive_maximum(nodes: Nodes, op: AdaptivePool, x: ir.Value, shape: Shape) -> ir.Value:
    """The maximum over rows, then over columns."""
    for axis, size, count in zip((2, 3), shape[1:], op.size, strict=True):
        picked = nodes("Gather", x, nodes.constant("windows", window_indices(size, count)), axis=axis)
        x = nodes("ReduceMax", picked, nodes.constant("axis", np.array([axis + 1], np.int64)), keepdims=0)
    return x
