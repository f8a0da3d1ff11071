"""The state of a training run: what a checkpoint holds, the losses of a batch, and what follows an update.

>>> state = State(model, MODERN, steps=1000, preparation=preparation)           # doctest: +SKIP
>>> state.advance(batch)                                                        # doctest: +SKIP
tensor(2.31)
"""

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet.data.augment import draw, network_input
from squeezenet.data.batches import Batch
from squeezenet.data.score import Score
from squeezenet.preparation import Preparation
from squeezenet.training import sparsity
from squeezenet.training.checkpoint import Checkpoint, restore_module, under
from squeezenet.training.distributed import Gradients, Group
from squeezenet.training.loop import Plan, advance, answer
from squeezenet.training.mixing import Mix, mix
from squeezenet.training.recipe import Recipe
from squeezenet.training.teacher import Teacher


class State:
    """Network, optimisers, averages and counters of a run: what a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps: int,
        preparation: Preparation,
        group: Group | None = None,
        gradients: Gradients = "float32",
        compiled: bool = False,
        teacher: Teacher | None = None,
    ) -> None:
        self.group = group or Group()
        self.device = next(model.parameters()).device
        # channels last: 1.3 to 1.7 times as fast (`digits`, one CPU thread)
        self.model = model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe, self.steps, self.preparation, self.teacher = recipe, steps, preparation, teacher
        self.optimisers = recipe.optimisers(model)
        self.shipped = copy.deepcopy(model) if recipe.ema else model  # the weights that are evaluated and saved
        self.shared = self.group.share(torch.compile(model) if compiled else model, gradients)  # type: ignore[arg-type]
        self.kept: dict[str, Tensor] = {}  # which weights are not pruned; empty while all are there
        self.kept_share = 1.0
        self.step = 0
        self.images, self.seconds = 0, 0.0  # of the whole run, all processes
        self.loss: Tensor | float = 0.0  # of this epoch, this process
        self.correct: Tensor | int = 0
        self.seen = 0
        self.unreadable: dict[int, str] = {}
        # Mean loss, images classified correctly, and images, of steps in this process that nobody has looked at
        self.unseen: deque[tuple[Tensor, Tensor, int]] = deque()

    def advance(self, batch: Batch) -> Tensor:
        """The loss of one step, taken outside of a run."""
        return advance(self.plan(lambda first: ()), self.step, batch)

    def plan(self, batches: Callable[[int], Iterable[Batch]], **more: Any) -> Plan[Batch]:
        """What training plugs into the step loop; `more` are fields of the `Plan`."""
        return Plan(
            network=self.model, steps=self.steps, optimisers=self.optimisers,
            batches=batches, losses=self.losses, updated=self.updated,
            rate=lambda step, highest: highest * self.recipe.rate(step, self.steps) / self.recipe.lr,
            clip=self.recipe.clip, tensors=self.tensors, state=self.counters, restore=self.restore, **more,
        )  # fmt: skip

    def losses(self, step: int, batch: Batch) -> Iterator[Tensor]:
        """The loss of each micro-batch of this process's part of a batch, as a share of that of the whole batch."""
        recipe, count = self.recipe, len(batch.labels)
        seed = int(np.random.SeedSequence((recipe.seed, step)).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed + self.group.rank)  # dropout
        random = torch.Generator().manual_seed(seed)
        draws = draw(batch.size, random)[batch.rows]  # of the whole batch, so that they depend on no one's share of it
        mixed = mix(recipe, random)
        total, correct = torch.zeros((), device=self.device), torch.zeros((), dtype=torch.long, device=self.device)
        micro = recipe.micro_batch or max(count, 1)
        for start in range(0, max(count, 1), micro):
            part = slice(start, start + micro)
            images, labels = batch.images[part], batch.labels[part].to(self.device, non_blocking=True)
            last = start + micro >= count
            # The loop computes the gradients of what is yielded before it goes on here.
            with nullcontext() if last or self.group.size == 1 else self.shared.no_sync():  # type: ignore[operator]
                if not count:  # no image can be read, yet the other processes wait for this one's gradients
                    yield self.shared(torch.zeros(1, *self.preparation.shape, device=self.device)).sum() * 0
                    break
                loss, right = self._loss(images, labels, draws[part], mixed)
                # The optimiser sees the mean over all processes; an unreadable image counts as one without gradient.
                yield loss * (len(labels) * self.group.size / batch.size)
            total += loss.detach() * len(labels)
            correct += right
        self.loss, self.correct, self.seen = self.loss + total, self.correct + correct, self.seen + count
        self.images += batch.size - len(batch.unreadable)
        self.unseen.append((total / max(count, 1), correct, count))

    def _loss(self, images: Tensor, labels: Tensor, draws: Tensor, mixed: Mix) -> tuple[Tensor, Tensor]:
        """The mean loss of images (N, C, H, W), and how many of them were classified correctly."""
        how = self.recipe.augmentation
        x = network_input(images.to(self.device, non_blocking=True), how, self.preparation, draws)
        if (sides := self.sides(self.step)) != self.preparation.cropped:
            x = F.interpolate(x, sides, mode="bilinear", antialias=True)
        x = mixed.images(x).contiguous(memory_format=torch.channels_last)
        logits = answer(self.shared, self.recipe.precision == "bf16", x)
        loss = mixed.loss(lambda y: F.cross_entropy(logits, y, label_smoothing=self.recipe.label_smoothing), labels)
        if self.teacher is not None:
            weight = self.recipe.teacher_weight
            loss = (1 - weight) * loss + weight * self.teacher.loss(x, logits, self.recipe)
        return loss, (logits.argmax(1) == labels).sum()

    def sides(self, step: int) -> tuple[int, int]:
        """(height, width) of images at `step`: in steps of 4 pixels from the first resolution to the full one."""
        recipe, (height, width) = self.recipe, self.preparation.cropped
        done = step / self.steps
        if recipe.first_resolution == 1 or done >= recipe.full_resolution:
            return height, width
        share = recipe.first_resolution + (1 - recipe.first_resolution) * done / recipe.full_resolution
        return min(height, max(8, round(share * height / 4) * 4)), min(width, max(8, round(share * width / 4) * 4))

    def updated(self) -> None:
        """After an update: the running average of the weights, and which of them are pruned."""
        self._average()
        density = sparsity.density_at(self.recipe, self.step / self.steps)
        if density != self.kept_share:
            self.kept = sparsity.masks(self.model, density) if density < 1 else {}
            self.kept_share = density
        for network in {self.model, self.shipped}:
            sparsity.apply_masks(network, self.kept)
        self.step += 1

    @torch.no_grad()
    def _average(self) -> None:
        if self.shipped is self.model:
            return
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))  # short at first: the start is soon forgotten
        kept, new = self.shipped.state_dict().values(), self.model.state_dict().values()
        pairs = list(zip(kept, new, strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([old for old, _ in floats], [value for _, value in floats], 1 - decay)
        for old, value in pairs:
            if not old.is_floating_point():
                old.copy_(value)

    def settle(self) -> None:
        """After the last step: put weights into the memory layout in which they are saved and will be evaluated."""
        for model in (self.model, self.shipped):
            model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def row(self, score: Score, per_epoch: int) -> dict[str, Any]:
        """A line of metrics.jsonl, of all processes together, and a new epoch."""
        loss, correct, seen = self.group.add(float(self.loss), int(self.correct), self.seen)
        row = {
            "step": self.step,
            "steps": self.steps,
            "epoch": round(self.step / per_epoch, 3),
            "loss": round(loss / max(seen, 1), 6),
            "train_top1": round(100 * correct / max(seen, 1), 3),
            "top1": round(score.top1, 3),
            "top5": round(score.top5, 3),
            "lr": self.recipe.rate(self.step - 1, self.steps),
            "images_per_second": round(self.images / max(self.seconds, 1e-9), 1),
        }
        self.loss, self.correct, self.seen = 0.0, 0, 0
        return row

    def tensors(self) -> dict[str, Tensor]:
        """The running average of the weights, and which are pruned."""
        held = {f"kept.{name}": mask for name, mask in self.kept.items()}
        if self.shipped is not self.model:
            held |= {f"ema.{name}": tensor for name, tensor in self.shipped.state_dict().items()}
        return held

    def counters(self) -> dict[str, Any]:
        """Everything else, as JSON can hold it."""
        return {
            "kept_share": self.kept_share,
            "images": self.images,
            "seconds": self.seconds,
            "loss": float(self.loss),
            "correct": int(self.correct),
            "seen": self.seen,
            "unreadable": {str(index): why for index, why in sorted(self.unreadable.items())},
        }

    def restore(self, found: Checkpoint) -> None:
        """Take back `tensors` and `counters`. Raises `CheckpointError` if they belong to another network."""
        tensors, counters = found.tensors, found.state
        if self.shipped is not self.model:
            restore_module(self.shipped, tensors, "ema.")
        self.kept = {name: mask.to(self.device) for name, mask in under("kept.", tensors).items()}
        self.kept_share = counters["kept_share"]
        self.step = found.step
        self.images, self.seconds = counters["images"], counters["seconds"]
        self.unreadable = {int(index): why for index, why in counters["unreadable"].items()}
        if self.group.first:  # sums of the epoch so far, of all processes
            self.loss, self.correct, self.seen = counters["loss"], counters["correct"], counters["seen"]
