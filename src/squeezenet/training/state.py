"""The state of a training run, and one step of the optimiser.

>>> state = State(model, MODERN, steps=1000, device=torch.device("cpu"))        # doctest: +SKIP
>>> loss, correct, rate = state.advance(images, labels, preparation)            # doctest: +SKIP
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet.data.augment import augment, finish
from squeezenet.data.score import Score
from squeezenet.preparation import Preparation
from squeezenet.training.checkpoint import optimiser_tensors, restore_module, restore_optimiser
from squeezenet.training.recipe import Recipe


class State:
    """All of a run that a checkpoint holds, and the one step that changes it."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> None:
        self.model = model.train().to(
            memory_format=torch.channels_last
        )  # 1.3 to 1.7 times as fast (`digits`, one CPU thread)
        self.recipe = recipe
        self.steps = steps
        self.device = device
        self.optimiser = recipe.optimiser(model)
        self.shipped = copy.deepcopy(model) if recipe.ema else model  # the weights that are judged and saved
        self.step = 0
        self.images, self.seconds = 0, 0.0  # of the whole run
        self.loss, self.correct, self.seen = 0.0, 0, 0  # of this epoch
        self.unreadable: list[int] = []

    def advance(self, images: Tensor, labels: Tensor, preparation: Preparation) -> tuple[float, int, float]:
        """One step of the optimiser: mean loss, images that were right, learning rate."""
        recipe, how = self.recipe, self.recipe.augmentation
        lr = recipe.rate(self.step, self.steps)
        seed = int(np.random.SeedSequence((recipe.seed, self.step)).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)  # dropout
        random = torch.Generator().manual_seed(seed)
        mean = torch.tensor(preparation.mean, device=self.device)[:, None, None]
        std = torch.tensor(preparation.std, device=self.device)[:, None, None]
        total, correct = 0.0, 0
        self.optimiser.zero_grad()
        micro = recipe.micro_batch or max(len(labels), 1)
        for part, truth in zip(images.split(micro), labels.split(micro), strict=True):
            x = augment(part.to(self.device), how, preparation.crop, random)
            x = finish((x.float() - mean) / std, how, random)  # (n, C, crop, crop), as runtime.image.normalise
            x = x.contiguous(memory_format=torch.channels_last)
            truth = truth.to(self.device)
            logits = self.model(x)
            loss = F.cross_entropy(logits, truth, label_smoothing=recipe.label_smoothing) * (len(truth) / len(labels))
            loss.backward()
            total += loss.item()
            correct += int((logits.argmax(1) == truth).sum())
        if recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        if len(labels):  # a batch of images none of which can be read teaches nothing
            self.optimiser.step()
        self._average()
        self.step += 1
        self.images += len(labels)
        self.loss, self.correct, self.seen = (
            self.loss + total * len(labels),
            self.correct + correct,
            self.seen + len(labels),
        )
        return total, correct, lr

    @torch.no_grad()
    def _average(self) -> None:
        if self.shipped is self.model:
            return
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))  # short at first: the start is soon forgotten
        for kept, new in zip(self.shipped.state_dict().values(), self.model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def settle(self) -> None:
        """After the last step: weights in the layout in which they are saved and will be judged by everyone else."""
        self.model.to(memory_format=torch.contiguous_format)
        self.shipped.to(memory_format=torch.contiguous_format)

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def row(self, score: Score, per_epoch: int, lr: float) -> dict[str, Any]:
        """A line of metrics.jsonl, and a new epoch."""
        seen = max(self.seen, 1)
        row = {
            "step": self.step,
            "epoch": round(self.step / per_epoch, 3),
            "loss": round(self.loss / seen, 6),
            "train_top1": round(100 * self.correct / seen, 3),
            "top1": round(score.top1, 3),
            "top5": round(score.top5, 3),
            "lr": lr,
            "images_per_second": round(self.images / max(self.seconds, 1e-9), 1),
        }
        self.loss, self.correct, self.seen = 0.0, 0, 0
        return row

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their running average, and what the optimiser remembers."""
        held = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.shipped is not self.model:
            held |= {f"ema.{name}": tensor for name, tensor in self.shipped.state_dict().items()}
        return held | optimiser_tensors(self.optimiser)

    def counters(self) -> dict[str, Any]:
        """Everything else, as JSON can hold it."""
        names = ("images", "seconds", "loss", "correct", "seen", "unreadable")
        return {name: getattr(self, name) for name in names}

    def restore(self, step: int, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """Take up what a checkpoint holds. Raises `CheckpointError` if it belongs to another network."""
        restore_module(self.model, tensors, "model.")
        if self.shipped is not self.model:
            restore_module(self.shipped, tensors, "ema.")
        restore_optimiser(self.optimiser, tensors)
        self.step = step
        for name, value in counters.items():
            setattr(self, name, value)
