"""How a network is trained: one value that is saved beside the weights, and three that work.

    >>> PAPER.rate(0, 170_000), PAPER.rate(85_000, 170_000)
    (0.04, 0.02)
    >>> FINETUNE.for_images(270).epochs, FINETUNE.for_images(50_000).epochs
    (12.0, 2.0)

`PAPER` is the released solver file: SGD with momentum 0.9, rate 0.04 falling linearly to 0, 170,000 iterations of 512
images (32 x 16 accumulated), weight decay 2e-4, random crop and mirror. `MODERN` is what became usual since.
`FINETUNE` goes on from a trained model (transfer learning).
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.models.network import Network
from squeezenet.training.muon import Muon

MUON_OTHERS = 0.02  # highest learning rate of what Muon cannot train: biases, scales and the last layer

START = "start"
"""As a teacher: the model that training starts from, whose old classes are read as the new ones."""

EPOCHS_OF_270 = 12.0
"""Epochs of fine-tuning on 270 images, 5 classes of 54."""


@dataclass(frozen=True)
class Recipe:
    """Everything but the network and the data that decides what the weights become.

    Raises `UsageError` for values that cannot work.
    """

    name: str = "paper"
    epochs: float = 0.0  # passes over the images; 0: `iterations` counts
    iterations: int = 170_000  # steps of the optimiser
    batch_size: int = 512  # images per step, of all processes together
    micro_batch: int = 32  # images in memory at once; their gradients are summed up. 0: all that a process has
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    lr: float = 0.04
    body_lr: float = 1.0  # learning rate of all layers but the last, as a share of `lr`
    frozen: float = 0.0  # share of the layers, counted from the input, that keep the weights they start with
    schedule: Literal["linear", "cosine"] = "linear"  # from `lr` down to 0
    warmup: float = 0.0  # share of the steps over which the rate first climbs; 0.3 makes either a one-cycle schedule
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 2e-4
    decay_bias: bool = True  # Caffe decays biases like weights
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay of the running average of the weights; 0: none
    clip: float = 0.0  # longest gradient that is applied as it is; 0: any
    precision: Literal["float32", "bf16", "auto"] = "float32"  # of products; weights and sums stay float32
    mixup: float = 0.0  # alpha of the Beta distribution (1710.09412); 0: none
    cutmix: float = 0.0  # the same (1905.04899); with both, each batch gets one of them
    first_resolution: float = 1.0  # side of the first images, of the full side: small ones are quick to learn from
    full_resolution: float = 0.5  # share of the run after which they have grown to the full side
    density: float = 1.0  # share of weights that are kept: see training/sparsity.py
    sparse_from: float = 0.4  # share of the run after which pruning begins,
    sparse_full: float = 0.7  # is as far as `density`,
    dense_again: float = 1.0  # and is lifted (dense-sparse-dense); 1: never
    teacher: str = ""  # a model to imitate (Hinton et al. 2015), by file; none by default. `START`: see transfer.py
    teacher_weight: float = 0.9  # share of the loss that is its answers rather than labels
    temperature: float = 4.0  # by which both networks' logits are divided then
    augmentation: Augmentation = field(default_factory=Augmentation)
    start: Literal["paper", "scaled"] = "paper"  # of a fresh network: see training/start.py
    weights: str = ""  # a run folder or .safetensors of the same network to go on from, instead of a fresh start
    seed: int = 0

    def __post_init__(self) -> None:
        how = self.augmentation
        checks = {
            "epochs": 0 <= self.epochs < math.inf,
            "iterations": self.iterations > 0,
            "batch_size": self.batch_size > 0,
            "micro_batch": self.micro_batch >= 0,
            "lr": 0 < self.lr < math.inf,
            "body_lr": 0 < self.body_lr <= 1,
            "frozen": 0 <= self.frozen < 1,
            "warmup": 0 <= self.warmup < 1,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "ema": 0 <= self.ema < 1,
            "clip": self.clip >= 0,
            "mixup": self.mixup >= 0,
            "cutmix": self.cutmix >= 0,
            "first_resolution": 0 < self.first_resolution <= 1,
            "full_resolution": 0 <= self.full_resolution <= 1,
            "density": 0 < self.density <= 1,
            "sparse_from": 0 <= self.sparse_from < self.sparse_full,
            "sparse_full": self.sparse_full < self.dense_again,
            "dense_again": self.dense_again <= 1,
            "teacher_weight": 0 <= self.teacher_weight <= 1,
            "temperature": self.temperature > 0,
            "pad": how.pad >= 0,
            "zoom": 0 <= how.zoom < 1,
            "area": 0 < how.area <= 1,
        }
        for name, right in checks.items():
            if not right:
                held = how if hasattr(how, name) else self
                usual = getattr(type(held), name)  # fields of the classes hold the paper's values
                raise UsageError(f"{name} {getattr(held, name)} cannot work; the paper's is {usual}")

    def steps(self, per_epoch: int) -> int:
        """Steps of the whole run, where `per_epoch` steps show every image once."""
        return self.iterations if self.epochs == 0 else max(1, round(self.epochs * per_epoch))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step`, counted from 0, of `steps`."""
        climb = self.warmup * steps
        if step < climb:
            return self.lr * (step + 1) / (climb + 1)
        done = (step - climb) / (steps - climb)
        return self.lr * (1 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))

    def for_images(self, images: int) -> "Recipe":
        """The same recipe with as many epochs as suit `images` training images: `12 * sqrt(270 / images)`.

        So the number of images shown, epochs times images, grows with the square root of `images`: 790 for 18 images,
        3,240 for 270, 13,200 for 4,500. At least 2 epochs, at most 60.
        """
        epochs = EPOCHS_OF_270 * math.sqrt(270 / max(images, 1))
        return replace(self, epochs=round(min(max(epochs, 2.0), 60.0), 1))

    def optimisers(self, model: nn.Module) -> list[torch.optim.Optimizer]:
        """Fresh ones; the loop sets the rate of every step. Muon leaves the last layer and all vectors to SGD.

        Layers that `frozen` names no longer ask for gradients afterwards.
        """
        layers = by_layer(model)
        for parameter in (p for layer in layers[: round(self.frozen * len(layers))] for p in layer):
            parameter.requires_grad_(False)
        learned = [p for p in model.parameters() if p.requires_grad]
        if self.optimizer == "muon":
            inner = [p for p in learned if p.ndim > 1][:-1]
            mine = {id(p) for p in inner}
            others = self._groups([p for p in learned if id(p) not in mine])
            return [Muon(inner, self.lr, self.momentum), torch.optim.SGD(others, MUON_OTHERS, 0.9, nesterov=True)]
        groups = self._groups(learned)
        if self.body_lr != 1:
            last = {id(p) for p in layers[-1]}
            body = self._groups([p for p in learned if id(p) not in last])
            groups = [{**group, "lr": self.lr * self.body_lr} for group in body]
            groups += self._groups([p for p in learned if id(p) in last])
        if self.optimizer == "adamw":
            return [torch.optim.AdamW(groups, self.lr, (self.momentum, 0.999), fused=True)]
        nesterov = self.nesterov and self.momentum > 0
        return [torch.optim.SGD(groups, self.lr, self.momentum, nesterov=nesterov)]

    def _groups(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        decayed = [p for p in parameters if p.ndim > 1 or self.decay_bias]
        others = [p for p in parameters if not (p.ndim > 1 or self.decay_bias)]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]


