"""From a float network to an integer network without training, by rate-distortion optimal rounding.

    >>> integer = round_network(network, scales, hessians, multiplier=1e-5)                # doctest: +SKIP

Each weight becomes the level that minimises

    divergence + multiplier * bits

The divergence is in nats per image, by the second derivatives of `hessian`; the bits are those of `rate`. The Lagrange
multiplier (lambda, in nats per bit) says how much divergence one bit in the file is worth: a larger one gives a smaller
file. It also sets the step of each layer's grid of levels: where errors cost more, the step is smaller.

The weights of one output are rounded one after another, and those that follow compensate for the error, by the
covariance of their inputs (GPTQ, Frantar et al. 2022, 2210.17323, after the optimal brain surgeon, Hassibi 1993). Then
each level is chosen again, given all others (coordinate descent, as in QuantEase, Behdin et al. 2023, 2309.01885).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor

from squeezenet.compression.squeeze.hessian import Block, Doubles, LayerHessian, blocks_of
from squeezenet.compression.squeeze.network import DEAD, GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rate import CLASSES, change_bits, level_bits
from squeezenet.fixed_point import EIGHTHS, MAX_RESCALING, MIN_RESCALING, Scale
from squeezenet.graph import Layer
from squeezenet.model import MAX_LEVEL
from squeezenet.models.network import Network
from squeezenet.training.surroundings import computing_threads

try:
    from squeezenet._workshop import round_inputs
except ImportError:  # there was no compiler
    HAS_ENGINE = False
else:
    HAS_ENGINE = True

STEP = 12 / log(2)
"""step^2 = STEP * multiplier / h, for second derivative h: at this step, halving it gains what the extra bits cost.

