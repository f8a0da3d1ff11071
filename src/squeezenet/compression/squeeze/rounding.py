"""From a float network to an integer one without training: rate-distortion optimal rounding against the coder's costs.

    >>> integer = round_network(network, images, scales, sensitivity, trade=1e-5)          # doctest: +SKIP

Every weight becomes the level that costs least: what its error does to the answers (the layer's input covariance times
the sensitivity of the output), plus `trade` nats for each bit of its code. Weights that follow in the same output take
over its error as the covariance says (optimal brain surgeon, Hassibi 1993; in this form GPTQ, Frantar et al. 2022).
Steps follow from the same trade, per output: where errors matter more, the grid is finer.
Layers are treated in the order they run, on inputs the layers before them have already changed.
"""

from collections.abc import Callable, Mapping, Sequence
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from squeezenet.compression.squeeze.network import DEAD, GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rate import level_bits
from squeezenet.fixed_point import EIGHTHS, MAX_DROP, MIN_DROP, Scale
from squeezenet.graph import Conv, Linear
from squeezenet.model import MAX_LEVEL
from squeezenet.models.network import Network

Doubles = NDArray[np.float64]
Solver = tuple[NDArray[np.int64], Doubles]

STEP = 12 / log(2)
"""step^2 = STEP * trade / curvature: where a finer grid's gain in distortion is worth just the bits it costs."""

GRAIN = 4
"""Steps of the outputs of one layer differ by multiples of half an octave: finer ones cost more than they bring."""

SPREAD = 16  # eighths between the finest or coarsest output of a layer and the middle one
DAMPING = 0.01
BLOCK = 1024  # inputs whose errors make up for each other; larger layers are several blocks
EDGE = 0.02  # of a step, that values keep from the edges of their cells
PASSES = 2  # rounding, and rounding again with the costs that the first came to


@torch.no_grad()
def round_network(
    network: Network,
    images: Tensor,
    scales: Sequence[Scale],
    sensitivity: Mapping[str, Tensor],
    trade: float,
    tick: Callable[[], object] = lambda: None,
) -> IntegerNetwork:
    """The integer network that costs least. `images` (N, C, H, W) are prepared; a few dozen are enough.

    `trade` is in nats of divergence an image per bit of the file. `tick` is called once a layer.
    """
    graph = network.graph
    weights = {
        op.name: GridWeight(torch.zeros_like(network.weight(op.name)()), torch.zeros(op.out, dtype=torch.long))
        for op in graph.layers
    }
    biases = {op.name: torch.zeros(op.out) for op in graph.layers}
    integer = IntegerNetwork(graph, scales, weights, biases)
    last = graph.last_use()
    exact: list[Tensor | None] = [images]
    changed: list[Tensor | None] = [integer.enter(images)]
    for index, op in enumerate(graph.ops):
        before = [value for i in op.inputs if (value := exact[i]) is not None]
        after = [value for i in op.inputs if (value := changed[i]) is not None]
        exact.append(network.apply_op(op, before))
        if isinstance(op, Conv | Linear):
            source, target = scales[op.inputs[0]], scales[index + 1]
            weight = network.weight(op.name)().detach() * source.step  # of inputs in whole steps
            steps, exponents = _round_layer(op, weight, after[0], sensitivity[op.name].numpy(), trade, source, target)
            integer.replace_weight(op.name, GridWeight(steps, exponents))
            goal = exact[-1]
            assert goal is not None
            axes = [0, *range(2, goal.dim())]
            sums = integer.sums(op, after[0]).float().mean(axes) * integer.factor(op)
            integer.bias(op.name).copy_(goal.mean(axes) / target.step - sums)
            tick()
        changed.append(integer.apply_op(op, after))
        for i in op.inputs:
            if last[i] == index:
                exact[i] = changed[i] = None
    return integer