def by_layer(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of each convolution or linear layer, in the order they run: its weight, and what follows it.

    >>> [[tuple(p.shape) for p in layer] for layer in by_layer(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(4, 2)))]
    [[(4, 1, 3, 3), (4,)], [(2, 4), (2,)]]
    """
    if isinstance(model, Network):
        names = [op.name for op in model.graph.layers]
        return [[*model.weight(name).parameters(), model.bias(name)] for name in names]
    layers: list[list[nn.Parameter]] = []
    for parameter in model.parameters():
        if parameter.ndim > 1 or not layers:
            layers.append([])
        layers[-1].append(parameter)
    return layers


PAPER = Recipe()

# AdamW was better than SGD for a network without batch normalisation (experiments, "Constants of training").
MODERN = Recipe(
    name="modern",
    epochs=60,
    batch_size=64,
    micro_batch=0,
    optimizer="adamw",
    lr=0.004,
    schedule="cosine",
    warmup=0.1,
    nesterov=True,  # counts with --set optimizer=sgd
    weight_decay=0.05,
    decay_bias=False,
    label_smoothing=0.1,
    ema=0.999,
    clip=1.0,  # no batch normalisation holds the gradients of the first steps together
    augmentation=Augmentation(pad=2, rotate=10, zoom=0.1),
    start="scaled",
)

# Chosen on 9 draws of 5 classes x 60 images of Tiny ImageNet: docs/RESULTS.md, "From photographs to a model".
FINETUNE = Recipe(
    name="finetune",
    epochs=EPOCHS_OF_270,
    batch_size=16,
    micro_batch=0,
    optimizer="adamw",
    lr=0.001,
    body_lr=0.1,
    frozen=0.4,  # in SqueezeNet v1.0 conv1 to fire4: half of the multiply-accumulates
    schedule="cosine",
    warmup=0.1,
    weight_decay=0.01,
    decay_bias=False,
    label_smoothing=0.1,
    clip=1.0,
    precision="auto",
    teacher=START,
    teacher_weight=0.7,
    temperature=1.0,  # a logistic regression means its probabilities as they are
    first_resolution=0.56,  # 128 of 227 pixels: quicker, and better than full size throughout
    augmentation=Augmentation(area=0.5),
)

RECIPES = {recipe.name: recipe for recipe in (FINETUNE, MODERN, PAPER)}
