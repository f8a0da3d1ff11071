"""Learning while squeezing: an integer network is trained on what it answers and, at once, on what it costs.

    >>> learn(network, teaching, Learning(epochs=4), goal_bits=8 * 250_000)            # doctest: +SKIP

The loss is cross-entropy or distillation; the gradient of the code's length (`rate`) is added to that of the weights,
and its weight, `trade`, is steered so that the levels reach the wanted size after `SETTLED` of the run.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import cos, exp, isfinite, log, pi
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from squeezenet.compression.finetune import Teaching, answers_of, loss_of, prepared, steps_of
from squeezenet.compression.squeeze.features import feature_loss
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rate import level_bits, rate_gradient, total_bits
from squeezenet.errors import TrainingError
from squeezenet.training.checkpoint import (
    load_newest,
    optimiser_tensors,
    restore_module,
    restore_optimiser,
    save_checkpoint,
)
from squeezenet.training.surroundings import interrupts

SETTLED = 0.6
"""Share of the run after which the size should be what was asked for."""

LOOK = 10
"""Steps between two counts of the levels, and on a GPU, which would have to be waited for, between two of the loss."""

SHARPNESS = 10.0  # a size that is off by a tenth is answered with full strength:
GAIN = 0.3  # the trade grows or falls by a factor of e ** GAIN at every look,
DAMPING = 2.0  # and is e ** DAMPING times as strong, or weak, as long as it lasts

WARMUP = 0.05
SAVE_SECONDS = 60


@dataclass(frozen=True)
class Learning:
    """How long and how fast. Rates are Adam's, in steps of the weights' grids and of the layers' outputs.

    Nothing is learned unless asked for: on a thousand images rounding alone has measured better, on fifty thousand
    learning has, in many small steps (docs/RESULTS.md, "Squeeze").
    """

    epochs: float = 0.0
    batch_size: int = 16
    lr: float = 0.002
    bias_lr: float = 0.002
    step_lr: float = 0.0  # of the steps of weights and activations, in eighths of an octave; 0: they stay as they are
    features: float = 0.0  # weight, against the loss of the answers, of what every layer gives (`features.py`)
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a run is: what a caller may show."""

    step: int
    steps: int
    loss: float
    bits: float
    trade: float


