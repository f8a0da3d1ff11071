"""PyTorch's operations that join, copy or move elements."""

import numpy as np
import torch
from torch import Tensor

from squeezenet.errors import UnsupportedOperation
from squeezenet.importing.builder import Value
from squeezenet.importing.recording import Call, Recording


def concat(recording: Recording, call: Call) -> Value:
    """cat and stack."""
    axis = call["dim"]
    values = [value for value in call["tensors"] if isinstance(value, Value) or value.numel()]
    if not all(isinstance(value, Value) for value in values):
        raise UnsupportedOperation("a constant joined to a result cannot be expressed")
    if call.name == "stack":
        axis %= len(values[0].shape) + 1
        values = [recording.builder.reshape(v, (*v.shape[:axis], 1, *v.shape[axis:])) for v in values]
    return recording.builder.concat(values, axis)


def copy(recording: Recording, call: Call) -> Value:
    """copy_: the source, broadcast to the shape of the tensor that it overwrites."""
    source = call["src"]
    if not isinstance(source, Value):
        raise UnsupportedOperation("a constant overwrites a result")
    shape = call["self"].shape
    if tuple(source.shape) == tuple(shape):
        return source
    return recording.builder.view(source, np.broadcast_to(recording.builder.order(source), tuple(shape)).copy())


def converted(recording: Recording, call: Call) -> Value:
    """_to_copy: from floats to floats."""
    if call.results[0].dtype.is_floating_point:
        return same(recording, call)
    raise UnsupportedOperation(f"conversion to {call.results[0].dtype} cannot be expressed")


def same(recording: Recording, call: Call) -> Value:
    """An operation that changes nothing."""
    value: Value = call["self"]
    return value


def moved(recording: Recording, call: Call) -> Value:
    """An operation that moves elements: PyTorch applies it to the array of the elements' places."""
    function = getattr(torch.ops.aten, call.name)
    builder = recording.builder
    values = [value for value in call.arguments.values() if isinstance(value, Value)]
    if len(values) != 1 or isinstance(call["self"], Tensor):
        raise UnsupportedOperation("elements chosen by a result cannot be expressed")
    order = torch.from_numpy(builder.order(values[0]))
    arguments = {name: order if isinstance(value, Value) else value for name, value in call.arguments.items()}
    found = function(**arguments)
    return builder.view(values[0], found.contiguous().numpy())
