"""Learning while squeezing: an integer network is trained for its accuracy and for the size of its file at once.

    >>> learn(network, teaching, Learning(epochs=4), goal_bits=8 * 250_000, multiplier=1e-4)    # doctest: +SKIP

`loss = loss of the logits + multiplier * bits of the levels`, where `multiplier` is a Lagrange multiplier in nats per
bit. The gradient of the bits (`rate`) is added to that of the weights, and the multiplier is steered so that the levels
have the wanted size after the share `SETTLED` of the steps. The steps are those of `training.loop`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from math import exp, log
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from squeezenet.compression.finetune import Teaching, answers_of, loss_of, prepared, steps_of
from squeezenet.compression.outcome import quiet
from squeezenet.compression.recipe import Learning
from squeezenet.compression.squeeze.features import feature_loss
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rate import FileRate, LevelRate
from squeezenet.data.augment import draw
from squeezenet.training.checkpoint import Checkpoint
from squeezenet.training.loop import Plan, nothing, resume, take_steps, warm_cosine

LR = 0.005  # of Adam, in steps of the grids
SETTLED = 0.6  # share of the steps after which the size should be what was asked for
COUNT = 10  # steps between two counts of the levels, after each of which the multiplier is steered
SHARPNESS = 10.0  # the correction has full strength (1) when the size is a tenth off
GAIN = 0.3  # at every count the multiplier changes by a factor of exp(GAIN * correction)
DAMPING = 2.0  # until the next count, another factor of exp(DAMPING * correction) is applied
WARMUP = 0.05  # share of the steps in which the learning rates rise


class _Rate:
    """The rate term: bits of the levels, their gradient, and the multiplier that is steered towards `goal` bits."""

    def __init__(
        self, grids: Mapping[str, GridWeight], rates: Mapping[str, LevelRate], goal: float, multiplier: float
    ) -> None:
        self.grids, self.rates, self.goal, self.multiplier = grids, rates, goal, multiplier
        self.count()
        self.start, self.damped = self.bits, multiplier

    def count(self) -> None:
        """Count all levels: `tables` holds the bits of a level for each layer (`LevelRate`), `bits` the sum."""
        levels = {name: grid.levels() for name, grid in self.grids.items()}
        self.tables = {name: self.rates[name].table(level) for name, level in levels.items()}
        self.bits = sum(self.rates[name].total(level, self.tables[name]) for name, level in levels.items())

    def steer(self, done: float) -> None:
        """Count, and change the multiplier by how far the size is off after the share `done` of the steps."""
        self.count()
        wanted = self.start * (self.goal / self.start) ** min(1.0, done / SETTLED)
        off = max(-1.0, min(1.0, SHARPNESS * log(self.bits / wanted)))
        self.multiplier *= exp(GAIN * off)
        self.damped = self.multiplier * exp(DAMPING * off)

    def add_gradients(self) -> None:
        for name, grid in self.grids.items():
            steps = grid.steps()
            steps.backward(self.damped * self.rates[name].gradient(steps.detach(), self.tables[name]))

    def tensors(self) -> dict[str, Tensor]:
        return {f"table.{name}": table for name, table in self.tables.items()}

    def state(self) -> dict[str, Any]:
        return {"multiplier": self.multiplier, "damped": self.damped, "bits": self.bits}

    def restore(self, found: Checkpoint) -> None:
        self.tables = {name: found.tensors[f"table.{name}"].to(table.device) for name, table in self.tables.items()}
        self.multiplier, self.damped, self.bits = (found.state[key] for key in ("multiplier", "damped", "bits"))


def learn(
    network: IntegerNetwork,
    teaching: Teaching,
    learning: Learning,
    goal_bits: float,
    multiplier: float,
    tick: Callable[[float, float, float], object] = quiet,
    checkpoints: Path | None = None,
    importance: Mapping[str, float] = MappingProxyType({}),
    seed: int = 0,
    rates: Mapping[str, LevelRate] = MappingProxyType({}),
    lr: float = LR,
) -> float:
    """Train `network` in place until its levels have `goal_bits`; returns the multiplier at the end.

    `tick` gets the share of the steps that is done, the last known loss, and the bits of all levels.
    `importance` weights the errors of each layer's output, where `learning.features` are asked for. `rates` says which
    bits of each layer are meant, if not those in the file. `lr` is the usual learning rate. The network learns on the
    device of `teaching`, and is moved back afterwards. With a folder of `checkpoints`, a run that was stopped
    goes on from its last one. Raises `TrainingError` when the loss is not a number; Ctrl-C and SIGTERM write a
    checkpoint, then raise `KeyboardInterrupt`.
    """
    count, device, home = len(teaching.pixels), teaching.device, network.growth.device
    network.on(device)
    size, steps = min(learning.batch_size, count), steps_of(learning, count)
    weights = {op.name: network.weight(op.name) for op in network.graph.layers}
    grids = {name: weight for name, weight in weights.items() if isinstance(weight, GridWeight)}
    growths = [network.growth, *(grid.growth for grid in grids.values())]
    for growth in growths:
        growth.requires_grad_(learning.step_lr > 0)
    groups: list[dict[str, Any]] = [
        {"params": [*(grid.values for grid in grids.values()), *network.biases.parameters()], "lr": learning.lr or lr},
        *([{"params": growths, "lr": learning.step_lr}] if learning.step_lr else []),
    ]
    # A bfloat16 teacher is four times as fast as one in float32, and costs 0.0013 nats (the authors' network).
    bf16 = device.type != "cpu" or network.dtype == torch.bfloat16
    rate = _Rate(grids, rates or dict.fromkeys(grids, FileRate()), goal_bits, multiplier)

    def batches(first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices of images, and random numbers for their augmentation."""
        for step in range(first, steps):
            random = torch.Generator().manual_seed(seed * 1_000_003 + step)
            yield _chosen(step, size, count, seed), draw(size, random)

    def losses(step: int, batch: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
        if step % COUNT == 0:
            rate.steer(step / steps)
        images = prepared(teaching, *batch)
        theirs: dict[str, Tensor] | None = {} if learning.features else None
        mine: dict[str, Tensor] | None = {} if learning.features else None
        answers = answers_of(teaching, images, bf16, theirs)
        loss = loss_of(network(images, mine), teaching, batch[0], answers)
        if theirs and mine:
            loss = loss + learning.features * feature_loss(network, mine, theirs, importance)
        yield loss

    told = {**asdict(learning), "seed": seed, "objective": teaching.objective, "goal": goal_bits, "start": rate.start}
    plan = Plan(
        network=network, steps=steps, optimisers=[torch.optim.Adam(groups, betas=(0.9, 0.99))],
        rate=warm_cosine(WARMUP, steps), batches=batches, losses=losses,
        add_gradients=rate.add_gradients,
        updated=network.keep_within_reach if learning.step_lr else nothing,
        told=lambda step, loss: tick(step / steps, loss, rate.bits),
        checkpoints=checkpoints, identity=told, tensors=rate.tensors, state=rate.state, restore=rate.restore,
    )  # fmt: skip
    take_steps(plan, resume(plan))
    network.on(home)
    return rate.multiplier


def _chosen(step: int, batch_size: int, count: int, seed: int) -> Tensor:
    """The images of a step; each is shown once an epoch, in an order that depends on (seed, epoch) alone."""
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // count, (last - 1) // count + 1)
    orders = torch.cat([_order(epoch, count, seed) for epoch in epochs])
    return orders[first - epochs[0] * count : last - epochs[0] * count]


@lru_cache(maxsize=2)  # to shuffle 50,000 images takes as long as a step of learning on a GPU
def _order(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
