"""Merges convolutions of the same value whose results are added, as RepVGG and MobileOne have them for training.

    conv3x3(x) + conv1x1(x) + affine(x)    becomes    conv3x3(x)
    linear(x) + linear(x)                  becomes    linear(x)

The kernels are added, centre on centre (structural re-parameterisation, Ding et al. 2021). A sum with x
itself stays, since a kernel with a 1 in its centre is hard to round.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from squeezenet.graph import Add, Conv, Linear, Sides, shortest, sides
from squeezenet.importing.draft import Affine, Draft, Real


def merge_branches(draft: Draft) -> bool:
    """Merge every sum of two linear branches. A sum of more branches is a chain of sums of two."""
    changed = False
    for number, op in list(draft.ops.items()):
        if isinstance(op, Add) and _merge(draft, number, op):
            changed = True
            draft.drop_unused()
    return changed


def _merge(draft: Draft, number: int, op: Add) -> bool:
    for i, j in (op.inputs, op.inputs[::-1]):
        a, b = draft.ops.get(i), draft.ops.get(j)
        if not isinstance(a, Conv | Linear) or not isinstance(b, Conv | Linear | Affine) or a.inputs != b.inputs:
            continue
        readers = draft.readers()
        if readers[i] != [number] or readers[j] != [number] or draft.shapes[i] != draft.shapes[j]:
            continue
        if isinstance(a, Linear):
            if isinstance(b, Linear):
                (weight, bias), (other_weight, other_bias) = draft.weights[a.name], draft.weights[b.name]
                draft.weights[a.name], draft.ops[number] = (weight + other_weight, bias + other_bias), a
                return True
            continue
        other = _as_conv(draft, a, j)
        if other is None:
            continue
        found = _aligned(draft, a, *other)
        if found is not None:
            conv, weight, bias = found
            draft.weights[a.name] = weight, bias
            draft.ops[number] = conv
            return True
    return False


def _as_conv(draft: Draft, like: Conv, number: int) -> tuple[Conv, Real, Real] | None:
    """The branch that computes value `number` from the input of `like`, as a convolution with weight and bias."""
    op = draft.ops.get(number)
    if isinstance(op, Conv) and op.inputs == like.inputs:
        same = (op.stride, op.groups) == (like.stride, like.groups)
        return (op, *draft.weights[op.name]) if same and op.dilation == like.dilation == (1, 1) else None
    if like.stride != (1, 1) or like.dilation != (1, 1):
        return None
    assert isinstance(op, Affine)
    scale, shift = draft.weights[op.name]
    width = like.out // like.groups  # output i reads input i, which is i % width in its group
    weight = np.zeros((like.out, width, 1, 1))
    weight[np.arange(like.out), np.arange(like.out) % width, 0, 0] = scale
    return Conv(like.inputs, "", like.out, (1, 1), groups=like.groups), weight, shift


def _aligned(draft: Draft, a: Conv, b: Conv, weight: Real, bias: Real) -> tuple[Conv, Real, Real] | None:
    """Two convolutions as one, whose windows cover the windows of both."""
    before = np.maximum(sides(a.padding), sides(b.padding))
    kernels = np.maximum(*(_reach(op) for op in (a, b)))
    if (before[:2] + before[2:] < 0).any():
        return None
    total = np.zeros((a.out, weight.shape[1], *(before[:2] + kernels)), np.float32)
    for op, values in ((a, draft.weights[a.name][0]), (b, weight)):
        top, left = before[:2] - np.array(sides(op.padding))[:2]
        total[:, :, top : top + op.kernel[0], left : left + op.kernel[1]] += values
    height, width = (int(n) for n in total.shape[2:])
    padding: Sides = (int(before[0]), int(before[1]), 0, 0)
    shape = draft.shapes[a.inputs[0]]
    wanted = a.shape(*shape)
    padding = _behind(padding, (height, width), a, (shape[1], shape[2]), (wanted[1], wanted[2]))
    conv = replace(a, kernel=(height, width), padding=shortest(padding))
    return (conv, total, draft.weights[a.name][1] + bias) if conv.shape(*shape) == wanted else None


def _reach(op: Conv) -> NDArray[np.int64]:
    """How far the windows of a convolution reach from their own first position: kernel - padding before."""
    return np.array(op.kernel, np.int64) - np.array(sides(op.padding)[:2], np.int64)


def _behind(padding: Sides, kernel: tuple[int, int], like: Conv, size: tuple[int, int], out: tuple[int, int]) -> Sides:
    """`padding` with as much at the bottom and on the right as `out` windows need."""
    top, left = padding[:2]
    needed = [
        max(0, (n - 1) * s + k - before - length)
        for n, s, k, before, length in zip(out, like.stride, kernel, (top, left), size, strict=True)
    ]
    return top, left, needed[0], needed[1]
