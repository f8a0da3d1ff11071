"""Finds values of a draft that cannot be negative, and refuses powers of the others.

The function `power` treats negative numbers as 0. The root of a negative number is not a number, so no network computes
it. But x ^ -1 has a value for a negative x, so it is refused unless x cannot be negative.
"""

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import (
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Multiply,
    ReLU,
    Select,
    Upsample,
)
from squeezenet.importing.draft import Affine, Draft, Unflatten

KEEPING = (
    Add, AvgPool, AdaptivePool, Concat, Flatten, GlobalAvgPool, MaxPool, Multiply, Select, Unflatten, Upsample,
)  # fmt: skip
"""Operations whose results are never negative if no input is."""


def refuse_negative_divisors(draft: Draft) -> None:
    """Raise `UnsupportedOperation` for a power of a value that may be negative, if it is no root."""
    for number, op in draft.ops.items():
        if not isinstance(op, Activation) or op.function != "power" or op.a != int(op.a):
            continue
        if not never_negative(draft, op.inputs[0]):
            what = "a division by a result" if op.a < 0 else "a power of a result"
            raise UnsupportedOperation(f"{what} that may be negative cannot be expressed ({draft.origins[number]})")


def never_negative(draft: Draft, number: int) -> bool:
    """Whether no element of value `number` can be below 0, as far as its operations show."""
    op = draft.ops.get(number)
    match op:
        case ReLU() | Activation(function="sigmoid" | "hard_sigmoid" | "softplus" | "power"):
            return True
        case Activation(function="clamp", a=low) if low >= 0:
            return True
        case Activation(function="leaky_relu", a=slope) if slope <= 0:
            return True
        case Multiply(inputs=(a, b)) if a == b:
            return True
        case Conv() | Linear() | Affine():
            weight, bias = draft.weights[op.name]
            return bool((weight >= 0).all() and (bias >= 0).all()) and never_negative(draft, op.inputs[0])
        case _ if isinstance(op, KEEPING):
            return all(never_negative(draft, i) for i in op.inputs)
    return False
