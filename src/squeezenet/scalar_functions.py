"""The scalar functions of an `Activation`, and their tables in integer networks (docs/FORMAT.md, "Integer networks").

>>> relu6 = Activation((0,), "clamp", 0.0, 6.0)
>>> evaluate(relu6, np.array([-1.0, 5.0, 7.0])).tolist()
[0.0, 5.0, 6.0]
>>> table(relu6, Scale(0, zero=2), Scale(0))[:12]
b'\\x00\\x00\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\x06\\x06\\x06'
"""

from functools import lru_cache
from math import erf

import numpy as np
from numpy.typing import NDArray

from squeezenet.fixed_point import Scale
from squeezenet.graph import Activation

Doubles = NDArray[np.float64]

TABLE = 256
"""Entries of a table: one for each element of an 8-bit value."""


def evaluate(op: Activation, x: Doubles) -> Doubles:
    """The function of `op` for each element of `x`, in float64. Its parameters are rounded to float32, as in a file."""
    a, b = float(np.float32(op.a)), float(np.float32(op.b))
    y: Doubles
    match op.function:
        case "clamp":
            y = np.clip(x, a, b)
        case "leaky_relu":
            y = np.where(x > 0, x, a * x)
        case "elu":
            y = np.where(x > 0, x, a * np.expm1(np.minimum(b * x, 0.0)))
        case "hard_sigmoid":
            y = np.clip(a * x + b, 0, 1)
        case "hard_swish":
            y = x * np.clip(a * x + b, 0, 1)
        case "sigmoid":
            y = _sigmoid(x)
        case "silu":
            y = x * _sigmoid(a * x)
        case "tanh":
            y = np.tanh(x)
        case "gelu":
            y = x * (1 + _erf(x / np.sqrt(2))) / 2
        case "gelu_tanh":
            y = x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
        case "mish":
            y = x * np.tanh(np.logaddexp(0, x))
        case "softplus":
            y = np.logaddexp(0, a * x) / a
        case "power":
            y = (np.maximum(x, 0) + b) ** a
    return y


@lru_cache(maxsize=1024)
def table(op: Activation, source: Scale, target: Scale) -> bytes:
    """The element of the result for each element 0 to 255 of an 8-bit input, rounded to nearest, halves up."""
    x: Doubles = (np.arange(TABLE, dtype=np.float64) - source.zero) * source.step
    q = np.floor(evaluate(op, x) / target.step + 0.5) + target.zero
    return bytes(np.clip(q, 0, TABLE - 1).astype(np.uint8))


_erf = np.vectorize(erf, otypes=[np.float64])


def _sigmoid(x: Doubles) -> Doubles:
    y: Doubles = (1 + np.tanh(x / 2)) / 2  # cannot overflow
    return y
