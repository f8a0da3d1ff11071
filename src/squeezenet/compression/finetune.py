"""Retraining between the stages: weights under their mask, centroids by the gradient of all weights that share them.

    >>> fine_tune(network, tuning, Tuning(epochs=2))            # doctest: +SKIP

With labels the loss is cross-entropy; without, the network learns to answer as it did before it was compressed
(distillation: Hinton et al. 2015), which needs images only; "both" is the mean of the two.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation, augment, draw, normalised
from squeezenet.errors import DataError, TrainingError
from squeezenet.model import Model
from squeezenet.models.network import Network
from squeezenet.preparation import Preparation
from squeezenet.training.surroundings import CPU

Objective = Literal["labels", "distill", "both"]

NO_AUGMENTATION = Augmentation(mirror=False)

# A network without batch normalisation that just lost most of its weights is easily thrown off for good.
WARMUP = 0.1
MAX_GRADIENT = 1.0

IMAGES_PER_CLASS = 50
"""Labels teach more than the uncompressed network does only where there are enough of them."""


@dataclass(frozen=True, eq=False)
class Teaching:
    """What to fine-tune on: prepared images, and their labels or what to answer as: (N, C, H, W) -> (N, classes).

    Networks learn on `device`; a `teacher` is already there.
    """

    pixels: Pixels
    preparation: Preparation
    objective: Objective
    teacher: Callable[..., Tensor] | None = None
    augmentation: Augmentation = NO_AUGMENTATION
    device: torch.device = CPU

    def __post_init__(self) -> None:
        if self.objective != "distill" and self.pixels.labels is None:
            raise DataError("these images have no labels; fine-tune by distillation instead")


@dataclass(frozen=True)
class Tuning:
    """How long and how fast. `lr` is Adam's: it climbs for a tenth of the run, then falls to zero by half a cosine."""

    epochs: float = 2.0
    batch_size: int = 16
    lr: float = 1e-4
    seed: int = 0


def choose_objective(pixels: Pixels, classes: int) -> Objective:
    """Labels where there are some `IMAGES_PER_CLASS` of them for each class, else distillation."""
    return "labels" if pixels.labels is not None and len(pixels) >= IMAGES_PER_CLASS * classes else "distill"


def teacher_of(network: Network) -> nn.Module:
    """A frozen copy of `network` as it is now."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def teaching_for(
    model: Model,
    network: Network,
    pixels: Pixels,
    objective: Objective | Literal["auto"],
    augmentation: Augmentation | None,
    features: bool = False,
    teacher: Callable[..., Tensor] | None = None,
    device: torch.device = CPU,
) -> Teaching:
    """What `network` learns from `pixels`: labels where there are enough of them, else what it answers now.

    A `teacher` (on `device`) is asked in its stead, and beside labels, too. With `features`, one is asked in any case.
    Without an `augmentation`, photographs are mirrored while distilling: the teacher answers whatever it is shown.
    """
    if objective == "auto":
        objective = choose_objective(pixels, model.graph.classes)
        objective = "both" if teacher and objective == "labels" else objective
    if teacher is None and (features or objective != "labels"):
        teacher = teacher_of(network).to(device)
    mirror = objective != "labels" and model.preparation.channels != "L"
    return Teaching(pixels, model.preparation, objective, teacher, augmentation or Augmentation(mirror=mirror), device)


def some(pixels: Pixels, preparation: Preparation, count: int) -> Tensor:
    """At most `count` prepared images, taken evenly over those there are."""
    have = len(pixels)
    chosen = torch.arange(min(count, have)) * have // min(count, have)
    return prepared(Teaching(pixels, preparation, "distill"), chosen)


def fine_tune(
    network: Network, teaching: Teaching, tuning: Tuning, tick: Callable[[float], object] = lambda loss: None
) -> None:
    """Train what the network's weights and biases are made of. `tick(loss)` is called after every step.

    The network learns on the device of `teaching`, and is where it was afterwards. Raises `TrainingError` when the loss
    is not a number.
    """
    count = len(teaching.pixels)
    batch_size = min(tuning.batch_size, count)
    steps = steps_of(tuning.epochs, batch_size, count)
    home = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.to(teaching.device).parameters(), lr=tuning.lr)
    random = torch.Generator().manual_seed(tuning.seed)
    network.train()
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < batch_size:
            order = torch.cat([order, torch.randperm(count, generator=random)])
        chosen, order = order[:batch_size], order[batch_size:]
        for group in optimizer.param_groups:
            group["lr"] = tuning.lr * min(1.0, (step + 1) / (WARMUP * steps)) * (1 + cos(pi * step / steps)) / 2
        images = prepared(teaching, chosen, random)
        loss = loss_of(network(images), teaching, chosen, answers_of(teaching, images))
        if not torch.isfinite(loss):
            raise TrainingError(f"the loss is not a number after {step} steps of fine-tuning; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT)
        optimizer.step()
        tick(float(loss.detach()))
    network.eval().to(home)


def steps_of(epochs: float, batch_size: int, images: int) -> int:
    """How many steps a run of fine-tuning on `images` images takes."""
    return round(epochs * images / min(batch_size, images))


def prepared(teaching: Teaching, chosen: Tensor, random: torch.Generator | None = None) -> Tensor:
    """A batch of network inputs (N, C, H, W) on the teaching's device, augmented where `random` is given."""
    images = torch.from_numpy(teaching.pixels.images[chosen.numpy()]).to(teaching.device)
    if random is not None:
        images = augment(images, teaching.augmentation, images.shape[-1], draw(len(images), random))  # (N, C, H, W)
    return normalised(images, teaching.preparation)


def answers_of(teaching: Teaching, images: Tensor, seen: dict[str, Tensor] | None = None) -> Tensor | None:
    """What the teacher answers to prepared `images`: (N, classes), or None where there is none.

    `seen` gets what each of its layers gives, for a teacher that is a `Network`.
    """
    if teaching.teacher is None:
        return None
    with torch.no_grad():
        answers: Tensor = teaching.teacher(images) if seen is None else teaching.teacher(images, seen)
    return answers.float()


def loss_of(logits: Tensor, teaching: Teaching, chosen: Tensor, answers: Tensor | None) -> Tensor:
    """What `logits` (N, classes) get wrong about the `chosen` images; `answers` are the teacher's."""
    losses = []
    if teaching.objective != "distill":
        assert teaching.pixels.labels is not None
        labels = torch.from_numpy(teaching.pixels.labels[chosen.numpy()]).to(logits.device)
        losses.append(F.cross_entropy(logits, labels))
    if teaching.objective != "labels":
        assert answers is not None
        target = F.log_softmax(answers, 1)
        losses.append(F.kl_div(F.log_softmax(logits, 1), target, log_target=True, reduction="batchmean"))
    return torch.stack(losses).mean()
