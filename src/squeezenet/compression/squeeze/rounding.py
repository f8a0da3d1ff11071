"""From a float network to an integer one without training: rate-distortion optimal rounding against the coder's costs.

    >>> integer = round_network(network, scales, curvature, trade=1e-5)                    # doctest: +SKIP
    >>> correct_biases(integer, network, images)                                           # doctest: +SKIP

Every weight becomes the level that costs least: what its error does to the answers (`curvature`), plus `trade` nats for
each bit of its code. Weights that follow in the same output take over its error as the covariance of their inputs says
(optimal brain surgeon, Hassibi 1993; in this form GPTQ, Frantar et al. 2022). Steps follow from the same trade, per
output: where errors matter more, the grid is finer.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log

import numpy as np
import torch
from torch import Tensor

from squeezenet.compression.squeeze.curvature import Curvature, Doubles, Solver, blocks
from squeezenet.compression.squeeze.network import DEAD, GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rate import level_bits
from squeezenet.fixed_point import EIGHTHS, MAX_DROP, MIN_DROP, Scale
from squeezenet.graph import Layer
from squeezenet.model import MAX_LEVEL
from squeezenet.models.network import Network

STEP = 12 / log(2)
"""step^2 = STEP * trade / curvature: where a finer grid's gain in distortion is worth just the bits it costs."""

GRAIN = 4
"""Steps of the outputs of one layer differ by multiples of half an octave: finer ones cost more than they bring."""

SPREAD = 16  # eighths between the finest or coarsest output of a layer and the middle one
EDGE = 0.02  # of a step, that values keep from the edges of their cells
PASSES = 2  # rounding, and rounding again with the costs that the first came to
BATCH = 8


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
            weights[op.name] = _round_layer(weight, curvature[op.name], trade, gap)
            biases[op.name] = network.bias(op.name).detach() / scales[index + 1].step
            tick()
    return IntegerNetwork(network.graph, scales, weights, biases)


@torch.no_grad()
def correct_biases(integer: IntegerNetwork, network: Network, images: Tensor, share: float = 1.0) -> None:
    """Give every output of every layer the mean it has in `network`, over `images` (N, C, H, W), prepared.

    With a `share` below 1, biases go only so far from what they are.

    Layers are treated in the order they run, on inputs the layers before them have already changed.
    """
    graph, scales, last = network.graph, integer.scales, network.graph.last_use()
    # A batch at a time: values of all images at once are slow to get memory for.
    exact = [list(images.split(BATCH))]
    changed = [[integer.enter(batch) for batch in exact[0]]]
    for index, op in enumerate(graph.ops):
        before = [list(batch) for batch in zip(*(exact[i] for i in op.inputs), strict=True)]
        after = [list(batch) for batch in zip(*(changed[i] for i in op.inputs), strict=True)]
        exact.append([network.apply_op(op, batch) for batch in before])
        if isinstance(op, Layer):
            goal = _means(exact[-1]) / scales[index + 1].step
            sums = _means([integer.sums(op, batch[0]).float() for batch in after])
            integer.bias(op.name).lerp_(goal - sums * integer.factor(op), share)
        changed.append([integer.apply_op(op, batch) for batch in after])
        for i in op.inputs:
            if last[i] == index:
                exact[i], changed[i] = [], []


def _means(batches: Sequence[Tensor]) -> Tensor:
    """Of each channel, over all images and positions."""
    axes = [0, *range(2, batches[0].dim())]
    total: Tensor = sum((batch.mean(axes) * len(batch) for batch in batches), torch.zeros(()))
    return total / sum(len(batch) for batch in batches)


def _round_layer(weight: Tensor, curvature: Curvature, trade: float, gap: int) -> GridWeight:
    """`gap` is the exponent of the output less that of the input: both must be within reach of one shift."""
    rows, minds, solvers = weight.reshape(len(weight), -1).double().numpy(), curvature.outputs, curvature.solvers
    per_group = len(rows) // len(solvers)
    exponents = _exponents(minds * curvature.left, trade)
    largest = np.maximum(np.abs(rows).max(1), 1e-30) / MAX_LEVEL
    exponents = np.maximum(exponents, np.ceil(EIGHTHS * np.log2(largest)))
    exponents = np.clip(exponents, gap - MAX_DROP, gap - MIN_DROP)
    unit = 2.0 ** (exponents / EIGHTHS)
    steps = np.clip(rows / unit[:, None], -MAX_LEVEL, MAX_LEVEL)
    for _ in range(PASSES):
        costs = trade * level_bits(torch.from_numpy(np.rint(steps))).double().numpy()
        for group, per_block in enumerate(solvers):
            outputs = slice(group * per_group, (group + 1) * per_group)
            for block, solver in zip(blocks(rows.shape[1]), per_block, strict=True):
                gain = minds[outputs] * unit[outputs] ** 2 / 2
                steps[outputs, block] = _round_rows(rows[outputs, block] / unit[outputs, None], gain, solver, costs)
    return GridWeight(
        torch.from_numpy(steps).float().reshape(weight.shape), torch.from_numpy(exponents.astype(np.int64))
    )


def _exponents(curvature: Doubles, trade: float) -> Doubles:
    """Eighths of an octave: the step of each output, by what its errors cost."""
    ideal = EIGHTHS / 2 * np.log2(STEP * trade / np.maximum(curvature, 1e-30))
    middle = np.rint(np.median(ideal))
    return middle + np.rint(np.clip(ideal - middle, -SPREAD, SPREAD) / GRAIN) * GRAIN


def _round_rows(rows: Doubles, gain: Doubles, solver: Solver, costs: Doubles) -> Doubles:
    """The levels of `rows` (outputs, inputs), given in steps, each with as much of its value as rounds to it.

    `gain` is what a squared error of a step costs, by output. Learning goes on from the values: were all of them whole,
    none would change for a while and then many at once.
    """
    order, factor = solver
    rows = rows[:, order].copy()
    steps = np.empty_like(rows)
    top = len(costs) - 1
    for i in range(rows.shape[1]):
        value = np.clip(rows[:, i], -top, top)
        size = np.abs(value)
        lower = np.floor(size)
        scale = gain / factor[i, i] ** 2
        best, chosen = scale * size**2 + costs[0], np.zeros_like(value)
        for candidate in (lower, np.minimum(lower + 1, top)):
            cost = scale * (size - candidate) ** 2 + costs[candidate.astype(np.int64)]
            chosen = np.where(cost < best, candidate, chosen)
            best = np.minimum(cost, best)
        chosen = np.copysign(chosen, value)
        room = np.where(chosen == 0, DEAD - EDGE, 0.5 - EDGE)
        inner = np.where(np.abs(chosen) == 1, 1 - DEAD - EDGE, room)  # towards zero, where the cell of 0 is wider
        away = (value - chosen) * np.sign(chosen)
        steps[:, i] = chosen + np.where(
            chosen == 0, np.clip(value, -room, room), np.sign(chosen) * np.clip(away, -inner, room)
        )
        error = (rows[:, i] - chosen) / factor[i, i]
        rows[:, i + 1 :] -= error[:, None] * factor[i, i + 1 :]
    back = np.empty_like(steps)
    back[:, order] = steps
    return back
