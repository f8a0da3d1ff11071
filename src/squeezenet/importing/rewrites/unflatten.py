"""Turns fully connected layers into convolutions where their results are used as channels: squeeze-and-excitation.

    flatten -> linear -> relu -> linear -> unflatten    becomes    conv -> relu -> conv

A flat value of many positions is read by a convolution whose kernel is as large as the image.
"""

from dataclasses import replace

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Activation, Add, Conv, Flatten, LayerNorm, Linear, Multiply, ReLU
from squeezenet.importing.draft import Affine, Draft, Erf, Step, Unflatten


def remove_unflatten(draft: Draft) -> None:
    """Remove every `Unflatten`. Raises `UnsupportedOperation`."""
    while found := next((n for n, op in draft.ops.items() if isinstance(op, Unflatten)), None):
        draft.replace(found, _spatial(draft, draft.ops[found].inputs[0]))
        del draft.ops[found]


def _spatial(draft: Draft, number: int) -> int:
    """The number of a value (features, 1, 1) that holds value `number`, which is (features,)."""
    op = draft.ops[number]
    if isinstance(op, Flatten):
        if draft.shapes[op.inputs[0]][1:] != (1, 1):
            raise UnsupportedOperation(f"{draft.origins[number]}: features of many positions are used as channels")
        return op.inputs[0]
    if isinstance(op, Linear):
        (source,) = op.inputs
        before = draft.ops[source]
        source = before.inputs[0] if isinstance(before, Flatten) else _spatial(draft, source)
        weight, bias = draft.weights[op.name]
        shape = draft.shapes[source]
        draft.weights[op.name] = weight.reshape(op.out, *shape), bias
        changed: Step = Conv((source,), op.name, op.out, (shape[1], shape[2]))
    elif isinstance(op, ReLU | Activation | Affine | Erf | LayerNorm | Add | Multiply):
        changed = replace(op, inputs=tuple(_spatial(draft, i) for i in op.inputs))
    else:
        raise UnsupportedOperation(f"{draft.origins[number]}: its features cannot be used as channels")
    draft.ops[number], draft.shapes[number] = changed, (*draft.shapes[number], 1, 1)
    flat = draft.put_after(number, Flatten((number,)))
    draft.replace(number, flat)  # all who read features before
    draft.ops[flat] = Flatten((number,))
    return number
