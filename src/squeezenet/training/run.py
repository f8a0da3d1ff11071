"""One run from its beginning, or its last checkpoint, to its end: what `loop.train` carries out.

>>> run = Run(model, data, preparation, recipe, out, Setup(), None, print)          # doctest: +SKIP
>>> run.to_the_end(print)                                                           # doctest: +SKIP
>>> run.result().top1                                                               # doctest: +SKIP
99.17
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from squeezenet.data.batches import CACHE_BYTES, batches_per_epoch, open_source
from squeezenet.data.examples import Data, Examples, Indices
from squeezenet.data.pixels import Pixels, load_pixels
from squeezenet.data.score import Score
from squeezenet.errors import TrainingError
from squeezenet.files import write_atomically
from squeezenet.preparation import Preparation
from squeezenet.printable import counted
from squeezenet.training import run_folder
from squeezenet.training.checkpoint import load_newest, save_checkpoint
from squeezenet.training.distributed import ALONE, Gradients, Group
from squeezenet.training.evaluate import evaluate
from squeezenet.training.recipe import Recipe
from squeezenet.training.state import State, Step
from squeezenet.training.statistics import IMAGES, estimate_statistics, is_normalised
from squeezenet.training.surroundings import interrupts
from squeezenet.training.teacher import Teacher
from squeezenet.training.watch import Watch

CHECKPOINT_SHARE = 0.02
"""Share of the time that checkpoints may take: small networks save every second, large ones every few minutes."""

LOOK = 20
"""Steps between two looks at the loss on a GPU."""

ASK = 10
"""Steps after which processes ask each other whether one of them was told to stop."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What a run came to. Accuracies in percent, of the validation images, with the weights that were saved."""

    top1: float
    top5: float
    parameters: int
    epochs: float
    steps: int
    images_per_second: float  # training only: reading, augmenting, forward, backward
    skipped_images: int  # training and validation images that cannot be read
    empty_classes: tuple[str, ...]  # classes without an image to train on
    out: str
    images: int = 0  # that accuracies are of: the validation images that can be read


@dataclass(frozen=True)
class Setup:
    """What a run is carried out with: none of it changes what is learnt, but for the rounding of sums."""

    device: torch.device | None = None  # None: the group's
    group: Group = ALONE
    gradients: Gradients = "float32"  # how they are sent from process to process
    compiled: bool = False  # by torch.compile, which small networks on a CPU gain nothing from: see docs/RESULTS.md
    workers: int | None = None  # threads that decode
    cache_bytes: int = CACHE_BYTES
    checkpoint_seconds: float | None = None  # None: as often as `CHECKPOINT_SHARE` allows
    threads: int | None = None  # that compute, on a CPU. None: one for tiny networks, else PyTorch's number


