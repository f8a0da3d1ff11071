"""PyTorch's layers with weights: convolutions, matrix products, normalisations."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import LRN
from squeezenet.importing.builder import Builder, Value
from squeezenet.importing.pytorch.constants import array, pair, weight_of
from squeezenet.importing.recording import Call, Recording


def convolution(recording: Recording, call: Call) -> Value:
    """convolution: of images, or over channels."""
    x, weight, bias = call["input"], weight_of(call["weight"]), call["bias"]
    if call["transposed"]:
        raise UnsupportedOperation("a transposed convolution cannot be expressed in a .sqz file")
    name = recording.name(weight, call)
    if weight.shape[:2] == (1, 1) and call["stride"] == [1] and 2 * call["padding"][0] == weight.shape[2] - 1:
        return _along_channels(recording.builder, x, name, weight, bias)
    if len(call["stride"]) != 2:
        raise UnsupportedOperation(f"a convolution of {len(call['stride'])} dimensions cannot be expressed")
    options = (pair(call["stride"]), pair(call["padding"]), pair(call["dilation"]), call["groups"])
    return recording.builder.conv(x, name, weight.detach().numpy(), None if bias is None else array(bias), *options)


def _along_channels(builder: Builder, x: Value, name: str, weight: Tensor, bias: Any) -> Value:
    """A convolution over the channels (ECA-Net, Wang et al. 2020): a matrix product whose matrix is a band."""
    band = array(weight).ravel()
    outside = len(band) // 2
    count = x.shape[-1]
    matrix = sum(value * np.eye(count, k=offset - outside) for offset, value in enumerate(band))
    return builder.linear(x, name, matrix, None if bias is None else np.full(count, array(bias).item()))


def linear(recording: Recording, call: Call) -> Value:
    """addmm(bias, x, weight) and mm(x, weight)."""
    x, weight = (call["mat1"], call["mat2"]) if "mat1" in call.arguments else (call["self"], call["mat2"])
    bias = call["self"] if "mat1" in call.arguments else None
    return _product_of_matrices(recording, call, x, weight, bias)


def _product_of_matrices(recording: Recording, call: Call, x: Any, weight: Any, bias: Any) -> Value:
    if isinstance(weight, Value) and isinstance(x, Value):
        raise UnsupportedOperation("a matrix product of two results cannot be expressed (attention?)")
    if isinstance(weight, Value) or isinstance(bias, Value) or weight.ndim != 2:
        raise UnsupportedOperation("a matrix product whose first matrix is a constant cannot be expressed")
    held = None if bias is None else np.broadcast_to(array(bias), (weight.shape[1],))
    return recording.builder.linear(x, recording.name(weight, call), weight.detach().numpy().T, held)


def batched(recording: Recording, call: Call) -> Value:
    """A batched product with the same matrix for all, as PyTorch computes a layer without bias."""
    x, weight = call["self"], call["mat2"]
    if isinstance(weight, Value) or isinstance(x, Tensor):
        return _product_of_matrices(recording, call, x, weight, None)
    if (weight != weight[:1]).any():
        raise UnsupportedOperation("a matrix product with a different constant for each part")
    return _product_of_matrices(recording, call, x, weight[0], None)


def batch_norm(recording: Recording, call: Call) -> Value:
    """BatchNorm: with running statistics it is a scale and a shift of each channel."""
    x, mean, variance = call["input"], call["running_mean"], call["running_var"]
    if call.arguments.get("training", call.arguments.get("use_input_stats")) or mean is None:
        return _instance_norm(recording, call)
    ones = torch.ones_like(mean)
    gamma = array(ones if call["weight"] is None else call["weight"])
    beta = array(0 * ones if call["bias"] is None else call["bias"])
    scale = gamma / np.sqrt(array(variance) + call["eps"])
    shift = beta - array(mean) * scale
    along = (-1, *[1] * (len(x.shape) - 2))
    return recording.builder.affine(x, recording.name(mean, call), scale.reshape(along), shift.reshape(along))


def _instance_norm(recording: Recording, call: Call) -> Value:
    """PyTorch computes it as BatchNorm of (1, N * channels, height, width) with the statistics of this batch."""
    x, builder = call["input"], recording.builder
    if len(x.shape) != 4 or x.shape[0] != 1 or x.shape[1] % builder.batch:
        raise UnsupportedOperation("BatchNorm without running statistics cannot be folded")
    images = builder.reshape(x, (builder.batch, -1, *x.shape[2:]))
    result = builder.group_norm(images, images.shape[1], call["eps"])
    return _scaled(recording, call, builder.reshape(result, x.shape), 1)


def layer_norm(recording: Recording, call: Call) -> Value:
    """LayerNorm over channels, or over whole images."""
    x = call["input"]
    if len(call["normalized_shape"]) == len(x.shape) - 1 == 3:
        scale = 1.0 if call["weight"] is None else array(call["weight"])
        shift = 0.0 if call["bias"] is None else array(call["bias"])
        return recording.builder.affine(recording.builder.group_norm(x, 1, call["eps"]), call.module, scale, shift)
    if len(call["normalized_shape"]) != 1:
        raise UnsupportedOperation("layer normalisation over a part of an image cannot be expressed")
    return _scaled(recording, call, recording.builder.layer_norm(x, -1, call["eps"]), -1)


def group_norm(recording: Recording, call: Call) -> Value:
    """GroupNorm of images."""
    x = call["input"]
    if len(x.shape) < 3:
        raise UnsupportedOperation("group normalisation of features cannot be expressed")
    whole = recording.builder.reshape(x, (*x.shape[:2], -1, x.shape[-1])) if len(x.shape) != 4 else x
    result = recording.builder.group_norm(whole, call["group"], call["eps"])
    return _scaled(recording, call, recording.builder.reshape(result, x.shape), 1)


def _scaled(recording: Recording, call: Call, x: Value, axis: int) -> Value:
    """Scale and shift after a normalisation, along an axis."""
    weight, bias = call["weight"], call["bias"]
    if weight is None and bias is None:
        return x
    along = (-1, *[1] * (len(x.shape) - 1 - axis % len(x.shape)))
    name = call.module if weight is None else recording.name(weight, call)
    scale, shift = (default if t is None else array(t) for t, default in ((weight, np.ones(1)), (bias, np.zeros(1))))
    return recording.builder.affine(x, name, scale.reshape(along), shift.reshape(along))


def response_norm(recording: Recording, call: Call) -> Value:
    """Local response normalisation."""
    x = call["input"]
    op = LRN((recording.builder.map(x),), call["size"], call["alpha"], call["beta"], call["k"])
    return Value(recording.builder.draft.put(op, recording.builder.origin), x.shape)