Rounding to steps of s is an error of variance s^2 / 12, so a divergence of h * s^2 / 24. Its derivative by log2(s),
h * s^2 * log(2) / 12, equals `multiplier`, because halving s adds one bit.
"""

GRAIN = 4  # steps of the groups of one layer differ by half octaves: finer differences cost more bits than they save
SPREAD = 16  # eighths of an octave between the median step of a layer's groups and the finest or coarsest
EDGE = 0.02  # least distance, in steps, of a value from the boundary between two levels
RUN = 48  # inputs in a slice (`_runs`); 12 to 96 are as fast
NEAR_SWEEPS = 3  # the same from the levels of an older file
SWEEPS = 2  # of coordinate descent; each uses the bits of the levels that the one before chose


@torch.no_grad()
def round_network(
    network: Network,
    scales: Sequence[Scale],
    hessians: Mapping[str, LayerHessian],
    multiplier: float,
    tick: Callable[[], object] = lambda: None,
    grain: int = 1,
) -> IntegerNetwork:
    """The integer network of least divergence + multiplier * bits, with the biases of the float network.

    `scales` are those of the image and of all outputs. `multiplier` is in nats per image and bit. `tick` is called once
    a layer. The exponents of the weights are multiples of `grain`, as those of the scales must be.
    """
    weights: dict[str, GridWeight] = {}
    biases: dict[str, Tensor] = {}
    for index, op in enumerate(network.graph.ops):
        if isinstance(op, Layer):
            weight, gap = network.weight(op.name)().detach(), scales[index + 1].exponent - scales[op.inputs[0]].exponent
            weights[op.name] = round_layer(weight, hessians[op.name], multiplier, gap, grain)
            biases[op.name] = network.bias(op.name).detach() / scales[index + 1].step
            tick()
    return IntegerNetwork(network.graph, scales, weights, biases)


def round_layer(weight: Tensor, hessian: LayerHessian, multiplier: float, gap: int, grain: int = 1) -> GridWeight:
    """The rounded `weight` (out, in, ...) of one layer.

    `gap` is the exponent of the output's scale less that of the input's. It limits the exponents of the weight: the
    rescaling exponent, gap - exponent, must be one that the format allows. Like `gap`, the exponents are multiples of
    `grain`.
    """
    with computing_threads(1):  # more lose more time on products as small as these than they save
        return _round_layer(weight, hessian, multiplier, gap, grain)


def _round_layer(weight: Tensor, hessian: LayerHessian, multiplier: float, gap: int, grain: int) -> GridWeight:
    rows = weight.reshape(len(weight), -1).double().numpy()
    per_group = len(rows) // len(hessian.blocks)
    exponents = _exponents(hessian.importance * hessian.residual_variance, multiplier, grain).repeat(per_group)
    largest = np.maximum(np.abs(rows).max(1), 1e-30) / MAX_LEVEL
    exponents = np.maximum(exponents, grain * np.ceil(EIGHTHS / grain * np.log2(largest)))
    exponents = np.clip(exponents, gap - MAX_RESCALING, gap - MIN_RESCALING)
    wanted = rows / 2.0 ** (exponents / EIGHTHS)[:, None]
    gain = _gain(hessian, exponents)
    levels = np.rint(np.clip(wanted, -MAX_LEVEL, MAX_LEVEL))
    costs = _costs(levels, multiplier)
    for outputs, inputs, block in _parts(hessian, levels):
        levels[outputs, inputs] = _round(wanted[outputs, inputs], gain[outputs], block, costs)
    values = levels.copy()
    for _ in range(SWEEPS):
        costs = _costs(levels, multiplier)
        for outputs, inputs, block in _parts(hessian, levels):
            slope = np.zeros_like(block.covariance, shape=(len(block.order), outputs.stop - outputs.start))
            _subtract(slope, block.covariance, _ordered((wanted - levels)[outputs, inputs], block))
            levels[outputs, inputs], values[outputs, inputs] = _descend(
                levels[outputs, inputs], slope, gain[outputs], block, costs
            )
    return _grid(values, levels, weight.shape, exponents)


def round_again(weight: GridWeight, hessian: LayerHessian, multiplier: float) -> GridWeight:
    """`weight` with new levels: one sweep of coordinate descent from the present ones, for another multiplier.

    The quadratic form of the divergence is known up to its linear term, since each value of `weight` says where its
    level would be best with all other levels as they are.
    """
    shape, exponents = weight.values.shape, weight.exponents.double().numpy()
    values, levels = (x.detach().reshape(len(x), -1).double().numpy() for x in (weight.steps(), weight.levels()))
    gain, costs = _gain(hessian, exponents), _costs(levels, multiplier)
    for outputs, inputs, block in _parts(hessian, levels):
        off = _ordered((levels - values)[outputs, inputs], block)
        levels[outputs, inputs], values[outputs, inputs] = _descend(
            levels[outputs, inputs], off * np.diag(block.covariance)[:, None], gain[outputs], block, costs
        )
    return _grid(values, levels, shape, exponents)


def near_layer(
    weight: Tensor, start: GridWeight, hessian: LayerHessian, multiplier: float, factor: float
) -> GridWeight:
    """`weight` (out, in, ...) in the steps of `start`, as near to its levels as `factor` says (`near`)."""
    with computing_threads(1):
        shape, exponents = weight.shape, start.exponents.double().numpy()
        rows = weight.reshape(len(weight), -1).double().numpy() / 2.0 ** (exponents / EIGHTHS)[:, None]
        old = start.levels().reshape(len(weight), -1).double().numpy()
        levels, values, gain = old.copy(), old.copy(), _gain(hessian, exponents)
        for _ in range(NEAR_SWEEPS):
            costs, changes = _costs(levels, multiplier), factor * change_bits(old, levels)
            for outputs, inputs, block in _parts(hessian, levels):
                slope = np.zeros_like(block.covariance, shape=(len(block.order), outputs.stop - outputs.start))
                _subtract(slope, block.covariance, _ordered((rows - levels)[outputs, inputs], block))
                near = _Near(_ordered(old[outputs, inputs], block), changes)
                levels[outputs, inputs], values[outputs, inputs] = _descend(
                    levels[outputs, inputs], slope, gain[outputs], block, costs, near
                )
        return _grid(values, levels, shape, exponents)


@dataclass(frozen=True, eq=False)
class _Near:
    """What changes cost: `levels` (inputs, outputs) are the old ones; `costs` (2, CLASSES) those of `change_bits`."""

    levels: Doubles
    costs: Doubles

    def one_by_one(
        self, first: int, matrix: Doubles, rows: Doubles, before: Doubles, scales: Doubles, costs: Doubles,
        levels: Doubles, values: Doubles, undone: Doubles,
    ) -> None:  # fmt: skip
        """Like `_one_by_one`, for `_descend`; the first input has the number `first`."""
        for i, own in enumerate(np.diag(matrix)):
            values[i] = before[i] - rows[i] / own
            levels[i] = self._cheapest(first + i, values[i], scales[i], costs)
            undone[i] = before[i] - levels[i]
            rows[i + 1 :] -= matrix[i, i + 1 :, None] * undone[i]

    def _cheapest(self, i: int, value: Doubles, scale: Doubles, costs: Doubles) -> Doubles:
        """The level of least scale * error^2 + costs: the old one, 0, or one of the two around `value`."""
        old = self.levels[i]
        size = np.abs(old).astype(np.intp)
        stays, moves = self.costs[:, np.minimum(size, CLASSES - 1)]
        kept = scale * (value - old) ** 2 + costs.take(size) + stays
        other = _cheapest(value, scale, costs)
        moved = scale * (value - other) ** 2 + costs.take(np.abs(other).astype(np.intp)) + moves
        chosen: Doubles = np.where(moved < kept, other, old)
        return chosen


def _gain(hessian: LayerHessian, exponents: Doubles) -> Doubles:
    """The divergence of an error of one step at an input of variance 1, in nats: (out,)."""
    gain: Doubles = hessian.importance * 2.0 ** (2 / EIGHTHS * exponents) / 2
    return gain


def _parts(hessian: LayerHessian, rows: Doubles) -> list[tuple[slice, slice, Block]]:
    """The parts of a matrix (outputs, inputs) whose weights compensate for each other: outputs, inputs, block."""
    per_group = len(rows) // len(hessian.blocks)
    return [
        (slice(group * per_group, (group + 1) * per_group), inputs, block)
        for group, per_block in enumerate(hessian.blocks)
        for inputs, block in zip(blocks_of(rows.shape[1]), per_block, strict=True)
    ]


def _grid(values: Doubles, levels: Doubles, shape: torch.Size, exponents: Doubles) -> GridWeight:
    """The weight of these `levels`, which were rounded from `values`.

    Learning starts from values that are not whole: whole ones would all change their levels at the same moment.
    """
    steps = torch.from_numpy(_within(values, levels)).float().reshape(shape)
    return GridWeight(steps, torch.from_numpy(exponents.astype(np.int64)))


def _exponents(second_derivative: Doubles, multiplier: float, grain: int) -> Doubles:
    """The step of each group, as an exponent in eighths of an octave, a multiple of `grain`: (groups,)."""
    ideal = EIGHTHS / 2 * np.log2(STEP * multiplier / np.maximum(second_derivative, 1e-30))
    middle, apart = grain * np.rint(np.median(ideal) / grain), max(GRAIN, grain)
    chosen: Doubles = middle + np.rint(np.clip(ideal - middle, -SPREAD, SPREAD) / apart) * apart
    return chosen


def _costs(levels: Doubles, multiplier: float) -> Doubles:
    """multiplier * bits of a level, by its magnitude: in nats, (MAX_LEVEL + 1,)."""
    return multiplier * level_bits(torch.from_numpy(levels)).double().numpy()


def _round(wanted: Doubles, gain: Doubles, block: Block, costs: Doubles) -> Doubles:
    """The levels of `wanted` (outputs, inputs), both in steps, by GPTQ: later inputs compensate for earlier ones.

    A squared error of one step costs `gain` (outputs,) nats; the bits of a level cost `costs`.
    """
    factor, rows = block.factor, _ordered(wanted, block)  # (inputs, outputs)
    levels, errors = np.empty_like(rows), np.empty_like(rows)
    scales = gain / np.diag(factor)[:, None] ** 2
    for near in _runs(len(rows)):
        _subtract(rows[near], factor[: near.start, near].T, errors[: near.start])
        held = (rows[near], None, scales[near], costs, levels[near], rows[near], errors[near])
        _one_by_one(np.ascontiguousarray(factor[near, near]), *held)
    return _back(levels, block)


def _descend(
    levels: Doubles, slope: Doubles, gain: Doubles, block: Block, costs: Doubles, closeness: "_Near | None" = None
) -> tuple[Doubles, Doubles]:
    """One sweep of coordinate descent from `levels`: the new levels, and the value that each was rounded from.

    `slope` (inputs, outputs) is `covariance @ error` of `levels`, in the order of `block`. It is changed in place.
    """
    before, covariance = _ordered(levels, block), block.covariance  # (inputs, outputs)
    levels, values, undone = np.empty_like(before), np.empty_like(before), np.empty_like(before)
    scales = gain * np.diag(covariance)[:, None]
    for near in _runs(len(levels)):
        _subtract(slope[near], covariance[near, : near.start], undone[: near.start])
        held = (slope[near], before[near], scales[near], costs, levels[near], values[near], undone[near])
        square = np.ascontiguousarray(covariance[near, near])
        if closeness is None:
            _one_by_one(square, *held)
        else:
            closeness.one_by_one(near.start, square, *held)
    return _back(levels, block), _back(values, block)


def _one_by_one(
    matrix: Doubles, rows: Doubles, before: Doubles | None, scales: Doubles, costs: Doubles,
    levels: Doubles, values: Doubles, errors: Doubles,
) -> None:  # fmt: skip
    """Round the inputs of a run, and change the later `rows` after each: those of `_round`, or of `_descend`.

    All but `matrix` (inputs, inputs) and `costs` are (inputs, outputs). `levels`, `values` and `errors` are filled in.
    `before` has the levels that `_descend` begins with.
    """
    if HAS_ENGINE:
        round_inputs(len(matrix), matrix, rows, before, scales, costs, levels, values, errors)
        return
    for i, own in enumerate(np.diag(matrix)):
        values[i] = rows[i] if before is None else before[i] - rows[i] / own
        levels[i] = _cheapest(values[i], scales[i], costs)
        errors[i] = (values[i] - levels[i]) / own if before is None else before[i] - levels[i]
        rows[i + 1 :] -= matrix[i, i + 1 :, None] * errors[i]


def _subtract(rows: Doubles, left: Doubles, right: Doubles) -> None:
    """Subtract the matrix product `left @ right` from `rows` in place.

    PyTorch computes it, because the threads of NumPy cannot be switched off.
    """
    torch.from_numpy(rows).addmm_(torch.from_numpy(left), torch.from_numpy(right), alpha=-1)


def _runs(inputs: int) -> list[slice]:
    """Slices of at most `RUN` inputs.

    Changes of inputs before a slice reach its inputs by one matrix product, those within the slice one by one.
    """
    return [slice(start, min(start + RUN, inputs)) for start in range(0, inputs, RUN)]


def _cheapest(value: Doubles, scale: Doubles, costs: Doubles) -> Doubles:
    """Of 0 and the two levels around `value`, the one of least scale * error^2 + costs[magnitude]."""
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
    """The number nearest to `value` that is rounded to `level`, at least `EDGE` from the boundaries."""
    outer = np.where(level == 0, DEAD - EDGE, 0.5 - EDGE)
    inner = np.where(np.abs(level) == 1, 1 - DEAD - EDGE, outer)  # towards zero: more values are rounded to 0 (`DEAD`)
    away = np.clip((value - level) * np.sign(level), -inner, outer) * np.sign(level)
    return level + np.where(level == 0, np.clip(value, -outer, outer), away)


def _ordered(rows: Doubles, block: Block) -> Doubles:
    """(outputs, inputs) -> (inputs, outputs), the inputs in the order of `block`."""
    return np.ascontiguousarray(rows.T[block.order])


def _back(ordered: Doubles, block: Block) -> Doubles:
    """(inputs, outputs) in the order of `block` -> (outputs, inputs): undoes `_ordered`."""
    rows = np.empty(ordered.shape[::-1])
    rows[:, block.order] = ordered.T
    return rows