def _round_layer(
    op: Conv | Linear, weight: Tensor, inputs: Tensor, minds: Doubles, trade: float, source: Scale, target: Scale
) -> tuple[Tensor, Tensor]:
    """The weight in steps, each within the cell of its level, and the exponent of each output's step."""
    rows = weight.reshape(len(weight), -1).double().numpy()
    groups = op.groups if isinstance(op, Conv) else 1
    size, per_group = rows.shape[1], len(rows) // groups
    blocks = [slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK)]
    solvers = [[_solver(_covariance(op, inputs, group, groups, block)) for block in blocks] for group in range(groups)]
    # The mean of what is left of an error that all later weights make up for.
    curvature = np.array([np.exp(np.mean([-2 * np.log(np.diag(f)).mean() for _, f in each])) for each in solvers])
    exponents = _exponents(minds * np.repeat(curvature, per_group), trade)
    # The steps here are of weights times the source's step; both ends must be within reach of one shift.
    largest = np.maximum(np.abs(rows).max(1), 1e-30) / MAX_LEVEL
    exponents = np.maximum(exponents, np.ceil(EIGHTHS * np.log2(largest)))
    exponents = np.clip(exponents, target.exponent - MAX_DROP, target.exponent - MIN_DROP)
    unit = 2.0 ** (exponents / EIGHTHS)
    steps = np.clip(rows / unit[:, None], -MAX_LEVEL, MAX_LEVEL)
    for _ in range(PASSES):
        costs = trade * level_bits(torch.from_numpy(np.rint(steps))).double().numpy()
        for group, per_block in enumerate(solvers):
            outputs = slice(group * per_group, (group + 1) * per_group)
            for block, solver in zip(blocks, per_block, strict=True):
                gain = minds[outputs] * unit[outputs] ** 2 / 2
                steps[outputs, block] = _round_rows(rows[outputs, block] / unit[outputs, None], gain, solver, costs)
    exponents = exponents - source.exponent
    return torch.from_numpy(steps).float().reshape(weight.shape), torch.from_numpy(exponents.astype(np.int64))


def _exponents(curvature: Doubles, trade: float) -> Doubles:
    """Eighths of an octave: the step of each output, by what its errors cost."""
    ideal = EIGHTHS / 2 * np.log2(STEP * trade / np.maximum(curvature, 1e-30))
    middle = np.median(ideal)
    return np.rint(np.clip(ideal, middle - SPREAD, middle + SPREAD) / GRAIN) * GRAIN


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


def _solver(covariance: Doubles) -> Solver:
    """An order of the inputs, and the upper Cholesky factor of the inverse: how later weights make up for earlier."""
    order = np.argsort(-np.diag(covariance), kind="stable")  # what matters most has most left to make up for it
    covariance = covariance[np.ix_(order, order)]
    damped = covariance + np.eye(len(covariance)) * (DAMPING * np.trace(covariance) / len(covariance) + 1e-6)
    # chol(inverse(M)).T without the unstable inverse of M: factor M backwards and invert the triangle.
    return order, np.linalg.inv(np.linalg.cholesky(damped[::-1, ::-1]))[::-1, ::-1]


def _covariance(op: Conv | Linear, inputs: Tensor, group: int, groups: int, block: slice) -> Doubles:
    """Of the values `block` that one output of the layer reads, in whole steps, over all positions of all images."""
    product, sums, count = torch.zeros(()), torch.zeros(()), 0
    for image in inputs.split(8):
        patches = image.float()
        if isinstance(op, Conv):
            part = patches.chunk(groups, 1)[group]
            patches = F.unfold(part, op.kernel, padding=op.padding, stride=op.stride).transpose(1, 2).flatten(0, 1)
        patches = patches[:, block]
        product = product + (patches.T @ patches).double()
        sums = sums + patches.sum(0, dtype=torch.double)
        count += len(patches)
    return (product / count - torch.outer(sums, sums) / count**2).numpy()
