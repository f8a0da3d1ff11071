"""What a network takes of the memory on an FPGA, by arithmetic, and what well-known parts have.

>>> demand(model, coded=8 * 340_000).lines                                                 # doctest: +SKIP
701184

A design by rows is assumed, as `export --to rtl` makes it: of the input of each window only the rows that it still
needs are held; a sum holds rows of the branch that arrives first; an output channel has one accumulator.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np

from squeezenet import sqz
from squeezenet.export.c.fit import GEOMETRY
from squeezenet.export.rtl.parts import Part
from squeezenet.export.targets import largest_sums
from squeezenet.graph import Add, Conv, Linear, Multiply, Window, sides
from squeezenet.model import IntegerWeights, Model
from squeezenet.runtime.engine import row_plan


@dataclass(frozen=True)
class Demand:
    """Bits of each kind of memory, and work for an image."""

    coded: int
    """Of weights, biases and scales as the file has them."""
    decoded: int
    """Of the weights: all with the bits of the largest level of their layer, or a list of those that are not 0."""
    rows: int
    """Of the rows of all values, if one layer after the other computes a row."""
    lines: int
    """Of the rows before each window, if all layers work at once."""
    accumulators: int
    products: int
    """Multiplications by weights that are not 0."""
    decisions: int
    """Bits that an adaptive decoder decides for an image, if each layer decodes its weights again for each row."""


def sized(model: Model, side: int) -> Model:
    """The network for images of another size."""
    graph = replace(model.graph, input_shape=(model.graph.input_shape[0], side, side))
    return replace(model, graph=graph, preparation=replace(model.preparation, resize=side, crop=side))


def demand(model: Model, coded: int) -> Demand:
    """What an integer network needs, whose layers take `coded` bits of its file."""
    shapes = model.graph.shapes()
    decoded = products = decisions = accumulators = 0
    for index, op in enumerate(model.graph.ops):
        if not isinstance(op, Conv | Linear):
            continue
        held = model.weights[op.name]
        assert isinstance(held, IntegerWeights)
        levels = held.weight.levels
        kept, shape = int(np.count_nonzero(levels)), (*shapes[index + 1], 1, 1)
        bits = int(np.abs(levels).max()).bit_length() + 1
        position = ceil(np.log2(max(2, levels[0].size)))
        decoded += min(levels.size * bits, kept * (bits + position + 1))
        products += kept * prod(shape[1:3])
        lengths = np.frexp(np.abs(levels[levels != 0]).astype(np.float64))[1]
        decisions += (levels.size + 2 * int(lengths.sum())) * shape[1]
        sums = largest_sums(model, op, model.scales[op.inputs[0]], model.scales[index + 1])
        accumulators += op.out * (1 + ceil(np.log2(sums.max() + 1)))
    rows = 8 * int(row_plan(sqz.encode(model), GEOMETRY["small"], 0, 0)["memory"]["values"])
    return Demand(coded, decoded, rows, sum(lines(model)), accumulators, products, decisions)


def lines(model: Model) -> Iterator[int]:
    """Bits of the rows that are held before each operation that needs some."""
    graph = model.graph
    shapes, late = graph.shapes(), [0]  # by how many of its rows each value is behind the image
    for op in graph.ops:
        behind = [late[i] for i in op.inputs]
        if isinstance(op, Window):
            top, ahead = sides(op.padding)[0], (op.kernel[0] - 1) * op.dilation[0]
            late.append(ceil((behind[0] + ahead - top) / op.stride[0]))
            yield (ahead + 1) * _row(model, op.inputs[0]) if ahead else 0
        else:
            late.append(max(behind))
            if isinstance(op, Add | Multiply) and len(shapes[op.inputs[0]]) == 3:
                yield sum((max(behind) - late_) * _row(model, i) for i, late_ in zip(op.inputs, behind, strict=True))


def _row(model: Model, value: int) -> int:
    """Bits of a row of a value."""
    channels, _, width = (*model.graph.shapes()[value], 1, 1)[:3]
    return channels * width * (8 + model.scales[value].nine_bit)


def fitting(needs: Demand, part: Part) -> str:
    """How the network may lie in the memories of a part: `decoded`, `coded`, or `-` for not at all."""
    if needs.decoded + needs.lines + needs.accumulators <= part.memory_bits:
        return "decoded"
    return "coded" if needs.coded + needs.rows <= part.memory_bits else "-"