class Run:
    """A run between its beginning, or its last checkpoint, and its end."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        preparation: Preparation,
        recipe: Recipe,
        out: Path,
        setup: Setup,
        teacher: Teacher | None,
        say: Callable[[str], None],
    ) -> None:
        self.group, self.recipe, self.out, self.setup = setup.group, recipe, out, setup
        self.preparation = preparation
        self.empty = data.train.empty_classes
        if self.empty and self.group.first:
            few, classes = ", ".join(self.empty[:5]), len(data.train.classes)
            _log.warning("%d of %d classes have no image to train on: %s", len(self.empty), classes, few)
        workers = setup.workers or self.group.workers()
        self.source = open_source(data.train, preparation, setup.cache_bytes, workers, setup.device)
        self.judges = len(data.validation)
        mine = data.validation.take(self.group.slice(np.arange(len(data.validation))))
        self.validation = _validation(mine, preparation, setup.cache_bytes, workers)
        self.per_epoch = batches_per_epoch(len(self.source), recipe.batch_size)
        self.steps = recipe.steps(self.per_epoch)
        if len(self.source) < recipe.batch_size and self.group.first:
            images = len(self.source)
            _log.warning("a batch is all %d images, not %d: there are no more", images, recipe.batch_size)
        self.state = State(model, recipe, self.steps, preparation, self.group, setup.gradients, setup.compiled, teacher)
        averaged = recipe.ema > 0 and is_normalised(model)
        self.sample = load_pixels(data.train, preparation, IMAGES, progress=False).images if averaged else None
        self.checkpoints = out / "checkpoints"
        if checkpoint := self.group.on_first(lambda: load_newest(self.checkpoints)):
            self.state.restore(checkpoint.step, checkpoint.tensors, checkpoint.state)
            say(
                f"{out}: goes on after step {checkpoint.step:,} of {self.steps:,} (epoch "
                f"{checkpoint.step / self.per_epoch:.1f} of {self.steps / self.per_epoch:.1f}), from checkpoint "
                f"{checkpoint.name}"
            )
        if self.source.held:
            self.state.unreadable = dict(self.source.held.unreadable)
        self.watch = Watch(self.steps, data.train.require_labels(), len(data.train.classes))
        # To wait for a GPU's loss at every step would leave it idle.
        self.look = 1 if setup.device is None or setup.device.type == "cpu" else LOOK
        self.score: Score | None = None

    def to_the_end(self, on_epoch: Callable[[dict[str, Any]], None] | None) -> None:
        """Take all steps that are left; save on the way."""
        state, first = self.state, self.group.first
        if first:
            run_folder.cut_metrics(self.out / "metrics.jsonl", state.step)
        clock = saved_at = began = time.perf_counter()
        save_cost = 0.0
        costs = np.cumsum([state.side(step) ** 2.0 for step in range(state.step, self.steps)])  # in any unit
        unseen: list[Step] = []
        with (
            interrupts() as interrupted,
            SummaryWriter(self.out / "tensorboard", purge_step=state.step or None) if first else nullcontext() as board,
            tqdm(
                total=self.steps, initial=state.step, desc=self.out.name, unit="step", disable=None if first else True
            ) as bar,
        ):
            orders = islice(self._orders(), self.steps - state.step)
            for batch in self.source.batches(orders, self.group.slice):
                state.unreadable.update(batch.unreadable)
                unseen.append(state.advance(batch))
                last, lr = state.step == self.steps, unseen[-1].lr
                ends = state.step % self.per_epoch == 0 or last
                if ends or state.step % self.look == 0:
                    self._look_at(unseen)
                    unseen.clear()
                state.seconds += time.perf_counter() - clock
                bar.update()

                row = None
                if last:
                    state.settle()
                if ends:
                    row = self._end_epoch(lr)
                if row:
                    done = costs[len(costs) - 1 - (self.steps - state.step)]
                    row["seconds_left"] = round((time.perf_counter() - began) * (costs[-1] / done - 1), 1)
                if row and board:
                    run_folder.add_metrics(self.out / "metrics.jsonl", row)
                    for name in ("loss", "train_top1", "top1", "top5", "lr", "images_per_second"):
                        board.add_scalar(name, row[name], state.step)
                    bar.set_postfix(loss=f"{row['loss']:.3f}", top1=f"{row['top1']:.2f}")
                stop = self._all_stop(interrupted.is_set())
                now = time.perf_counter()
                pause = self.setup.checkpoint_seconds
                if pause is None:
                    pause = save_cost / CHECKPOINT_SHARE
                if first and (now - saved_at >= pause or stop or last):
                    self._save()
                    saved_at = time.perf_counter()
                    save_cost = saved_at - now
                if stop:
                    raise KeyboardInterrupt(
                        f"interrupted after step {state.step:,} of {self.steps:,}; the same command goes on from there"
                    )
                if row and on_epoch and first:
                    on_epoch(row)
                clock = time.perf_counter()

    def result(self) -> TrainResult:
        """What it came to."""
        state = self.state
        if self.score is None:  # stopped after the last step, before the end
            state.settle()
            self._end_epoch(0.0)
        assert self.score is not None
        judged = self.validation.unreadable if isinstance(self.validation, Pixels) else ()
        skipped = len(state.unreadable) + self.judges - self.score.images
        if skipped and self.group.first:
            told = [*state.unreadable.values(), *(why for _, why in judged)]
            _log.warning("%s could not be read; the first: %s", counted(skipped, "image"), "; ".join(told[:3]))
            write_atomically(self.out / "skipped.txt", "".join(f"{line}\n" for line in told).encode())
        parameters = sum(p.numel() for p in state.model.parameters())
        speed = round(state.images / max(state.seconds, 1e-9), 1)
        return TrainResult(
            self.score.top1, self.score.top5, parameters, round(self.steps / self.per_epoch, 3), self.steps, speed,
            skipped, self.empty, str(self.out), self.score.images,
        )  # fmt: skip

    def _orders(self) -> Iterator[Indices]:
        """The batches of all epochs, from the next step on, without end."""
        epoch, done = divmod(self.state.step, self.per_epoch)
        while True:
            yield from self.source.order(self.recipe.batch_size, self.recipe.seed, epoch)[done:]
            epoch, done = epoch + 1, 0

    def _look_at(self, steps: list[Step]) -> None:
        """Wait for the losses of the last steps. Raises `TrainingError` where one is not a number."""
        step = self.state.step - len(steps)
        for taken in steps:
            step += 1
            loss = float(taken.loss)
            if not math.isfinite(loss):
                last = max((p.name for p in self.checkpoints.glob("*.safetensors")), default="none yet")
                raise TrainingError(
                    f"the loss is {loss} at step {step} of {self.steps}, learning rate {taken.lr:.3g}; the last good "
                    f"checkpoint is {last}: start again with a lower --lr and another --out"
                )
            if self.group.first and taken.images:
                self.watch.see(step, loss, int(taken.correct), taken.images, taken.lr)

    def _end_epoch(self, lr: float) -> dict[str, Any]:
        """Judge; the row for metrics.jsonl."""
        if self.sample is not None:
            estimate_statistics(self.state.shipped, self.sample, self.preparation)
        self.score = evaluate(self.state.shipped, self.validation, self.preparation, group=self.group)
        for theirs in self.group.gather(self.state.unreadable):
            self.state.unreadable.update(theirs)
        return self.state.row(self.score, self.per_epoch, lr)

    def _all_stop(self, asked: bool) -> bool:
        """Whether to stop after this step, which all processes must do together."""
        if self.group.size == 1:
            return asked
        return self.state.step % ASK == 0 and self.group.add(asked) != [0]

    def _save(self) -> None:
        if self.state.finite:  # otherwise the next loss will tell
            save_checkpoint(self.checkpoints, self.state.step, self.state.tensors(), self.state.counters())


def _validation(
    examples: Examples, preparation: Preparation, cache_bytes: int, workers: int | None
) -> Examples | Pixels:
    fits = 0 < len(examples) * math.prod(preparation.shape) <= cache_bytes
    return load_pixels(examples, preparation, workers=workers) if fits else examples
