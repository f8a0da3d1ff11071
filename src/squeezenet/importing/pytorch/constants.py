"""What a constant of the recorded program is: a tensor, an array, one number, a pair."""

from typing import Any

import numpy as np
from torch import Tensor

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Pair
from squeezenet.importing.builder import Builder, Value
from squeezenet.importing.draft import Real
from squeezenet.importing.recording import Call, Recording


def weight_of(weight: Any) -> Tensor:
    """`weight`, which must not depend on the image."""
    if isinstance(weight, Value):
        raise UnsupportedOperation("a layer whose weights depend on the image cannot be expressed")
    tensor: Tensor = weight
    return tensor


def array(constant: Any) -> Real:
    """A constant as float64."""
    if isinstance(constant, Value):
        raise UnsupportedOperation("a result where a constant is expected")
    found: Real = (
        constant.detach().double().numpy() if isinstance(constant, Tensor) else np.asarray(constant, np.float64)
    )
    return found


def one_number(constant: Any) -> float:
    """A constant that is one number."""
    held = array(constant)
    if held.size != 1:
        raise UnsupportedOperation("a different number for each element, where one is expected")
    return float(held.item())


def name_of(recording: Recording, call: Call, constant: Any) -> str:
    """A name for the multiplication with a constant, or for the addition of one."""
    named = isinstance(constant, Tensor) and recording.name(constant, call) != call.module
    return recording.name(constant, call) if named else f"{call.module}.{call.name}".removeprefix(".")


def widened(builder: Builder, x: Value, constant: Any) -> Value:
    """`x`, broadcast if the constant is larger."""
    shape = np.broadcast_shapes(x.shape, np.shape(constant))
    return x if shape == x.shape else builder.view(x, np.broadcast_to(builder.order(x), shape).copy())


def pair(value: Any) -> Pair:
    """(rows, columns), from an argument that may be one number for both."""
    first, second = (value, value) if isinstance(value, int) else (*value, *value)[:2]
    return int(first), int(second)