def learn(
    network: IntegerNetwork,
    teaching: Teaching,
    learning: Learning,
    goal_bits: float,
    trade: float,
    tick: Callable[[Progress], object] = lambda progress: None,
    checkpoints: Path | None = None,
    importance: Mapping[str, float] = MappingProxyType({}),
) -> float:
    """Train `network` in place until its levels cost `goal_bits`; returns the trade it ended with (nats a bit).

    `importance` says what errors of a layer's outputs cost, for those that learn from features.
    It learns on the device of `teaching`, and is where it was afterwards.
    With a folder of `checkpoints` a run that was stopped goes on where its last one is. Raises `TrainingError` when the
    loss is not a number; Ctrl-C and SIGTERM write a checkpoint, then raise `KeyboardInterrupt`.
    """
    count, device = len(teaching.pixels), teaching.device
    home = network.growth.device
    network.on(device)
    batch_size = min(learning.batch_size, count)
    steps = steps_of(learning.epochs, batch_size, count)
    grids = {
        op.name: weight for op in network.graph.layers if isinstance(weight := network.weight(op.name), GridWeight)
    }
    groups = [
        {"params": [grid.values for grid in grids.values()], "highest": learning.lr},
        {"params": list(network.biases.parameters()), "highest": learning.bias_lr},
    ]
    growths = [network.growth, *(grid.growth for grid in grids.values())]
    for growth in growths:
        growth.requires_grad_(learning.step_lr > 0)
    if learning.step_lr:
        groups.append({"params": growths, "highest": learning.step_lr})
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    # A bfloat16 teacher is four times as fast as one in float32, for 0.0013 nats (the authors' network on photographs).
    fast = device.type != "cpu" or network.dtype == torch.bfloat16
    look = 1 if device.type == "cpu" else LOOK
    tables, bits = _count(grids)
    first, start, now, loss_seen = 0, bits, trade, 0.0
    run = {**asdict(learning), "objective": teaching.objective, "goal": goal_bits, "start": start}
    if checkpoints and (found := load_newest(checkpoints)):
        if found.state["run"] == run:
            restore_module(network, found.tensors, "network.")
            restore_optimiser(optimizer, found.tensors, "optimiser.")
            first, trade = found.step, found.state["trade"]
        else:  # what a stopped run to another size left; its later steps would hide ours
            shutil.rmtree(checkpoints)

    def save(step: int) -> None:
        if checkpoints:
            held = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
            held |= optimiser_tensors(optimizer, "optimiser.")
            save_checkpoint(checkpoints, step, held, {"run": run, "trade": trade})

    saved = time.monotonic()
    with interrupts() as interrupted:
        for step in range(first, steps):
            if step % LOOK == 0:
                tables, bits = _count(grids)
                wanted = start * (goal_bits / start) ** min(1.0, step / (SETTLED * steps))
                off = max(-1.0, min(1.0, SHARPNESS * log(bits / wanted)))
                trade *= exp(GAIN * off)
                now = trade * exp(DAMPING * off)
            chosen = _chosen(step, batch_size, count, learning.seed)
            random = torch.Generator().manual_seed(learning.seed * 1_000_003 + step)
            climb = min(1.0, (step + 1) / (WARMUP * steps))
            for group in optimizer.param_groups:
                group["lr"] = group["highest"] * climb * (1 + cos(pi * step / steps)) / 2
            images = prepared(teaching, chosen, random)
            given: dict[str, Tensor] | None = {} if learning.features else None
            mine: dict[str, Tensor] | None = {} if learning.features else None
            with torch.autocast(device.type, torch.bfloat16, enabled=fast):
                answers = answers_of(teaching, images, given)
            loss = loss_of(network(images, mine), teaching, chosen, answers)
            if given and mine:
                loss = loss + learning.features * feature_loss(network, mine, given, importance)
            if (step + 1) % look == 0 or step + 1 == steps:
                loss_seen = float(loss.detach())
                if not isfinite(loss_seen):
                    raise TrainingError(f"the loss is not a number after {step} steps of learning; lower --lr")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for name, grid in grids.items():
                steps_now = grid.steps()
                steps_now.backward(now * rate_gradient(steps_now.detach(), tables[name]))
            optimizer.step()
            if learning.step_lr:
                network.keep_within_reach()
            tick(Progress(step + 1, steps, loss_seen, bits, trade))
            if (step + 1) % LOOK:  # between two looks there is more to remember
                continue
            if interrupted.is_set() or time.monotonic() - saved > SAVE_SECONDS:
                save(step + 1)
                saved = time.monotonic()
            if interrupted.is_set():
                raise KeyboardInterrupt
    if first < steps:
        save(steps)
    network.on(home)
    return trade


def _chosen(step: int, batch_size: int, count: int, seed: int) -> Tensor:
    """The images of a step; each is shown once an epoch, in an order that depends on (seed, epoch) alone."""
    first, last = step * batch_size, (step + 1) * batch_size
    epochs = range(first // count, (last - 1) // count + 1)
    orders = torch.cat([_order(epoch, count, seed) for epoch in epochs])
    return orders[first - epochs[0] * count : last - epochs[0] * count]


@lru_cache(maxsize=2)  # of 50,000 images: as long as a step of learning on a GPU
def _order(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def _count(grids: dict[str, GridWeight]) -> tuple[dict[str, Tensor], float]:
    """Bits of a level by magnitude, for each layer, and of all levels together."""
    tables, total = {}, 0.0
    for name, grid in grids.items():
        levels = grid.levels()
        tables[name] = level_bits(levels)
        total += total_bits(levels, tables[name])
    return tables, total
