"""From a float network to an integer one without training: rate-distortion optimal rounding against the coder's costs.

    >>> integer = round_network(network, scales, curvature, trade=1e-5)                    # doctest: +SKIP

Every weight becomes the level that costs least: what its error does to the answers (`curvature`), plus `trade` nats for
each bit of its code. Weights that follow in the same output take over its error as the covariance of their inputs says
(optimal brain surgeon, Hassibi 1993; in this form GPTQ, Frantar et al. 2022); then each is looked at again with all
others where they are (coordinate descent, as in QuantEase, Behdin et al. 2023). The step of a layer follows from the
same trade: where errors matter more, the grid is finer.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log

import numpy as np
import torch
from torch import Tensor

from squeezenet.compression.squeeze.curvature import Block, Curvature, Doubles, blocks_of
from squeezenet.compression.squeeze.network import DEAD, GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rate import level_bits
from squeezenet.fixed_point import EIGHTHS, MAX_RESCALING, MIN_RESCALING, Scale
from squeezenet.graph import Layer
from squeezenet.model import MAX_LEVEL
from squeezenet.models.network import Network

STEP = 12 / log(2)
"""step^2 = STEP * trade / curvature: where a finer grid's gain in distortion is worth just the bits it costs."""

GRAIN = 4
"""Steps of the groups of one layer differ by multiples of half an octave: finer ones cost more than they bring."""

SPREAD = 16  # eighths between the finest or coarsest group of a layer and the middle one
EDGE = 0.02  # of a step, that values keep from the edges of their cells
RUN = 48  # neighbouring inputs, see `_runs`; 32 to 96 are as fast
SWEEPS = 2
"""Of coordinate descent, each with the costs that the one before came to. On a VGG at 160 kB the first takes a third of
the divergence."""


@torch.no_grad()
def round_network(
    network: Network,
    scales: Sequence[Scale],
    curvature: Mapping[str, Curvature],
    trade: float,
    tick: Callable[[], object] = lambda: None,
) -> IntegerNetwork:
    """The integer network that costs least, with the biases of the float one.

    `trade` is in nats of divergence an image per bit of the file. `tick` is called once a layer.
    """
    weights: dict[str, GridWeight] = {}
    biases: dict[str, Tensor] = {}
    for index, op in enumerate(network.graph.ops):
        if isinstance(op, Layer):
            weight, gap = network.weight(op.name)().detach(), scales[index + 1].exponent - scales[op.inputs[0]].exponent
            weights[op.name] = round_layer(weight, curvature[op.name], trade, gap)
            biases[op.name] = network.bias(op.name).detach() / scales[index + 1].step
            tick()
    return IntegerNetwork(network.graph, scales, weights, biases)


def round_layer(weight: Tensor, curvature: Curvature, trade: float, gap: int) -> GridWeight:
    """One layer's `weight` (out, in, ...), by the same trade.

    `gap` is the exponent of the output less that of the input: both must be within reach of one shift.
    """
    rows = weight.reshape(len(weight), -1).double().numpy()
    per_group = len(rows) // len(curvature.blocks)
    exponents = _exponents(curvature.importance * curvature.left, trade).repeat(per_group)
    largest = np.maximum(np.abs(rows).max(1), 1e-30) / MAX_LEVEL
    exponents = np.maximum(exponents, np.ceil(EIGHTHS * np.log2(largest)))
    exponents = np.clip(exponents, gap - MAX_RESCALING, gap - MIN_RESCALING)
    unit = 2.0 ** (exponents / EIGHTHS)
    wanted = rows / unit[:, None]
    gain = curvature.importance * unit**2 / 2
    parts = [
        (slice(group * per_group, (group + 1) * per_group), inputs, block)
        for group, per_block in enumerate(curvature.blocks)
        for inputs, block in zip(blocks_of(rows.shape[1]), per_block, strict=True)
    ]
    levels = np.rint(np.clip(wanted, -MAX_LEVEL, MAX_LEVEL))
    costs = _costs(levels, trade)
    for outputs, inputs, block in parts:
        levels[outputs, inputs] = _round(wanted[outputs, inputs], gain[outputs], block, costs)
    values = levels.copy()
    for _ in range(SWEEPS):
        costs = _costs(levels, trade)
        for outputs, inputs, block in parts:
            levels[outputs, inputs], values[outputs, inputs] = _descend(
                levels[outputs, inputs], wanted[outputs, inputs], gain[outputs], block, costs
            )
    # Learning goes on from values: were all of them whole, none would change for a while and then many at once.
    steps = torch.from_numpy(_within(values, levels)).float().reshape(weight.shape)
    return GridWeight(steps, torch.from_numpy(exponents.astype(np.int64)))


