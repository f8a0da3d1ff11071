"""An integer network in the fastest operations of ONNX Runtime that give the same logits, bit for bit.

Each output of a convolution is computed in one of two ways:

- between conversions from and to 8 bits (QDQ). ONNX Runtime makes an 8-bit kernel of these nodes, the fastest one that
  it has. This is possible for outputs whose int32 bias and float32 step can be chosen so that the kernel gives the
  integers of the format for every input (`staircase.fused`);
- otherwise by ConvInteger, whose sums QuantizeLinear divides and rounds. Here the bias is a float, and as fine as
  needed (`staircase.divided`). This takes about twice the time.

All other operations are those of `exact.py`.
"""

import numpy as np
import onnx_ir as ir

from squeezenet.export.onnx.exact import QuantisedValue, exact_network, integer_layer, integer_sums
from squeezenet.export.onnx.moving import windows
from squeezenet.export.onnx.nodes import Nodes
from squeezenet.export.onnx.staircase import Divided, Fused, divided, fused, staircases
from squeezenet.fixed_point import Integers, Scale
from squeezenet.graph import Conv, Linear, Shape, sides
from squeezenet.model import IntegerWeights, Model

FEW = 1 / 2
"""If a smaller share of the outputs of a layer can have the fastest kernel, none gets it."""


def mixed_network(nodes: Nodes, model: Model, image: ir.Value) -> ir.Value:
    """The logits of an integer network, bit for bit."""
    return exact_network(nodes, model, image, _layer)


def _layer(nodes: Nodes, op: Conv | Linear, held: IntegerWeights, source: QuantisedValue, target: Scale) -> ir.Value:
    """The result of a layer as unsigned bytes, or as int64 if it is wide."""
    if target.wide:
        return integer_layer(nodes, op, held, source, target)
    levels, halves = held.weight.levels.astype(np.int64), staircases(held, source.scale, target)
    paired = levels
    if source.scale.nine_bit and levels.shape[1] == 1:  # a level and itself, for the other half, may be a pair
        paired = np.concatenate([levels, levels], axis=1)
    kernels = [fused(half, paired, np.float32(source.scale.step), np.float32(target.step)) for half in halves]
    found = np.logical_and.reduce([kernel.finer > 0 for kernel in kernels])
    if isinstance(op, Linear) or found.mean() < FEW or (op.groups > 1 and not found.all()):
        found[:] = False
    quick, rest = np.flatnonzero(found), np.flatnonzero(~found)
    divisions = [divided(half.rows(rest)) for half in halves]
    if source.scale.nine_bit:
        levels = np.concatenate([levels, levels], axis=1)
    results = []
    if len(quick):
        assert isinstance(op, Conv)
        x = nodes("DequantizeLinear", source.tensor, *_ends(nodes, source.scale))
        results += [_quick(nodes, op, levels[quick], each.rows(quick), x, source.scale, target) for each in kernels]
    if len(rest):
        sums = nodes("Cast", integer_sums(nodes, op, levels[rest], source), to=ir.DataType.FLOAT)
        for division in divisions:
            if division is None:
                return integer_layer(nodes, op, held, source, target)
            results.append(_divided(nodes, sums, division, target, (-1, 1, 1) if isinstance(op, Conv) else (-1,)))
    if len(results) == 1:
        return results[0]
    # The order of channels in `results`: the halves of `quick`, then the halves of `rest`.
    places = [half * op.out + part for part in (quick, rest) for half in range(len(halves))]
    return _ordered(nodes, nodes("Concat", *results, axis=1), np.argsort(np.concatenate(places)))


def _ordered(nodes: Nodes, x: ir.Value, order: Integers) -> ir.Value:
    """The channels of `x` in another order: runs of neighbours are cut out and joined.

    The node Gather would be simpler, but OpenVINO 2026.4 gives wrong channels if it reads bytes.
    """
    if (order == np.arange(len(order))).all():
        return x
    starts = np.flatnonzero(np.diff(order, prepend=-2) != 1)  # of runs in the result
    runs = np.stack([order[starts], np.diff(starts, append=len(order))], 1)  # (runs, first and length in x)
    place = np.argsort(runs[:, 0])
    pieces = nodes.pieces(x, runs[place, 1])
    return nodes("Concat", *(pieces[i] for i in np.argsort(place)), axis=1)


def _ends(nodes: Nodes, scale: Scale) -> tuple[ir.Value, ir.Value]:
    return nodes.constant("scale", np.float32(scale.step)), nodes.constant("zero_point", np.uint8(scale.zero))


def _quick(nodes: Nodes, op: Conv, levels: Integers, kernel: Fused, x: ir.Value, source: Scale,
           target: Scale) -> ir.Value:  # fmt: skip
    """A convolution between conversions from and to 8 bits."""
    zeros = nodes.constant("zero_points", np.zeros(len(levels), np.int8))
    scaled = (levels * kernel.finer.reshape(-1, 1, 1, 1)).astype(np.int8)
    steps = nodes.constant("weight_scale", kernel.steps)
    weight = nodes("DequantizeLinear", nodes.constant("weight", scaled), steps, zeros, axis=0)
    steps = nodes.constant("bias_scale", kernel.steps * np.float32(source.step))
    zeros = nodes.constant("zero_points", np.zeros(len(levels), np.int32))
    bias = nodes("DequantizeLinear", nodes.constant("bias", kernel.bias.astype(np.int32)), steps, zeros, axis=0)
    how = windows(op.kernel, op.stride, op.dilation, sides(op.padding))
    y = nodes("Conv", x, weight, bias, group=op.groups, **how)
    return nodes("QuantizeLinear", y, *_ends(nodes, target))


def _divided(nodes: Nodes, sums: ir.Value, division: Divided, target: Scale, column: Shape) -> ir.Value:
    """Sums as floats, divided and rounded to 8 bits. `column` is the shape of an array of one element per output."""
    y = nodes("Add", sums, nodes.constant("bias", division.bias.reshape(column)))
    zeros = nodes.constant("zero_points", np.full(len(division.bias), target.zero, np.uint8))
    return nodes("QuantizeLinear", y, nodes.constant("divisors", division.divisors), zeros, axis=1)
