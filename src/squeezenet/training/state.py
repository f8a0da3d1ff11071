"""The state of a training run, and one step of the optimiser.

>>> state = State(model, MODERN, steps=1000, preparation=preparation)           # doctest: +SKIP
>>> state.advance(batch)                                                        # doctest: +SKIP
Step(loss=2.31, correct=7, images=64, lr=0.0004)
"""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
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
from squeezenet.training.checkpoint import optimiser_tensors, restore_module, restore_optimiser
from squeezenet.training.distributed import Gradients, Group
from squeezenet.training.mixing import Mix, mix
from squeezenet.training.recipe import Recipe
from squeezenet.training.teacher import Teacher


@dataclass(frozen=True)
class Step:
    """What a step came to in this process: mean loss of its images and how many were right, not waited for."""

    loss: Tensor
    correct: Tensor
    images: int
    lr: float


class State:
    """All of a run that a checkpoint holds, and the one step that changes it."""

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
        # 1.3 to 1.7 times as fast (`digits`, one CPU thread)
        self.model = model.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self.steps = steps
        self.preparation = preparation
        self.teacher = teacher
        self.optimisers = recipe.optimisers(model)
        self.highest = [group["lr"] for optimiser in self.optimisers for group in optimiser.param_groups]
        self.shipped = copy.deepcopy(model) if recipe.ema else model  # the weights that are judged and saved
        self.shared = self.group.share(torch.compile(model) if compiled else model, gradients)  # type: ignore[arg-type]
        self.kept: dict[str, Tensor] = {}  # which weights are not pruned; empty while all are there
        self.kept_share = 1.0
        self.step = 0
        self.images, self.seconds = 0, 0.0  # of the whole run, all processes
        self.loss: Tensor | float = 0.0  # of this epoch, this process
        self.correct: Tensor | int = 0
        self.seen = 0
        self.unreadable: dict[int, str] = {}

    def advance(self, batch: Batch) -> Step:
        """One step of the optimiser on this process's part of a batch."""
        recipe, count = self.recipe, len(batch.labels)
        lr = recipe.rate(self.step, self.steps)
        seed = int(np.random.SeedSequence((recipe.seed, self.step)).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed + self.group.rank)  # dropout
        random = torch.Generator().manual_seed(seed)
        draws = draw(batch.size, random)[batch.rows]  # of the whole batch, so that they depend on no one's share of it
        mixed = mix(recipe, random)
        total, correct = torch.zeros((), device=self.device), torch.zeros((), dtype=torch.long, device=self.device)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        micro = recipe.micro_batch or max(count, 1)
        for start in range(0, max(count, 1), micro):
            part = slice(start, start + micro)
            last = start + micro >= count
            waits = nullcontext() if last or self.group.size == 1 else self.shared.no_sync()  # type: ignore[operator]
            with waits:
                loss, right = self._learn(batch.images[part], batch.labels[part], draws[part], mixed, batch.size)
            total += loss
            correct += right
        if recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        self._update(lr)
        self.step += 1
        self.loss, self.correct, self.seen = self.loss + total, self.correct + correct, self.seen + count
        self.images += batch.size - len(batch.unreadable)
        return Step(total / max(count, 1), correct, count, lr)

    def _learn(
        self, images: Tensor, labels: Tensor, draws: Tensor, mixed: Mix, batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """Sum of the losses, and how many were right; leaves gradients."""
        if not len(labels):  # none of them can be read, yet the others wait for this process's gradients
            blank = torch.zeros(1, *self.preparation.shape, device=self.device)
            (self.shared(blank).sum() * 0).backward()
            return torch.zeros((), device=self.device), torch.zeros((), dtype=torch.long, device=self.device)
        how, crop = self.recipe.augmentation, self.preparation.crop
        labels = labels.to(self.device, non_blocking=True)
        x = network_input(images.to(self.device, non_blocking=True), how, self.preparation, draws)
        side = self.side(self.step)
        if side < crop:
            x = F.interpolate(x, (side, side), mode="bilinear", antialias=True)
        x = mixed.images(x).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            logits = self.shared(x)
        logits = logits.float()
        loss = mixed.loss(lambda truth: self._labels_loss(logits, truth), labels)
        if self.teacher is not None:
            weight = self.recipe.teacher_weight
            loss = (1 - weight) * loss + weight * self.teacher.loss(x, logits, self.recipe)
        # The mean over all processes is what the optimiser sees; an unreadable image counts as one without gradient.
        (loss * (len(labels) * self.group.size / batch_size)).backward()
        return loss.detach() * len(labels), (logits.argmax(1) == labels).sum()

    def _labels_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)

    def side(self, step: int) -> int:
        """Side of the images at `step`: in steps of 4 pixels from the first resolution to the full one."""
        recipe, crop = self.recipe, self.preparation.crop
        done = step / self.steps
        if recipe.first_resolution == 1 or done >= recipe.full_resolution:
            return crop
        share = recipe.first_resolution + (1 - recipe.first_resolution) * done / recipe.full_resolution
        return min(crop, max(8, round(share * crop / 4) * 4))

    def _update(self, lr: float) -> None:
        groups = [group for optimiser in self.optimisers for group in optimiser.param_groups]
        for group, highest in zip(groups, self.highest, strict=True):
            group["lr"] = highest * lr / self.recipe.lr
        for optimiser in self.optimisers:
            optimiser.step()
        self._average()
        density = sparsity.density_at(self.recipe, self.step / self.steps)
        if density != self.kept_share:
            self.kept = sparsity.masks(self.model, density) if density < 1 else {}
            self.kept_share = density
        for network in {self.model, self.shipped}:
            sparsity.apply_masks(network, self.kept)

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
        """After the last step: weights in the layout in which they are saved and will be judged by everyone else."""
        for model in (self.model, self.shipped):
            model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def row(self, score: Score, per_epoch: int, lr: float) -> dict[str, Any]:
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
            "lr": lr,
            "images_per_second": round(self.images / max(self.seconds, 1e-9), 1),
        }
        self.loss, self.correct, self.seen = 0.0, 0, 0
        return row

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their running average, and what the optimisers remember."""
        held = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.shipped is not self.model:
            held |= {f"ema.{name}": tensor for name, tensor in self.shipped.state_dict().items()}
        held |= {f"kept.{name}": mask for name, mask in self.kept.items()}
        for number, optimiser in enumerate(self.optimisers):
            held |= optimiser_tensors(optimiser, f"optimiser{number}.")
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

    def restore(self, step: int, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """Take up what a checkpoint holds. Raises `CheckpointError` if it belongs to another network."""
        restore_module(self.model, tensors, "model.")
        if self.shipped is not self.model:
            restore_module(self.shipped, tensors, "ema.")
        for number, optimiser in enumerate(self.optimisers):
            restore_optimiser(optimiser, tensors, f"optimiser{number}.")
        self.kept = {
            name.removeprefix("kept."): mask.to(self.device)
            for name, mask in tensors.items()
            if name.startswith("kept.")
        }
        self.kept_share = counters["kept_share"]
        self.step = step
        self.images, self.seconds = counters["images"], counters["seconds"]
        self.unreadable = {int(index): why for index, why in counters["unreadable"].items()}
        if self.group.first:  # sums of the epoch so far, of all processes
            self.loss, self.correct, self.seen = counters["loss"], counters["correct"], counters["seen"]
