"""PyTorch's pools, means, repetitions and borders."""

import numpy as np
import torch

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import AvgPool, MaxPool
from squeezenet.importing.builder import Value
from squeezenet.importing.pytorch.constants import pair
from squeezenet.importing.pytorch.moves import moved
from squeezenet.importing.recording import Call, Recording


def max_pool(recording: Recording, call: Call) -> Value:
    """max_pool2d_with_indices."""
    kernel = pair(call["kernel_size"])
    stride = pair(call["stride"]) if call["stride"] else kernel
    op = MaxPool((0,), kernel, stride, pair(call["padding"]), bool(call["ceil_mode"]), pair(call["dilation"]))
    return recording.builder.pool(call["self"], op)


def average_pool(recording: Recording, call: Call) -> Value:
    """avg_pool2d."""
    kernel = pair(call["kernel_size"])
    stride = pair(call["stride"]) if call["stride"] else kernel
    if call["divisor_override"]:
        raise UnsupportedOperation("average pooling with divisor_override cannot be expressed")
    padding = pair(call["padding"])
    counted = bool(call["count_include_pad"]) or not any(padding)
    return recording.builder.pool(
        call["self"], AvgPool((0,), kernel, stride, padding, bool(call["ceil_mode"]), counted)
    )


def adaptive(recording: Recording, call: Call) -> Value:
    """Adaptive pools."""
    return recording.builder.adaptive(call["self"], pair(call["output_size"]), "max" in call.name)


def mean(recording: Recording, call: Call) -> Value:
    """mean, sum, amax, and max over one axis."""
    x, builder = call["self"], recording.builder
    axes = call.arguments.get("dim")
    axes = list(range(len(x.shape))) if axes is None or axes == [] else axes
    axes = [axes] if isinstance(axes, int) else list(axes)
    result = builder.mean(x, axes, bool(call.arguments.get("keepdim")), call.name in ("amax", "max"))
    if call.name == "sum":
        count = int(np.prod([x.shape[axis] for axis in axes]))
        result = builder.affine(result, "sum", float(count), 0.0)
    return result


def upsample(recording: Recording, call: Call) -> Value:
    """Nearest neighbours, at any size."""
    x = call.arguments.get("self", call.arguments.get("input"))
    assert isinstance(x, Value)
    height, width = call.results[0].shape[2:]
    if height % x.shape[2] or width % x.shape[3]:
        places = torch.arange(x.shape[2] * x.shape[3]).double().view(1, 1, *x.shape[2:])
        arguments = {name: places if value is x else value for name, value in call.arguments.items()}
        chosen = getattr(torch.ops.aten, call.name)(**arguments).long().numpy()[0, 0]
        order = recording.builder.order(x).reshape(*x.shape[:2], -1)
        return recording.builder.view(x, order[..., chosen])
    return recording.builder.upsample(x, (height // x.shape[2], width // x.shape[3]))


def pad(recording: Recording, call: Call) -> Value:
    """constant_pad_nd: a border, or elements that are cut off."""
    x, sides, builder = call["self"], list(call["pad"]), recording.builder
    left, right, top, bottom = (*sides, 0, 0, 0, 0)[:4]
    if len(x.shape) == 4 and not any(sides[4:]) and min(sides) >= 0:
        return builder.pad(x, (top, left, bottom, right), float(call["value"] or 0))
    if call["value"]:
        raise UnsupportedOperation("padding of channels with anything but zeros cannot be expressed")
    return moved(recording, Call(call.name, {**call.arguments, "value": -1}, call.results, call.module))
