"""Fine-tuning between the stages of compression: the step loop of `training.loop` on images that are prepared already.

    >>> fine_tune(network, teaching, Retraining(epochs=2))            # doctest: +SKIP

With labels the loss is cross-entropy. Without labels the network learns to give the logits that it gave before it was
compressed (distillation: Hinton et al. 2015); "both" is the mean of the two losses. Pruned weights stay zero, and a
centroid gets the sum of the gradients of the weights that share it (`models.network`).
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation, augment, draw, normalised
from squeezenet.errors import DataError
from squeezenet.model import Model, Outputs
from squeezenet.models.network import Network
from squeezenet.models.outputs import divergence, label_loss
from squeezenet.preparation import Preparation
from squeezenet.training.loop import Plan, answer, resume, take_steps, warm_cosine
from squeezenet.training.surroundings import CPU

Objective = Literal["labels", "distill", "both"]

NO_AUGMENTATION = Augmentation(mirror=False)

WARMUP = 0.1  # share of the steps in which the learning rate rises
LONGEST = 1.0  # norm of the gradient

IMAGES_PER_CLASS = 50  # with fewer, the uncompressed network teaches better than the labels


@dataclass(frozen=True, eq=False)
class Teaching:
    """What a network learns from: prepared images, and labels or a `teacher`, (N, C, H, W) -> logits (N, classes).

    It learns on `device`, where the teacher is already.
    """

    pixels: Pixels
    preparation: Preparation
    objective: Objective
    teacher: Callable[..., Tensor] | None = None
    augmentation: Augmentation = NO_AUGMENTATION
    device: torch.device = CPU
    outputs: Outputs = "classes"  # what the logits mean

    def __post_init__(self) -> None:
        if self.objective != "distill" and self.pixels.labels is None:
            raise DataError("these images have no labels; fine-tune by distillation instead")


@dataclass(frozen=True)
class Retraining:
    """How long and how fast a network learns. Adam's rate rises to `lr`, then falls to 0 by half a cosine."""

    epochs: float = 2.0
    batch_size: int = 16
    lr: float = 1e-4


def choose_objective(pixels: Pixels, classes: int, outputs: Outputs = "classes") -> Objective:
    """Labels if there are at least `IMAGES_PER_CLASS` for each class on average, else distillation.

    A network with several labels learns by distillation: data with one class for each image do not say which other
    labels apply.
    """
    if pixels.labels is None or (outputs == "labels" and classes > 1):
        return "distill"
    told_apart = classes if outputs == "classes" else 2
    return "labels" if len(pixels) >= IMAGES_PER_CLASS * told_apart else "distill"


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
    """What `network` learns from `pixels`: their labels where there are enough of them, else the logits it gives now.

    A `teacher` (on `device`) replaces the network as it is now, and is used in addition to labels, too. `features`
    need a teacher in any case. Without an `augmentation`, photographs are mirrored while distilling: a teacher needs no
    label for what it is shown.
    """
    if objective == "auto":
        objective = choose_objective(pixels, model.graph.classes, model.outputs)
        objective = "both" if teacher and objective == "labels" else objective
    if teacher is None and (features or objective != "labels"):
        teacher = teacher_of(network).to(device)
    mirror = objective != "labels" and model.preparation.channels != "L"
    how = augmentation or Augmentation(mirror=mirror)
    return Teaching(pixels, model.preparation, objective, teacher, how, device, model.outputs)


def some(pixels: Pixels, preparation: Preparation, count: int) -> Tensor:
    """At most `count` prepared images, evenly spaced among all."""
    have = len(pixels)
    chosen = torch.arange(min(count, have)) * have // min(count, have)
    return prepared(Teaching(pixels, preparation, "distill"), chosen)


def fine_tune(
    network: Network,
    teaching: Teaching,
    how: Retraining,
    seed: int = 0,
    tick: Callable[[float], object] = lambda loss: None,
    checkpoints: Path | None = None,
    bf16: bool = False,
) -> None:
    """Train the parameters of the weights and biases of `network`, in place. `tick(loss)` is called after every step.

    The network learns on the device of `teaching`, and is moved back afterwards. With a folder of `checkpoints`, a
    run that was stopped goes on from its last one. With `bf16`, products are computed in bfloat16, which a processor
    with such instructions does several times as fast. Raises `TrainingError` when the loss is not a number.
    """
    count = len(teaching.pixels)
    steps = steps_of(how, count)
    home, start = next(network.parameters()).device, sha256()
    for tensor in network.state_dict().values():
        start.update(tensor.cpu().numpy().tobytes())
    network.train().to(teaching.device)

    def batches(first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices of images, and random numbers for their augmentation. Those of steps already taken are skipped."""
        random = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.long)
        size = min(how.batch_size, count)
        for step in range(steps):
            if len(order) < size:
                order = torch.cat([order, torch.randperm(count, generator=random)])
            chosen, order = order[:size], order[size:]
            draws = draw(size, random)
            if step >= first:
                yield chosen, draws

    def losses(step: int, batch: tuple[Tensor, Tensor]) -> Iterator[Tensor]:
        images = prepared(teaching, *batch)
        answers = answers_of(teaching, images, bf16)
        yield loss_of(answer(network, bf16, images), teaching, batch[0], answers)

    told = {**asdict(how), "seed": seed, "objective": teaching.objective, "images": count, "start": start.hexdigest()}
    plan = Plan(
        network=network, steps=steps, optimisers=[torch.optim.Adam(network.parameters(), lr=how.lr)],
        rate=warm_cosine(WARMUP, steps), batches=batches, losses=losses, clip=LONGEST,
        told=lambda step, loss: tick(loss), checkpoints=checkpoints, identity=told,
    )  # fmt: skip
    take_steps(plan, resume(plan))
    network.eval().to(home)


def steps_of(how: Retraining, images: int) -> int:
    """How many steps a network learns from `images` images."""
    return round(how.epochs * images / min(how.batch_size, images))


def prepared(teaching: Teaching, chosen: Tensor, draws: Tensor | None = None) -> Tensor:
    """A batch of network inputs (N, C, H, W) on the teaching's device, augmented by `draws` where they are given."""
    images = torch.from_numpy(teaching.pixels.images[chosen.numpy()]).to(teaching.device)
    if draws is not None:
        images = augment(images, teaching.augmentation, (images.shape[2], images.shape[3]), draws)  # (N, C, H, W)
    return normalised(images, teaching.preparation)


@torch.no_grad()
def answers_of(
    teaching: Teaching, images: Tensor, bf16: bool = False, seen: dict[str, Tensor] | None = None
) -> Tensor | None:
    """The teacher's logits (N, classes) for prepared `images`, or None where there is no teacher.

    `seen` gets the output of each of its layers, for a teacher that is a `Network`.
    """
    if teaching.teacher is None:
        return None
    return answer(teaching.teacher, bf16, images, *([] if seen is None else [seen]))


def loss_of(logits: Tensor, teaching: Teaching, chosen: Tensor, answers: Tensor | None) -> Tensor:
    """The loss of `logits` (N, classes) for the `chosen` images; `answers` are the teacher's logits."""
    losses = []
    if teaching.objective != "distill":
        assert teaching.pixels.labels is not None
        labels = torch.from_numpy(teaching.pixels.labels[chosen.numpy()]).to(logits.device)
        losses.append(label_loss(logits, labels, teaching.outputs))
    if teaching.objective != "labels":
        assert answers is not None
        losses.append(divergence(logits, answers, teaching.outputs))
    return torch.stack(losses).mean()
