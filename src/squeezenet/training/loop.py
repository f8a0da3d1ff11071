"""The step loop of all that learns: training, fine-tuning, and learning while squeezing.

    >>> plan = Plan(network=network, steps=9, optimisers=[adam], rate=rate, batches=..., losses=...)  # doctest: +SKIP
    >>> take_steps(plan, first=resume(plan))                                                          # doctest: +SKIP

A `Plan` holds what differs between the three; the order of the lines in `advance` and `take_steps` is the algorithm. A
run that was stopped goes on from its last checkpoint. On a CPU it ends with the same bits as one that never stopped,
because the random numbers of a step depend on the seed and the step alone.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from squeezenet.errors import TrainingError
from squeezenet.training.checkpoint import (
    Checkpoint,
    load_newest,
    optimiser_tensors,
    restore_module,
    restore_optimiser,
    save_checkpoint,
)
from squeezenet.training.distributed import ALONE, Group
from squeezenet.training.surroundings import interrupts

CHECKPOINT_SHARE = 0.02  # of the time that checkpoints may take: small networks save every second
LOOK = 20  # steps between two looks at the loss on a GPU: to wait for each loss would leave it idle
ASK = 10  # steps after which processes ask each other whether one of them was told to stop

Batch = TypeVar("Batch")


def nothing(*_: object) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(Generic[Batch]):
    """What one kind of training plugs into the loop. Steps are counted from 0; `steps` of them are taken."""

    network: nn.Module  # on the device that computes
    steps: int
    optimisers: Sequence[torch.optim.Optimizer]  # each parameter group with its highest learning rate
    rate: Callable[[int, float], float]  # (step, highest learning rate of a group) -> its learning rate
    batches: Callable[[int], Iterable[Batch]]  # the batches of all steps from the given one on
    losses: Callable[[int, Batch], Iterable[Tensor]]  # (step, batch) -> the loss of each part; gradients are added up
    add_gradients: Callable[[], object] = nothing  # adds to the gradients what no loss gives
    clip: float = 0.0  # largest norm of the gradient; 0: any
    updated: Callable[[], object] = nothing  # called after each update of the weights
    seen: Callable[[int, float], object] = nothing  # (steps taken, loss), when a loss is known
    before_saving: Callable[[int], object] = nothing  # (steps taken), before a checkpoint may be written
    told: Callable[[int, float], object] = nothing  # (steps taken, last known loss), after it
    checkpoints: Path | None = None  # folder
    checkpoint_seconds: float | None = None  # from one to the next; None: as often as `CHECKPOINT_SHARE` allows
    identity: Mapping[str, Any] = field(default_factory=dict)  # a checkpoint with another identity is not taken up
    tensors: Callable[[], Mapping[str, Tensor]] = dict  # what a checkpoint holds beside network and optimisers
    state: Callable[[], Mapping[str, Any]] = dict  # the same for what JSON can hold
    restore: Callable[[Checkpoint], object] = nothing  # takes both back
    advice: str = "lower the learning rate"  # where the loss is not a number


def warm_cosine(warmup: float, steps: int) -> Callable[[int, float], float]:
    """A schedule for `Plan.rate`: it climbs for the share `warmup` of the steps, and falls to 0 by half a cosine.

    >>> [round(warm_cosine(0.5, 4)(step, 1.0), 2) for step in range(4)]
    [0.5, 0.85, 0.5, 0.15]
    """

    def rate(step: int, highest: float) -> float:
        return highest * min(1.0, (step + 1) / (warmup * steps)) * (1 + math.cos(math.pi * step / steps)) / 2

    return rate


def answer(network: Callable[..., Tensor], bf16: bool, x: Tensor, *more: Any) -> Tensor:
    """The logits (N, classes) of `network` for `x` in float32. `bf16`: its products are computed in bfloat16."""
    with torch.autocast(x.device.type, torch.bfloat16) if bf16 else nullcontext():
        logits = network(x, *more)
    return logits.float()


def advance(plan: Plan[Batch], step: int, batch: Batch) -> Tensor:
    """Take one step; returns the loss of the batch, which was not waited for."""
    for optimiser in plan.optimisers:
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step, group.setdefault("initial_lr", group["lr"]))
        optimiser.zero_grad()
    parts = []
    for loss in plan.losses(step, batch):
        loss.backward()
        parts.append(loss.detach())
    plan.add_gradients()
    if plan.clip:
        nn.utils.clip_grad_norm_(plan.network.parameters(), plan.clip)
    for optimiser in plan.optimisers:
        optimiser.step()
    plan.updated()
    return torch.stack(parts).sum()


def resume(plan: Plan[Any], group: Group = ALONE) -> int:
    """Restore the last checkpoint of `plan`; how many steps it has taken, 0 where there is none.

    What another run has left in the folder is removed: its later steps would hide ours.
    """
    if plan.checkpoints is None:
        return 0
    folder = plan.checkpoints
    found: Checkpoint | None = group.on_first(lambda: load_newest(folder))
    if found is None:
        return 0
    if found.state.get("run", {}) != dict(plan.identity):
        group.on_first(lambda: shutil.rmtree(folder))
        return 0
    restore_module(plan.network, found.tensors, "model.")
    for number, optimiser in enumerate(plan.optimisers):
        restore_optimiser(optimiser, found.tensors, f"optimiser{number}.")
    plan.restore(found)
    return found.step


def take_steps(plan: Plan[Batch], first: int, group: Group = ALONE) -> None:
    """Take all steps from `first` on.

    Raises `TrainingError` where the loss is not a number. After Ctrl-C or SIGTERM the step is finished, a checkpoint
    written, and `KeyboardInterrupt` raised.
    """
    look = 1 if next(plan.network.parameters()).device.type == "cpu" else LOOK
    unseen: list[tuple[int, Tensor]] = []
    known, cost, saved_at = 0.0, 0.0, time.perf_counter()
    with interrupts() as interrupted:
        for step, batch in enumerate(plan.batches(first), first):
            unseen.append((step + 1, advance(plan, step, batch)))
            done, last = step + 1, step + 1 == plan.steps
            if last or done % look == 0:
                for taken, loss in unseen:
                    known = float(loss)
                    if not math.isfinite(known):
                        raise _no_number(plan, known, taken)
                    plan.seen(taken, known)
                unseen.clear()
            plan.before_saving(done)
            stop = interrupted.is_set()
            if group.size > 1:  # all processes must stop together
                stop = done % ASK == 0 and group.add(stop) != [0]
            now = time.perf_counter()
            pause = cost / CHECKPOINT_SHARE if plan.checkpoint_seconds is None else plan.checkpoint_seconds
            if plan.checkpoints and group.first and (stop or last or now - saved_at >= pause):
                _save(plan, plan.checkpoints, done)
                saved_at = time.perf_counter()
                cost = saved_at - now
            if stop:
                told = f"interrupted after step {done:,} of {plan.steps:,}"
                raise KeyboardInterrupt(told + ("; the same command goes on from there" if plan.checkpoints else ""))
            plan.told(done, known)


def _save(plan: Plan[Any], folder: Path, done: int) -> None:
    if not all(bool(torch.isfinite(p).all()) for p in plan.network.parameters()):
        return  # the next loss will tell
    held = {f"model.{name}": tensor for name, tensor in plan.network.state_dict().items()} | dict(plan.tensors())
    for number, optimiser in enumerate(plan.optimisers):
        held |= optimiser_tensors(optimiser, f"optimiser{number}.")
    save_checkpoint(folder, done, held, {"run": dict(plan.identity), **plan.state()})


def _no_number(plan: Plan[Any], loss: float, step: int) -> TrainingError:
    rate = max(group["lr"] for optimiser in plan.optimisers for group in optimiser.param_groups)
    told = f"the loss is {loss} at step {step} of {plan.steps}, learning rate {rate:.3g}"
    if plan.checkpoints:
        last = max((path.name for path in plan.checkpoints.glob("*.safetensors")), default="none yet")
        told += f"; the last good checkpoint is {last}"
    return TrainingError(f"{told}: {plan.advice}")
