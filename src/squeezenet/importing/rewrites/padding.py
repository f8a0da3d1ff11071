"""Merges a border into the convolution or pool after it: TensorFlow's "same" padding.

    pad -> conv    becomes    conv with padding on four sides

A border that cannot be merged becomes a depthwise convolution that copies its input.
"""

from dataclasses import replace

import numpy as np

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import AvgPool, Conv, MaxPool, Padding, shortest, sides
from squeezenet.importing.draft import Draft, Pad, Step
from squeezenet.importing.rewrites.signs import never_negative


def merge_padding(draft: Draft) -> None:
    """Remove every `Pad`. Raises `UnsupportedOperation`."""
    for number, op in list(draft.ops.items()):
        if not isinstance(op, Pad):
            continue
        for reader in dict.fromkeys(draft.readers()[number]):
            after = draft.ops.get(reader)
            if (merged := _merged(draft, op, after)) is not None:
                draft.ops[reader] = replace(merged, inputs=op.inputs)
        if draft.readers()[number]:
            _copy(draft, number, op)


def _merged(draft: Draft, pad: Pad, after: Step | None) -> Conv | MaxPool | AvgPool | None:
    """`after` with the border as its padding, or None if it would not compute the same."""
    if isinstance(after, Conv):
        return replace(after, padding=_sum(pad, after)) if pad.value == 0 else None
    if isinstance(after, AvgPool) and pad.value == 0 and (after.counted or not any(after.padding)) and not after.ceil:
        merged: MaxPool | AvgPool = replace(after, padding=_sum(pad, after), counted=True)
    elif isinstance(after, MaxPool) and (
        pad.value == -np.inf or (pad.value == 0 and never_negative(draft, pad.inputs[0]))
    ):
        merged = replace(after, padding=_sum(pad, after))
    else:
        return None
    reach = [(k - 1) * d + 1 for k, d in zip(after.kernel, after.dilation, strict=True)]
    if any(p >= r for p, r in zip(sides(merged.padding), reach * 2, strict=True)):
        return None  # a window of a pool must hold an element of the image
    whole = draft.shapes[pad.inputs[0]]
    return merged if merged.shape(*whole) == after.shape(*pad.shape(*whole)) else None


def _sum(pad: Pad, op: Conv | MaxPool | AvgPool) -> Padding:
    top, left, bottom, right = (a + b for a, b in zip(pad.sides, sides(op.padding), strict=True))
    return shortest((top, left, bottom, right))


def _copy(draft: Draft, number: int, op: Pad) -> None:
    if op.value != 0 or min(op.sides) < 0:
        raise UnsupportedOperation(f"{draft.origins[number]}: a border of {op.value:g} cannot be expressed")
    channels = draft.shapes[number][0]
    name = draft.name("pad")
    draft.weights[name] = np.ones((channels, 1, 1, 1)), np.zeros(channels)
    draft.ops[number] = Conv(op.inputs, name, channels, (1, 1), padding=shortest(op.sides), groups=channels)
