"""An integer network as float operations between conversions to and from 8 bits (QDQ). Runtimes turn this form into
their own 8-bit kernels.

A value is a tensor of unsigned bytes. Each operation reads it through DequantizeLinear, computes with floats, and ends
with QuantizeLinear. Weights are int8, biases int32. Runtimes replace such a group of nodes by one kernel for integers,
and round in their own way: the logits may differ from those of the engine by a few steps (docs/experiments.md).
`mixed.py` avoids these differences.

A 9-bit value q becomes two channels of 8 bits, min(q, 255) and max(q - 255, 0), as FORMAT.md says. A layer computes
its outputs twice to make the two halves, the second time with a bias that is lower by 255 steps.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from squeezenet.export.onnx.floats import clipped, computed
from squeezenet.export.onnx.moving import moved, moves, windows
from squeezenet.export.onnx.nodes import Nodes
from squeezenet.export.targets import MAX_SUM, largest_sums
from squeezenet.fixed_point import BIAS_BITS, Integers, Scale, factor, step
from squeezenet.graph import Conv, GlobalAvgPool, Linear, Op, ReLU, Shape, sides
from squeezenet.model import IntegerWeights, Model
from squeezenet.runtime.integers import cap_level

HALF = 255
"""The largest element of each half of a 9-bit value."""

NO_PAIR_SATURATES = 64
"""Levels up to this one cannot make the sum of two products of 8 bits reach 2 ** 15, at which some kernels saturate."""

HALVES_UP = 1 + 2.0**-21
"""Factor of the steps of weights. Runtimes round halves to even; with it, they round them up as the format does."""


@dataclass(frozen=True)
class _Value:
    """Bytes with a scale, or floats if the value is `wide`. `step` is the scale that the ONNX nodes have."""

    tensor: ir.Value
    scale: Scale
    step: np.float32

    @property
    def halves(self) -> int:
        return 1 + self.scale.nine_bit


def qdq_network(nodes: Nodes, model: Model, image: ir.Value) -> ir.Value:
    """The logits of an integer network, computed between 8-bit values."""
    graph = model.graph
    shapes = graph.shapes()
    nodes.scope = nodes.scope_of(0, "image")
    # The format multiplies pixels by step(-e), and QuantizeLinear divides them.
    values = [_to_bytes(nodes, image, model.scales[0], np.float32(1 / step(-model.scales[0].exponent)))]
    for index, op in enumerate(graph.ops):
        operands, target, shape = [values[i] for i in op.inputs], model.scales[index + 1], shapes[op.inputs[0]]
        name = op.name if isinstance(op, Conv | Linear) else type(op).__name__
        nodes.scope = nodes.scope_of(index + 1, name)
        source = operands[0]
        if isinstance(op, ReLU) and _does_nothing(op, source.scale):
            values.append(source)
            continue
        if isinstance(op, Conv | Linear):
            y = _layer(nodes, op, _weights(model, op, source, target), source, target)
        else:
            y = _other(nodes, op, operands, shape, target)
        unit = np.float32(target.step)
        values.append(_Value(y, target, unit) if target.wide else _to_bytes(nodes, y, target, unit))
    nodes.scope = ""
    return _to_floats(nodes, values[-1])


def _does_nothing(op: ReLU, scale: Scale) -> bool:
    """Whether a ReLU changes no element of a value, because the conversion to bytes has already limited them."""
    return scale.zero == 0 and (not op.cap or cap_level(op.cap, scale) >= scale.high)


def _to_bytes(nodes: Nodes, x: ir.Value, scale: Scale, unit: np.float32) -> _Value:
    return _Value(nodes("QuantizeLinear", x, *_ends(nodes, scale, unit)), scale, unit)


def _to_floats(nodes: Nodes, value: _Value) -> ir.Value:
    if value.scale.wide:
        return value.tensor
    return nodes("DequantizeLinear", value.tensor, *_ends(nodes, value.scale, value.step))


def _ends(nodes: Nodes, scale: Scale, unit: np.float32) -> tuple[ir.Value, ir.Value]:
    return nodes.constant("scale", unit), nodes.constant("zero_point", np.uint8(scale.zero))


def _other(nodes: Nodes, op: Op, operands: list[_Value], shape: Shape, target: Scale) -> ir.Value:
    """The result of an operation without weights, before its conversion to bytes."""
    floats = [_to_floats(nodes, operand) for operand in operands]
    if isinstance(op, ReLU) and op.cap:
        return clipped(nodes, floats[0], 0.0, cap_level(op.cap, target) * target.step)
    if isinstance(op, GlobalAvgPool) and target.wide:
        return _wide_mean(nodes, computed(nodes, op, floats, shape), shape)
    if moves(op):
        return moved(nodes, op, floats, shape, operands[0].halves)
    return computed(nodes, op, floats, shape)


@dataclass(frozen=True)
class _Weights:
    """Levels with a step for each output, and biases in steps of the products."""

    levels: Integers
    steps: NDArray[np.float32]
    bias: NDArray[np.int32]


def _weights(model: Model, op: Conv | Linear, source: _Value, target: Scale) -> _Weights:
    """The weights of a layer in the form that 8-bit kernels of runtimes read.

    Where the levels of an output are small, all are multiplied by a whole number and their step is divided by it. The
    weights stay the same, and the bias is rounded less, because it has the step of the products (docs/experiments.md).
    """
    held = model.weights[op.name]
    assert isinstance(held, IntegerWeights)
    levels, bias = held.weight.levels.astype(np.int64), held.bias.astype(np.float64) / (1 << BIAS_BITS)
    rescalings = target.exponent - source.scale.exponent - held.weight.exponents.astype(np.int64)
    largest = np.maximum(1, np.abs(levels).reshape(op.out, -1).max(1))
    room = MAX_SUM / np.maximum(1, largest_sums(model, op, source.scale, target))
    finer = np.maximum(1, np.minimum(NO_PAIR_SATURATES // largest, room.astype(np.int64)))
    levels = levels * finer.reshape(-1, *[1] * (levels.ndim - 1))
    if source.scale.nine_bit:
        levels = np.concatenate([levels, levels], axis=1)
    if target.nine_bit:
        levels, rescalings, finer = (np.concatenate([each, each]) for each in (levels, rescalings, finer))
        bias = np.concatenate([bias, bias - HALF])
    # The steps of the weights give the format's own factors between products and results.
    factors = np.array([m / 2.0**s for m, s in (factor(int(d)) for d in rescalings)]) / finer
    steps = (factors * HALVES_UP * target.step / source.step).astype(np.float32)
    return _Weights(levels, steps, np.rint(bias / factors).astype(np.int32))


def _layer(nodes: Nodes, op: Conv | Linear, held: _Weights, source: _Value, target: Scale) -> ir.Value:
    """The result of a convolution or fully connected layer, before its conversion to bytes."""
    bias = _constants(nodes, "bias", held.bias, held.steps * source.step)
    if isinstance(op, Conv) and not target.wide:
        weight = _constants(nodes, "weight", held.levels.astype(np.int8), held.steps)
        how = windows(op.kernel, op.stride, op.dilation, sides(op.padding))
        return nodes("Conv", _to_floats(nodes, source), weight, bias, group=op.groups, **how)
    # Of convolutions with logits of 24 bits, `targets.py` lets only matrix products pass.
    weight = _constants(nodes, "weight", held.levels.reshape(len(held.levels), -1).astype(np.int8), held.steps)
    flat = replace(source, tensor=nodes("Flatten", source.tensor, axis=1)) if isinstance(op, Conv) else source
    y = nodes("Gemm", _to_floats(nodes, flat), weight, bias, transB=1)
    return nodes("Unsqueeze", y, nodes.constant("axes", np.array([2, 3], np.int64))) if isinstance(op, Conv) else y


def _wide_mean(nodes: Nodes, mean: ir.Value, shape: Shape) -> ir.Value:
    """The mean, times a factor: the format multiplies the sum by a rounded reciprocal, and ONNX's mean does not."""
    count = shape[1] * shape[2]
    share = np.float32((65536 + count // 2) // count * count / 65536)
    return mean if share == 1 else nodes("Mul", mean, nodes.constant("share", share))


def _constants(nodes: Nodes, name: str, integers: NDArray[Any], steps: NDArray[np.float32]) -> ir.Value:
    """Integers whose first axis has a step for each entry, as floats."""
    zeros = nodes.constant("zero_points", np.zeros(len(steps), integers.dtype))
    scale = nodes.constant(f"{name}_scale", steps)
    return nodes("DequantizeLinear", nodes.constant(name, integers), scale, zeros, axis=0)