def _exponents(curvature: Doubles, trade: float) -> Doubles:
    """Eighths of an octave: the step of each group, by what its errors cost."""
    ideal = EIGHTHS / 2 * np.log2(STEP * trade / np.maximum(curvature, 1e-30))
    middle = np.rint(np.median(ideal))
    chosen: Doubles = middle + np.rint(np.clip(ideal - middle, -SPREAD, SPREAD) / GRAIN) * GRAIN
    return chosen


def _costs(levels: Doubles, trade: float) -> Doubles:
    """Nats of a level, by its magnitude."""
    return trade * level_bits(torch.from_numpy(levels)).double().numpy()


def _round(wanted: Doubles, gain: Doubles, block: Block, costs: Doubles) -> Doubles:
    """The levels of `wanted` (outputs, inputs), given in steps: one input after the other, later ones making up.

    `gain` is what a squared error of a step costs, by output.
    """
    factor, rows = block.factor, _ordered(wanted, block)  # (inputs, outputs)
    levels, errors = np.empty_like(rows), np.empty_like(rows)
    for near in _runs(len(rows)):
        for i in range(near.start, near.stop):
            levels[i] = _cheapest(rows[i], gain / factor[i, i] ** 2, costs)
            errors[i] = (rows[i] - levels[i]) / factor[i, i]
            rows[i + 1 : near.stop] -= factor[i, i + 1 : near.stop, None] * errors[i]
        rows[near.stop :] -= factor[near, near.stop :].T @ errors[near]
    return _back(levels, block)


def _descend(levels: Doubles, wanted: Doubles, gain: Doubles, block: Block, costs: Doubles) -> tuple[Doubles, Doubles]:
    """Each input's level again, given all others: the levels, and the values that they were rounded from."""
    before, covariance = _ordered(levels, block), block.covariance  # (inputs, outputs)
    levels, values, slope = before.copy(), np.empty_like(before), covariance.T @ (before - _ordered(wanted, block))
    for near in _runs(len(levels)):
        for i in range(near.start, near.stop):
            values[i] = before[i] - slope[i] / covariance[i, i]
            levels[i] = _cheapest(values[i], gain * covariance[i, i], costs)
            change = levels[i] - before[i]
            moved = change.nonzero()[0]
            slope[i + 1 : near.stop, moved] += covariance[i, i + 1 : near.stop, None] * change[moved]
        slope[near.stop :] += covariance[near, near.stop :].T @ (levels[near] - before[near])
    return _back(levels, block), _back(values, block)


def _runs(inputs: int) -> list[slice]:
    """What an input changes is added up one by one for its neighbours, all at once for those after them."""
    return [slice(start, min(start + RUN, inputs)) for start in range(0, inputs, RUN)]


def _cheapest(value: Doubles, scale: Doubles, costs: Doubles) -> Doubles:
    """Of 0 and the levels around `value`, the one whose squared error (times `scale`) and bits cost least."""
    size = np.minimum(np.abs(value), len(costs) - 1)
    lower = size.astype(np.intp)
    upper = lower + (lower < size)
    best = scale * size**2 + costs[0]
    below = scale * (size - lower) ** 2 + costs.take(lower)
    above = scale * (size - upper) ** 2 + costs.take(upper)
    chosen = np.where(below < best, lower, 0)
    chosen = np.where(above < np.minimum(below, best), upper, chosen)
    return np.copysign(chosen, value)


def _within(value: Doubles, level: Doubles) -> Doubles:
    """`value`, or what is nearest to it in the cell of `level`."""
    outer = np.where(level == 0, DEAD - EDGE, 0.5 - EDGE)
    inner = np.where(np.abs(level) == 1, 1 - DEAD - EDGE, outer)  # towards zero, where the cell of 0 is wider
    away = np.clip((value - level) * np.sign(level), -inner, outer) * np.sign(level)
    return level + np.where(level == 0, np.clip(value, -outer, outer), away)


def _ordered(rows: Doubles, block: Block) -> Doubles:
    """(outputs, inputs) -> (inputs, outputs), the inputs in the order of `block`."""
    return np.ascontiguousarray(rows.T[block.order])


def _back(ordered: Doubles, block: Block) -> Doubles:
    """What `_ordered` was given."""
    rows = np.empty(ordered.shape[::-1])
    rows[:, block.order] = ordered.T
    return rows
