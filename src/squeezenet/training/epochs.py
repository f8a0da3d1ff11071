"""The epochs of a training run: the order of its batches, and the accuracy and metrics after each epoch.

>>> epochs = Epochs(model, data, preparation, recipe, out, Setup(), None, print)    # doctest: +SKIP
>>> epochs.take(print)                                                              # doctest: +SKIP
>>> epochs.result().top1                                                            # doctest: +SKIP
99.17
"""

import json
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

from squeezenet.data.batches import CACHE_BYTES, Batch, batches_per_epoch, open_source
from squeezenet.data.examples import Data, Indices
from squeezenet.data.pixels import Pixels, load_pixels
from squeezenet.data.score import Score
from squeezenet.files import write_atomically
from squeezenet.preparation import Preparation
from squeezenet.printable import counted
from squeezenet.training import run_folder
from squeezenet.training.checkpoint import checkpoint_name
from squeezenet.training.distributed import ALONE, Gradients, Group
from squeezenet.training.evaluate import evaluate
from squeezenet.training.loop import resume, take_steps
from squeezenet.training.recipe import Recipe
from squeezenet.training.state import State
from squeezenet.training.statistics import IMAGES, estimate_statistics
from squeezenet.training.teacher import Teacher
from squeezenet.training.watch import Watch

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """The result of a run. Accuracies are in percent, of the validation images, with the weights that were saved."""

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
    """Settings that change nothing of what is learnt but the rounding of sums."""

    device: torch.device | None = None  # None: the group's
    group: Group = ALONE
    gradients: Gradients = "float32"  # how they are sent from process to process
    compiled: bool = False  # by torch.compile, which small networks on a CPU gain nothing from: see docs/RESULTS.md
    workers: int | None = None  # threads that decode
    cache_bytes: int = CACHE_BYTES
    checkpoint_seconds: float | None = None  # None: as often as `CHECKPOINT_SHARE` allows
    threads: int | None = None  # that compute, on a CPU. None: one for tiny networks, else PyTorch's number


class Epochs:
    """A run from its beginning, or from its last checkpoint, to its end."""

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
        self.validation_images = len(data.validation)
        mine = data.validation.take(self.group.slice(np.arange(len(data.validation))))
        fits = 0 < len(mine) * math.prod(preparation.shape) <= setup.cache_bytes
        self.validation = load_pixels(mine, preparation, workers=workers) if fits else mine
        self.per_epoch = batches_per_epoch(len(self.source), recipe.batch_size)
        self.steps = recipe.steps(self.per_epoch)
        if len(self.source) < recipe.batch_size and self.group.first:
            images = len(self.source)
            _log.warning("a batch is all %d images, not %d: there are no more", images, recipe.batch_size)
        self.state = State(model, recipe, self.steps, preparation, self.group, setup.gradients, setup.compiled, teacher)
        averaged = recipe.ema > 0 and any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
        self.sample = load_pixels(data.train, preparation, IMAGES, progress=False).images if averaged else None
        self.plan = self.state.plan(
            self._batches, seen=self._seen, before_saving=self._before_saving, told=self._told,
            checkpoints=out / run_folder.CHECKPOINTS, checkpoint_seconds=setup.checkpoint_seconds,
            advice="start again with a lower --lr and another --out",
        )  # fmt: skip
        if first := resume(self.plan, self.group):
            say(
                f"{out}: goes on after step {first:,} of {self.steps:,} (epoch {first / self.per_epoch:.1f} of "
                f"{self.steps / self.per_epoch:.1f}), from checkpoint {checkpoint_name(first)}"
            )
        if self.source.held:
            self.state.unreadable = dict(self.source.held.unreadable)
        self.watch = Watch(self.steps, data.train.require_labels(), len(data.train.classes))
        self.score: Score | None = None
        self.row: dict[str, Any] | None = None  # of the epoch that has just ended
        self.board: SummaryWriter | None = None

    def take(self, on_epoch: Callable[[dict[str, Any]], None] | None) -> None:
        """Take all steps that are left. `on_epoch` gets each row of metrics.jsonl."""
        first, writes = self.state.step, self.group.first
        self.on_epoch = on_epoch
        if writes:
            run_folder.cut_metrics(self.out / "metrics.jsonl", first)
        # In any unit
        costs = np.cumsum([float(math.prod(self.state.sides(step))) for step in range(first, self.steps)])
        self.left = costs[-1:] / costs - 1  # time to come after each step, as a share of the time since the first
        self.clock = self.began = time.perf_counter()
        with (
            SummaryWriter(self.out / "tensorboard", purge_step=first or None)
            if writes
            else nullcontext() as self.board,
            tqdm(
                total=self.steps, initial=first, desc=self.out.name, unit="step", disable=None if writes else True
            ) as self.bar,
        ):
            take_steps(self.plan, first, self.group)

    def _batches(self, first: int) -> Iterator[Batch]:
        for batch in self.source.batches(islice(self._orders(first), self.steps - first), self.group.slice):
            self.state.unreadable.update(batch.unreadable)
            yield batch

    def _seen(self, step: int, loss: float) -> None:
        mean, correct, images = self.state.unseen.popleft()
        if self.group.first and images:
            self.watch.see(step, float(mean), int(correct), images, self.recipe.rate(step - 1, self.steps))

    def _before_saving(self, step: int) -> None:
        state, last = self.state, step == self.steps
        state.seconds += time.perf_counter() - self.clock
        self.bar.update()
        if last:
            state.settle()
        self.row = None
        if last or step % self.per_epoch == 0:
            self.row = self._end_epoch()
            passed = time.perf_counter() - self.began
            self.row["seconds_left"] = round(passed * self.left[step - self.steps - 1], 1)
        if self.row and self.board:
            with (self.out / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(self.row) + "\n")
            for name in ("loss", "train_top1", "top1", "top5", "lr", "images_per_second"):
                self.board.add_scalar(name, self.row[name], step)
            self.bar.set_postfix(loss=f"{self.row['loss']:.3f}", top1=f"{self.row['top1']:.2f}")

    def _told(self, step: int, loss: float) -> None:
        if self.row and self.on_epoch and self.group.first:
            self.on_epoch(self.row)
        self.clock = time.perf_counter()

    def result(self) -> TrainResult:
        """The result, after the last step."""
        state = self.state
        if self.score is None:  # resumed after the last step
            state.settle()
            self._end_epoch()
        assert self.score is not None
        judged = self.validation.unreadable if isinstance(self.validation, Pixels) else ()
        skipped = len(state.unreadable) + self.validation_images - self.score.images
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

    def _orders(self, first: int) -> Iterator[Indices]:
        """The images of each batch of all epochs, from the step `first` on, without end."""
        epoch, done = divmod(first, self.per_epoch)
        while True:
            yield from self.source.order(self.recipe.batch_size, self.recipe.seed, epoch)[done:]
            epoch, done = epoch + 1, 0

    def _end_epoch(self) -> dict[str, Any]:
        """The row for metrics.jsonl, with the accuracy on the validation set."""
        if self.sample is not None:
            estimate_statistics(self.state.shipped, self.sample, self.preparation)
        self.score = evaluate(self.state.shipped, self.validation, self.preparation, group=self.group)
        for theirs in self.group.gather(self.state.unreadable):
            self.state.unreadable.update(theirs)
        return self.state.row(self.score, self.per_epoch)
