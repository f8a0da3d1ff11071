"""Recognises functions that are composed of simpler ones.

x * sigmoid(x)                          becomes    silu(x)
relu6(x + 3) / 6                        becomes    hard_sigmoid(x)
x * hard_sigmoid(x)                     becomes    hard_swish(x)
x * relu6(x + 3) / 6                    becomes    hard_swish(x)
x * tanh(softplus(x))                   becomes    mish(x)
x * (1 + erf(x / sqrt(2))) / 2          becomes    gelu(x), in every order of the factors
"""

from math import isclose, sqrt

from squeezenet.graph import Activation, Multiply, ReLU
from squeezenet.importing.draft import Affine, Draft, Erf, Step

Linear = tuple[int, float, float]
"""scale * value + shift: the number of the value, scale and shift."""


def write_activations(draft: Draft) -> bool:
    """Replace every composition that is recognised."""
    changed = False
    for number, op in list(draft.ops.items()):
        found: Step | None = None
        if isinstance(op, Affine):
            found = _hard_sigmoid(draft, op) or _scaled_product(draft, op)
        elif isinstance(op, Multiply):
            found = _product(draft, op)
        elif isinstance(op, ReLU | Activation):
            found = _hard_sigmoid_of_clamp(draft, op)
        if found is not None:
            draft.ops[number], changed = found, True
    return changed


def _linear(draft: Draft, number: int) -> Linear:
    """Value `number` as scale * value + shift, the same for all channels."""
    op = draft.ops.get(number)
    if isinstance(op, Affine):
        scale, shift = draft.weights[op.name]
        if (scale == scale[0]).all() and (shift == shift[0]).all():
            source, inner, offset = _linear(draft, op.inputs[0])
            return source, float(inner * scale[0]), float(offset * scale[0] + shift[0])
    return number, 1.0, 0.0


def _function(draft: Draft, number: int, *names: str) -> Activation | None:
    op = draft.ops.get(number)
    return op if isinstance(op, Activation) and op.function in names else None


def _cap(op: Step | None) -> float:
    """The c of min(max(x, 0), c), or 0."""
    if isinstance(op, ReLU):
        return op.cap
    return op.b if isinstance(op, Activation) and op.function == "clamp" and op.a == 0 else 0.0


def _hard_sigmoid(draft: Draft, op: Affine) -> Step | None:
    """relu6(x + 3) / 6, or the same with another cap that is also the divisor."""
    capped, scale, shift = _linear(draft, op.inputs[0])
    outer, inner = draft.weights[op.name]
    inside = draft.ops.get(capped)
    if (outer != outer[0]).any() or inner.any() or shift or not _cap(inside):
        return None
    assert inside is not None
    if not isclose(scale * outer[0] * _cap(inside), 1, rel_tol=1e-6):
        return None
    x, a, b = _linear(draft, inside.inputs[0])
    cap = _cap(inside)
    return Activation((x,), "hard_sigmoid", a / cap, b / cap)


def _hard_sigmoid_of_clamp(draft: Draft, op: ReLU | Activation) -> Step | None:
    """clamp(x / 6 + 0.5, 0, 1)."""
    x, a, b = _linear(draft, op.inputs[0])
    return Activation((x,), "hard_sigmoid", a, b) if _cap(op) == 1 and (a, b) != (1.0, 0.0) else None


def _product(draft: Draft, op: Multiply) -> Step | None:
    """Products of x and a function of x."""
    for x, other in (op.inputs, op.inputs[::-1]):
        if draft.shapes[x] != draft.shapes[other]:
            continue
        if (gate := _function(draft, other, "hard_sigmoid")) and gate.inputs == (x,):
            return Activation((x,), "hard_swish", gate.a, gate.b)
        if gate := _function(draft, other, "sigmoid"):
            source, scale, shift = _linear(draft, gate.inputs[0])
            if source == x and shift == 0:
                return Activation((x,), "silu", scale)
        if gate := _function(draft, other, "tanh"):
            inner = _function(draft, gate.inputs[0], "softplus")
            if inner and inner.inputs == (x,) and inner.a == 1:
                return Activation((x,), "mish")
        if (inside := _gelu(draft, x, other, 1.0)) is not None:
            return Activation((inside,), "gelu")
    return None


def _scaled_product(draft: Draft, op: Affine) -> Step | None:
    """x * relu6(x + 3) / 6, and x * (1 + erf(x / sqrt(2))) / 2 where the product comes first."""
    outer, shift = draft.weights[op.name]
    product = draft.ops.get(op.inputs[0])
    if not isinstance(product, Multiply) or (outer != outer[0]).any() or shift.any():
        return None
    for x, other in (product.inputs, product.inputs[::-1]):
        gate = draft.ops.get(other)
        if gate is not None and (cap := _cap(gate)) and isclose(outer[0] * cap, 1, rel_tol=1e-6):
            source, a, b = _linear(draft, gate.inputs[0])
            if source == x:
                return Activation((x,), "hard_swish", a / cap, b / cap)
        if (inside := _gelu(draft, x, other, float(outer[0]))) is not None:
            return Activation((inside,), "gelu")
    return None


def _gelu(draft: Draft, x: int, other: int, factor: float) -> int | None:
    """The value v, if factor * x * other is v * (1 + erf(v / sqrt(2))) / 2."""
    value, scale, shift = _linear(draft, x)
    inner, outer, offset = _linear(draft, other)
    erf = draft.ops.get(inner)
    if not isinstance(erf, Erf) or shift or not isclose(outer, offset, rel_tol=1e-6):
        return None
    source, slope, move = _linear(draft, erf.inputs[0])
    same = source == value and move == 0 and isclose(slope, 1 / sqrt(2), rel_tol=1e-5)
    return value if same and isclose(factor * scale * outer, 0.5, rel_tol=1e-6) else None
