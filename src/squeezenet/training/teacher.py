"""Distillation: a network learns to give the logits of a larger one, its teacher (Hinton et al. 2015, 1503.02531).

>>> teacher = load_teacher("big/", preparation, ("cat", "dog"), 2, torch.device("cpu"))      # doctest: +SKIP
>>> teacher.loss(x, logits, recipe)                                                 # doctest: +SKIP
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from squeezenet.data.classes import few, outputs_of
from squeezenet.errors import UsageError
from squeezenet.formats import load_model
from squeezenet.model import Model, Outputs
from squeezenet.models.network import from_model
from squeezenet.preparation import Preparation
from squeezenet.training.loop import answer
from squeezenet.training.recipe import START, Recipe


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network that gives logits for the student's images, in the order of the student's classes.

    Its input is `x * scale + offset` of the student's input `x`, with the channels in reverse order where `turned`.
    """

    network: nn.Module
    scale: Tensor  # (C, 1, 1)
    offset: Tensor
    turned: bool
    order: Tensor  # (classes,): the teacher's output for each of the student's classes

    def answer(self, x: Tensor) -> Tensor:
        """The student's input `x` (N, C, H, W) -> the teacher's logits (N, classes)."""
        seen = x * self.scale + self.offset
        logits: Tensor = self.network(seen.flip(1) if self.turned else seen)
        return logits[:, self.order]

    def loss(self, x: Tensor, logits: Tensor, recipe: Recipe) -> Tensor:
        """The divergence of `logits` (N, classes) from the teacher's for `x`, both divided by the temperature."""
        t = recipe.temperature
        with torch.no_grad():
            target = F.log_softmax(answer(self.answer, recipe.precision == "bf16", x) / t, 1)
        mine = F.log_softmax(logits / t, 1)
        return t * t * F.kl_div(mine, target, log_target=True, reduction="batchmean")


def load_teacher(
    named: str | Model,
    student: Preparation,
    labels: tuple[str, ...],
    classes: int,
    device: torch.device,
    outputs: Outputs = "classes",
) -> Teacher:
    """A model, or the one in the file or run folder `named`, for a student of so many `classes` with these `labels`.

    `outputs`: what the student's logits mean. Classes are matched by name; by number where the student or the teacher
    has no names. Raises `ModelError`, and `UsageError` if the teacher expects other images or knows other classes.
    """
    where, model = (named, load_model(named)) if isinstance(named, str) else (START, named)
    its = model.preparation
    colours = {frozenset("RGB"), frozenset("BGR")}
    same = its.channels == student.channels or {frozenset(its.channels), frozenset(student.channels)} <= colours
    if its.shape != student.shape or its.resize != student.resize or its.fit != student.fit or not same:
        raise UsageError(f"teacher {where}: prepares images otherwise ({its}) than the student ({student})")
    if model.graph.classes != classes:
        raise UsageError(f"teacher {where}: knows {model.graph.classes} classes, the student {classes}")
    if model.outputs != outputs:
        raise UsageError(f"teacher {where}: its outputs are {model.outputs}, those of the student are {outputs}")
    order = np.arange(classes)
    if labels and model.labels:
        order = outputs_of(labels, model.labels, classes)
        if unknown := [name for name, output in zip(labels, order.tolist(), strict=True) if output < 0]:
            raise UsageError(f"teacher {where}: its classes do not include {few(unknown, model.labels)}")
    turned = its.channels != student.channels
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (its.mean, its.std))
    own_mean, own_std = (torch.tensor(v, device=device)[:, None, None] for v in (student.mean, student.std))
    if turned:  # in the student's order of channels
        mean, std = mean.flip(0), std.flip(0)
    network = from_model(model).eval().requires_grad_(False).to(device)
    return Teacher(network, own_std / std, (own_mean - mean) / std, turned, torch.from_numpy(order).to(device))
