"""Writes normalisations that are composed of powers, means and products in fewer operations.

power(x + b)                            becomes    power(x, b)
power(power(x))                         becomes    power(x)
(x - mean(x)) / sqrt(mean((x - mean(x)) ^ 2) + b), with means over the channels, becomes layer_norm(x, b)
"""

from dataclasses import replace

from squeezenet.graph import Activation, Add, Conv, LayerNorm, Multiply, Select
from squeezenet.importing.builder import SMALLEST
from squeezenet.importing.draft import Affine, Draft, Step


def write_norms(draft: Draft) -> bool:
    """Replace every composition that is recognised."""
    changed = False
    for number, op in list(draft.ops.items()):
        found: Step | None = None
        if isinstance(op, Activation) and op.function == "power":
            found = _power(draft, op)
        elif isinstance(op, Multiply):
            found = _layer_norm(draft, op)
        if found is not None:
            draft.ops[number], changed = found, True
    return changed


def _power(draft: Draft, op: Activation) -> Activation | None:
    inner = draft.ops.get(op.inputs[0])
    if isinstance(inner, Affine) and op.b in (0, SMALLEST):
        scale, shift = draft.weights[inner.name]
        if (scale == 1).all() and (shift == shift[0]).all() and shift[0] > 0:
            return replace(op, inputs=inner.inputs, b=float(shift[0]))
    if isinstance(inner, Activation) and inner.function == "power" and op.b in (0, SMALLEST) and inner.b > 0:
        return replace(op, inputs=inner.inputs, a=op.a * inner.a, b=inner.b)
    return None


def _layer_norm(draft: Draft, op: Multiply) -> LayerNorm | None:
    for centred, spread in (op.inputs, op.inputs[::-1]):
        inverse = draft.ops.get(_one(draft, spread))
        if not isinstance(inverse, Activation) or inverse.function != "power" or inverse.a != -0.5:
            continue
        square = draft.ops.get(_mean_of(draft, inverse.inputs[0], 1.0))
        x = _centred(draft, centred)
        if x is not None and isinstance(square, Multiply) and all(_centred(draft, i) == x for i in square.inputs):
            return LayerNorm((x,), inverse.b)
    return None


def _centred(draft: Draft, number: int) -> int | None:
    """The x, if value `number` is x - mean(x)."""
    op = draft.ops.get(number)
    for x, lower in (op.inputs, op.inputs[::-1]) if isinstance(op, Add) else ():
        if _mean_of(draft, _one(draft, lower), -1.0) == x and draft.shapes[x] == draft.shapes[number]:
            return x
    return None


def _one(draft: Draft, number: int) -> int:
    """The value of one channel that value `number` repeats for all channels, or `number` itself."""
    op = draft.ops.get(number)
    return op.inputs[0] if isinstance(op, Select) and draft.shapes[op.inputs[0]][0] == 1 else number


def _mean_of(draft: Draft, number: int, factor: float) -> int:
    """The value of whose channels value `number` is `factor` times the mean, or -1."""
    op = draft.ops.get(number)
    while isinstance(op, Affine):
        scale, shift = draft.weights[op.name]
        if shift.any() or len(scale) != 1:
            return -1
        factor, op = factor / scale[0], draft.ops.get(op.inputs[0])
    if not isinstance(op, Conv) or op.out != 1 or op.kernel != (1, 1) or op.stride != (1, 1) or any(op.padding):
        return -1
    weight, bias = draft.weights[op.name]
    count = weight.size
    same = abs(weight * count - factor).max() < 1e-5
    return op.inputs[0] if same and not bias.any() and draft.shapes[op.inputs[0]][0] == count else -1
