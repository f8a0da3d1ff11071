"""An integer network in operations on integers only: the same logits, bit for bit, on every CPU.

It follows docs/FORMAT.md ("Integer networks"). Values are unsigned bytes, sums are int32, rescaling is done in int64. A
shift to the right that rounds down is written as a division of a number that is not negative. For this, a multiple of
the divisor is added first, and its quotient is subtracted after the division.

Weights are unsigned bytes around 128. On processors without VNNI, kernels for products of unsigned and signed bytes add
two products in 16 bits, and the sum saturates (onnxruntime#5849). ONNX Runtime's kernels for two unsigned bytes widen
both before they multiply, so nothing saturates. These kernels exist for convolutions, too; convolutions with int8
weights run in a loop without vectors (docs/adr/0028-onnx.md).

A 9-bit value q is two channels of 8 bits, min(q, 255) and max(q - 255, 0): all channels of the first half, then all of
the second. A layer that reads such a value has its weights twice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from squeezenet.export.onnx.floats import adaptive_shares
from squeezenet.export.onnx.moving import moved, moves, windows
from squeezenet.export.onnx.nodes import Nodes
from squeezenet.export.reach import reached
from squeezenet.fixed_point import BIAS_BITS, Integers, Scale, factor, fraction, step
from squeezenet.graph import (
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Conv,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Shape,
    sides,
)
from squeezenet.model import IntegerWeights, Model
from squeezenet.runtime.integers import cap_level
from squeezenet.runtime.reference import averaged

MIDDLE = 128
"""The unsigned byte that stands for a weight of 0."""

HALF = 255
"""The largest element of each half of a 9-bit value."""

MOST_SUM = 1 << 31
"""No sum of a network reaches it (`model.check_integers`)."""


@dataclass(frozen=True)
class QuantisedValue:
    """Unsigned bytes q, or int64 q if the value is wide."""

    tensor: ir.Value
    scale: Scale
    shape: Shape


LayerNodes = Callable[[Nodes, Conv | Linear, IntegerWeights, QuantisedValue, Scale], ir.Value]
"""Writes the nodes of a layer with these weights, from a value to one of this scale."""


def exact_network(nodes: Nodes, model: Model, image: ir.Value, layer: LayerNodes | None = None) -> ir.Value:
    """The logits of an integer network, computed with integers; `layer` writes the nodes of layers in another way."""
    shapes = model.graph.shapes()
    tables = iter(model.tables)
    nodes.scope = nodes.scope_of(0, "image")
    values = [QuantisedValue(_entered(nodes, image, model.scales[0]), model.scales[0], shapes[0])]
    for index, op in enumerate(model.graph.ops):
        name = op.name if isinstance(op, Conv | Linear) else type(op).__name__
        nodes.scope = nodes.scope_of(index + 1, name)
        operands, target = [values[i] for i in op.inputs], model.scales[index + 1]
        if isinstance(op, Conv | Linear):
            held = model.weights[op.name]
            assert isinstance(held, IntegerWeights)
            y = (layer or integer_layer)(nodes, op, held, operands[0], target)
        elif isinstance(op, Activation):
            table = nodes.constant("table", np.frombuffer(next(tables), np.uint8))
            y = nodes("Gather", table, _cast(nodes, operands[0].tensor, np.int32))
        elif isinstance(op, MaxPool):
            # ONNX Runtime has a fast maximum of floats only.
            x = _cast(nodes, operands[0].tensor, np.float32)
            y = _cast(nodes, moved(nodes, op, [x], operands[0].shape), np.uint8)
        elif moves(op):
            halves = 1 + operands[0].scale.nine_bit
            y = moved(nodes, op, [v.tensor for v in operands], operands[0].shape, halves, np.uint8(0))
        else:
            y = _computed(nodes, op, operands, target)
        values.append(QuantisedValue(y, target, shapes[index + 1]))
    nodes.scope = ""
    return _left(nodes, values[-1])


def _entered(nodes: Nodes, image: ir.Value, scale: Scale) -> ir.Value:
    """A prepared image divided by its step, rounded to nearest, halves to even."""
    rounded = nodes("Round", nodes("Mul", image, nodes.constant("one_by_step", np.float32(step(-scale.exponent)))))
    low, high = (nodes.constant("limit", np.float32(n)) for n in (scale.low, scale.high))
    shifted = nodes("Add", nodes("Clip", rounded, low, high), nodes.constant("zero_point", np.float32(scale.zero)))
    return _cast(nodes, shifted, np.uint8)


def _left(nodes: Nodes, value: QuantisedValue) -> ir.Value:
    """The logits as floats: integers times one float32."""
    integers = nodes("Sub", _cast(nodes, value.tensor, nodes.numbers), _number(nodes, value.scale.zero))
    return nodes("Mul", _cast(nodes, integers, np.float32), nodes.constant("step", np.float32(value.scale.step)))


def integer_layer(nodes: Nodes, op: Conv | Linear, held: IntegerWeights, source: QuantisedValue,
                  target: Scale) -> ir.Value:  # fmt: skip
    """The result of a layer, computed with integers."""
    levels = held.weight.levels.astype(np.int64)
    rescalings = target.exponent - source.scale.exponent - held.weight.exponents.astype(np.int64)
    multipliers, shifts = np.array([factor(int(d)) for d in rescalings], np.int64).T
    biases = (held.bias.astype(np.int64) << (shifts - BIAS_BITS)) + (1 << (shifts - 1))
    if source.scale.nine_bit:
        levels = np.concatenate([levels, levels], axis=1)
    column: Shape = (-1, 1, 1) if isinstance(op, Conv) else (-1,)
    sums = _cast(nodes, integer_sums(nodes, op, levels, source), nodes.numbers)
    product = nodes("Mul", sums, _number(nodes, multipliers.reshape(column)))
    most = MOST_SUM * multipliers + np.abs(biases)
    return _shifted(nodes, product, biases.reshape(column), shifts.reshape(column), most.reshape(column), target)


def integer_sums(nodes: Nodes, op: Conv | Linear, levels: Integers, source: QuantisedValue) -> ir.Value:
    """The sums of products of a layer, as int32."""
    coded = (levels + MIDDLE).astype(np.uint8)
    ends = nodes.constant("zero_point", np.uint8(source.scale.zero)), nodes.constant("middle", np.uint8(MIDDLE))
    if isinstance(op, Linear):
        return nodes("MatMulInteger", source.tensor, nodes.constant("weight", np.ascontiguousarray(coded.T)), *ends)
    how = windows(op.kernel, op.stride, op.dilation, sides(op.padding))
    return nodes("ConvInteger", source.tensor, nodes.constant("weight", coded), *ends, group=op.groups, **how)


def _computed(nodes: Nodes, op: Op, operands: list[QuantisedValue], target: Scale) -> ir.Value:
    x, scale = operands[0].tensor, operands[0].scale
    match op:
        case ReLU():
            highest = min(scale.zero + cap_level(op.cap, scale) if op.cap else 255, 255)
            if scale.zero == 0 and highest == 255:
                return x
            limits = (nodes.constant("limit", np.uint8(n)) for n in (scale.zero, highest))
            return nodes("Clip", x, *limits)
        case Add():
            terms = []
            for value in operands:
                share = fraction(target.exponent - value.scale.exponent)
                terms.append(nodes("Mul", _centred(nodes, value), _number(nodes, share)))
            most = sum(fraction(target.exponent - value.scale.exponent) * 255 for value in operands)
            return _rounded(nodes, nodes("Add", *terms), most, target)
        case Multiply():
            multiplier, shift = factor(target.exponent - scale.exponent - operands[1].scale.exponent)
            product = nodes("Mul", nodes("Mul", *(_centred(nodes, v) for v in operands)), _number(nodes, multiplier))
            return _shifted(nodes, product, 1 << (shift - 1), shift, 255 * 255 * multiplier, target)
        case AvgPool():
            return _average(nodes, op, operands[0], target)
        case AdaptivePool():
            matrices = [adaptive_shares(n, count) for n, count in zip(operands[0].shape[1:], op.size, strict=True)]
            rows, columns = (np.ascontiguousarray(matrix > 0).astype(nodes.numbers) for matrix in matrices)
            counts = (rows.sum(1)[:, None] * columns.sum(1)).astype(np.int64)
            sums = nodes("MatMul", nodes.constant("rows", rows), _centred(nodes, operands[0]))
            sums = nodes("MatMul", sums, nodes.constant("columns", np.ascontiguousarray(columns.T)))
            return _mean(nodes, sums, counts, target)
        case GlobalAvgPool():
            axes = nodes.constant("axes", np.array([2, 3], np.int64))
            sums = nodes("ReduceSum", _centred(nodes, operands[0]), axes, keepdims=1)
            return _mean(nodes, sums, np.array(operands[0].shape[1] * operands[0].shape[2], np.int64), target)
    raise AssertionError(f"{type(op).__name__} has no integer form")


def _average(nodes: Nodes, op: AvgPool, value: QuantisedValue, target: Scale) -> ir.Value:
    """Sums over windows are a convolution of each channel with ones."""
    ones = nodes.constant("ones", np.full((value.shape[0], 1, *op.kernel), MIDDLE + 1, np.uint8))
    ends = nodes.constant("zero_point", np.uint8(value.scale.zero)), nodes.constant("middle", np.uint8(MIDDLE))
    how = windows(op.kernel, op.stride, op.dilation, reached(op, value.shape))
    sums = nodes("ConvInteger", value.tensor, ones, *ends, group=value.shape[0], **how)
    return _mean(nodes, _cast(nodes, sums, nodes.numbers), averaged(op, value.shape).astype(np.int64), target)


def _mean(nodes: Nodes, sums: ir.Value, counts: Integers, target: Scale) -> ir.Value:
    """`sums` divided by `counts`, by their rounded reciprocals in units of 2 ** -16."""
    shares = (65536 + counts // 2) // counts
    product = nodes("Mul", sums, _number(nodes, shares))
    most = int((255 * counts * shares).max())
    return _shifted(nodes, product, 128, 8, most, target) if target.wide else _rounded(nodes, product, most, target)


def _rounded(nodes: Nodes, x: ir.Value, most: int, target: Scale) -> ir.Value:
    """`x` in units of 2 ** -16, rounded to nearest, halves up."""
    return _shifted(nodes, x, 1 << 15, 16, most, target)


def _shifted(nodes: Nodes, x: ir.Value, added: Integers | int, shifts: Integers | int, most: Integers | int,
             target: Scale) -> ir.Value:  # fmt: skip
    """(x + added) >> shifts, limited to what `target` can hold; `most` is above every |x|."""
    added, shifts, most = (np.asarray(n, np.int64) for n in (added, shifts, most))
    if nodes.numbers is np.float64:  # exact: no number reaches 2 ** 53, and the divisor is a power of two
        share = nodes.constant("share", 2.0**-shifts)
        whole = nodes("Floor", nodes("Mul", nodes("Add", x, _number(nodes, added)), share))
        whole = nodes("Add", whole, _number(nodes, target.zero))
    else:
        quotient = (most >> shifts) + 2  # by which many divisors no x + added is below 0
        positive = nodes("Add", x, _number(nodes, added + (quotient << shifts)))
        whole = nodes("Div", positive, _number(nodes, np.int64(1) << shifts))
        whole = nodes("Sub", whole, _number(nodes, quotient - target.zero))
    low, high = (_number(nodes, n + target.zero) for n in (target.low, target.high))
    limited = nodes("Clip", whole, low, high)
    if target.wide:
        return limited
    if target.nine_bit:
        half, none = _number(nodes, HALF), _number(nodes, 0)
        upper = nodes("Max", nodes("Sub", limited, half), none)
        limited = nodes("Concat", nodes("Min", limited, half), upper, axis=1)
    return _cast(nodes, limited, np.uint8)


def _centred(nodes: Nodes, value: QuantisedValue) -> ir.Value:
    """q - zero as a number of 64 bits."""
    return nodes("Sub", _cast(nodes, value.tensor, nodes.numbers), _number(nodes, value.scale.zero))


def _number(nodes: Nodes, numbers: Integers | int) -> ir.Value:
    return nodes.constant("integers", np.asarray(numbers, nodes.numbers))


def _cast(nodes: Nodes, x: ir.Value, dtype: type[np.generic]) -> ir.Value:
    return nodes("Cast", x, to=ir.DataType.from_numpy(np.dtype(dtype)))
