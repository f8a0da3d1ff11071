"""Folds a scale and a shift for each channel into the layer before or after: BatchNorm, LayerScale, x * 2 - 1.

    conv -> affine                    becomes    conv
    affine -> affine                  becomes    affine
    affine -> conv without padding    becomes    conv
    affine -> (flatten ->) linear     becomes    linear
    conv + conv -> affine             becomes    conv + conv

A layer is changed only if nothing else reads what is between the two.
"""

from math import prod

import numpy as np

from squeezenet.graph import Add, Conv, Flatten, Linear
from squeezenet.importing.draft import NOTHING, Affine, Draft, Real


def fold_affine(draft: Draft) -> bool:
    """Fold every `Affine` that can be folded."""
    changed = False
    for number, op in list(draft.ops.items()):
        if isinstance(op, Affine) and (_backward(draft, number, op) or _forward(draft, number, op)):
            changed = True
            draft.drop_unused()
    return changed


def _backward(draft: Draft, number: int, op: Affine) -> bool:
    """Fold into the layer before. An affine with scale 1 and shift 0 is removed."""
    scale, shift = draft.weights[op.name]
    (source,) = op.inputs
    if (scale == 1).all() and not shift.any():
        draft.replace(number, source)
        return True
    layers = _sources(draft, source, number)
    for index, layer in enumerate(layers or ()):
        name = draft.ops[layer].name  # type: ignore[union-attr]
        weight, bias = draft.weights[name]
        draft.weights[name] = (
            (weight * _rows(scale, weight)).astype(weight.dtype),
            bias * scale + (0 if index else shift),
        )
        draft.meanings[layer] = NOTHING
    if layers:
        draft.meanings[source] = draft.meanings.get(number, number)
        draft.replace(number, source)
    return bool(layers)


def _sources(draft: Draft, number: int, reader: int) -> list[int] | None:
    """The layers whose outputs are the summands of value `number`, if nothing but `reader` depends on these."""
    op = draft.ops.get(number)
    if draft.readers()[number] != [reader]:
        return None
    if isinstance(op, Conv | Linear | Affine):
        return [number]
    if not isinstance(op, Add) or draft.shapes[op.inputs[0]] != draft.shapes[op.inputs[1]]:
        return None
    first, second = (_sources(draft, i, number) for i in op.inputs)
    return first + second if first and second else None


def _forward(draft: Draft, number: int, op: Affine) -> bool:
    """Fold into the layer after."""
    scale, shift = draft.weights[op.name]
    readers = draft.readers()
    between, repeats = number, 1
    if len(readers[number]) == 1 and isinstance(draft.ops.get(readers[number][0]), Flatten):
        between, repeats = readers[number][0], prod(draft.shapes[number][1:])
    if len(readers[between]) != 1:
        return False
    after = draft.ops.get(readers[between][0])
    if not isinstance(after, Conv | Linear) or (isinstance(after, Conv) and any(after.padding) and shift.any()):
        return False
    weight, bias = draft.weights[after.name]
    scale, shift = np.repeat(scale, repeats), np.repeat(shift, repeats)
    if isinstance(after, Conv):  # which inputs each output reads: (out, in / groups)
        inputs = np.arange(len(scale)).reshape(after.groups, -1).repeat(after.out // after.groups, 0)
        scale, shift = scale[inputs], shift[inputs]
    else:
        scale, shift = scale[None], shift[None]
    summed = weight.reshape(*weight.shape[:2], -1).sum(-1, dtype=np.float64)
    draft.weights[after.name] = (weight * _rows(scale, weight)).astype(weight.dtype), bias + (summed * shift).sum(1)
    draft.replace(number, op.inputs[0])
    return True


def _rows(scale: Real, weight: Real) -> Real:
    """`scale` with axes of length 1 at the end, so that it multiplies `weight` along the first axes of `weight`."""
    return scale.reshape(*scale.shape, *[1] * (weight.ndim - scale.ndim))
