"""Learning that stays close to an older file: the cost of the delta is in the loss.

    >>> learned = learn_near(rounded, factor, old, 7_000, teaching, Learning(epochs=1))      # doctest: +SKIP

A network that was rounded near the old file (`near`) learns from images, by

    loss = loss of the logits + multiplier * bits of the levels in the delta

as in `learning`, where the levels cost bits of the file instead. The bits pull each value towards its old level, so a
level changes only if the gradients of many batches agree. A level that has changed returns if this costs little. The
multiplier is steered so that the delta has the wanted size. If the delta is too large in the end, the changes whose
values are nearest to the old level are undone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression.finetune import Teaching
from squeezenet.compression.outcome import quiet
from squeezenet.compression.recipe import Learning
from squeezenet.compression.squeeze.as_floats import hold_out, loss_on
from squeezenet.compression.squeeze.hessian import LayerHessian
from squeezenet.compression.squeeze.learning import learn
from squeezenet.compression.squeeze.network import IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.rate import DeltaRate, FileRate, LevelRate
from squeezenet.fixed_point import BIAS_BITS
from squeezenet.model import IntegerWeights, Model
from squeezenet.sqz import delta

LR = 0.1  # of Adam, in steps of the grids, for levels and biases (docs/experiments.md, "Deltas")
TRIES = 10  # of the search for the changes that are undone


@dataclass(frozen=True, eq=False)
class LearnedNear:
    """A model, and its loss on the held-out images before and after learning."""

    model: Model
    before: float
    after: float


def learn_near(
    rounded: Model,
    factor: float,
    old: bytes,
    most: int,
    teaching: Teaching,
    learning: Learning,
    hessians: Mapping[str, LayerHessian],
    told: Callable[[float, str], object] = quiet,
    work: Path | None = None,
    seed: int = 0,
) -> LearnedNear:
    """The better of `rounded`, an integer network, and what it has learned; a delta from `old` has `most` bytes.

    `factor` is the multiplier of the bits in the delta that `rounded` was made with. `told` gets the share of the
    learning that is done, and the loss and the bytes of the delta in words.
    """
    teaching, held = hold_out(teaching)
    network, levels = from_integer_model(rounded), _levels_near(sqz.decode(old), rounded)
    grids = {op.name: network.weight(op.name) for op in network.graph.layers}
    rates: dict[str, LevelRate] = dict.fromkeys(grids, FileRate())  # of a layer that was replaced
    rates |= {name: DeltaRate(each.to(teaching.device)) for name, each in levels.items()}
    bits = sum(_bits(rates[name], grid.levels().to(teaching.device)) for name, grid in grids.items())
    others = len(delta.make(old, sqz.encode(rounded))) - bits / 8  # bytes of all but levels, and what the coder saves

    def tick(done: float, loss: float, bits: float) -> None:
        told(done, f"loss {loss:.3f}, delta of {bits / 8 + others:,.0f} bytes")

    _hold_biases(network, sqz.decode(old), teaching.device)
    importance = {name: hessian.importance for name, hessian in hessians.items()}
    goal = max(8 * (most - others), 1.0)
    learn(network, teaching, learning, goal, factor, tick, work, importance, seed, rates, LR)
    before = loss_on(from_integer_model(rounded), held)
    learned = _fitting(network, rounded, levels, old, most)
    after = before if learned is None else loss_on(from_integer_model(learned), held)
    if learned is None or after >= before:
        return LearnedNear(rounded, before, before)
    return LearnedNear(learned, before, after)


def _levels_near(old: Model, new: Model) -> dict[str, Tensor]:
    """The levels of the old network, without those of a layer that was replaced by one of another shape."""
    found = {}
    for name, held in old.weights.items():
        after = new.weights.get(name)
        assert isinstance(held, IntegerWeights)
        if after is not None and after.weight.shape == held.weight.shape:
            found[name] = torch.from_numpy(held.weight.levels).float()
    return found


def _hold_biases(network: IntegerNetwork, old: Model, device: torch.device) -> None:
    """Biases that rounding has left as they were will not learn: each one that changes takes about a byte."""
    for op in network.graph.layers:
        before, bias = old.weights[op.name].bias, network.bias(op.name)
        if len(before) == len(bias):
            moved = bias.detach() != torch.from_numpy(before) / (1 << BIAS_BITS)
            bias.register_hook(partial(torch.mul, moved.to(device)))


def _bits(rate: LevelRate, levels: Tensor) -> float:
    return rate.total(levels, rate.table(levels))


def _fitting(network: IntegerNetwork, like: Model, levels: Mapping[str, Tensor], old: bytes, most: int) -> Model | None:
    """The model of `network`, with as few changes undone as a delta of `most` bytes needs; None if no number is enough.

    The changes whose values are nearest to the old levels are undone first.
    """
    away = {name: (network.weight(name).steps().detach() - each).abs() for name, each in levels.items()}
    moved = [away[name][network.weight(name).levels() != each] for name, each in levels.items()]
    distances = torch.cat(moved).sort().values.tolist()

    def without(count: int) -> Model:
        reach = distances[count - 1] if count else -1.0
        weights = network.to_weights()
        for name, each in levels.items():
            held = weights[name]
            kept = torch.where(away[name] <= reach, each, network.weight(name).levels())
            weights[name] = replace(held, weight=replace(held.weight, levels=kept.to(torch.int16).numpy()))
        return replace(like, weights=weights, scales=network.scales)

    best: Model | None = None
    low, high, count = 0, len(distances), 0
    for _ in range(TRIES):
        made = without(count)
        if len(delta.make(old, sqz.encode(made))) <= most:
            best, high = made, count
        else:
            low = count
        if high - low <= 1 or (best is not None and count == 0):
            break
        count = (low + high + 1) // 2
    return best
