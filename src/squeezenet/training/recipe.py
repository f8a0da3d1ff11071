"""How a network is trained: one value that is saved beside the weights, and two that work.

    >>> PAPER.rate(0, 170_000), PAPER.rate(85_000, 170_000)
    (0.04, 0.02)

`PAPER` is the released solver file: SGD with momentum 0.9, rate 0.04 falling linearly to 0, 170,000 iterations of 512
images (32 x 16 accumulated), weight decay 2e-4, random crop and mirror. `MODERN` is what became usual since.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError


@dataclass(frozen=True)
class Recipe:
    """Everything but the network and the data that decides what the weights become.

    Raises `UsageError` for values that cannot work.
    """

    name: str = "paper"
    epochs: float | None = None  # passes over the images; None: `iterations` counts
    iterations: int = 170_000  # steps of the optimiser
    batch_size: int = 512  # images per step
    micro_batch: int | None = 32  # images in memory at once; their gradients are summed up. None: the whole batch
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.04
    schedule: Literal["linear", "cosine"] = "linear"  # from `lr` down to 0
    warmup: float = 0.0  # share of the steps over which the rate first climbs; 0.3 makes either a one-cycle schedule
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 2e-4
    decay_bias: bool = True  # Caffe decays biases like weights
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay of the running average of the weights; 0: none
    clip: float = 0.0  # longest gradient that is applied as it is; 0: any
    augmentation: Augmentation = field(default_factory=Augmentation)
    start: Literal["paper", "scaled"] = "paper"  # of a fresh network: see training/start.py
    seed: int = 0

    def __post_init__(self) -> None:
        checks = {
            "epochs": self.epochs is None or self.epochs > 0,
            "iterations": self.iterations > 0,
            "batch_size": self.batch_size > 0,
            "micro_batch": self.micro_batch is None or self.micro_batch > 0,
            "lr": 0 < self.lr < math.inf,
            "warmup": 0 <= self.warmup < 1,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "ema": 0 <= self.ema < 1,
            "clip": self.clip >= 0,
            "pad": self.augmentation.pad >= 0,
            "zoom": 0 <= self.augmentation.zoom < 1,
        }
        for name, right in checks.items():
            if not right:
                value = getattr(self.augmentation if name in ("pad", "zoom") else self, name)
                raise UsageError(f"{name} {value} cannot work; the paper's is {_paper_value(name)}")

    def steps(self, per_epoch: int) -> int:
        """Steps of the whole run, where `per_epoch` steps show every image once."""
        return self.iterations if self.epochs is None else max(1, round(self.epochs * per_epoch))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step`, counted from 0, of `steps`."""
        climb = self.warmup * steps
        if step < climb:
            return self.lr * (step + 1) / (climb + 1)
        done = (step - climb) / (steps - climb)
        return self.lr * (1 - done if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done)))

    def optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """A fresh optimiser; the loop sets the rate of every step."""
        weights = [p for p in model.parameters() if p.requires_grad and (p.ndim > 1 or self.decay_bias)]
        others = [p for p in model.parameters() if p.requires_grad and not (p.ndim > 1 or self.decay_bias)]
        groups = [{"params": weights, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=self.lr, betas=(self.momentum, 0.999), fused=True)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov and self.momentum > 0)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)


def _paper_value(name: str) -> Any:
    fields = {**Recipe.__dataclass_fields__, **Augmentation.__dataclass_fields__}
    return fields[name].default


PAPER = Recipe()

# Adam rather than SGD: SqueezeNet has no batch normalisation. On `digits` (base_e 32, 8 epochs, same start, one seed
# each) SGD with nesterov momentum came to 88% (rate 0.05) and 79% (0.02, simple bypass), AdamW (0.004) to 91% and 94%.
MODERN = Recipe(
    name="modern",
    epochs=60,
    batch_size=64,
    micro_batch=None,
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

RECIPES = {recipe.name: recipe for recipe in (PAPER, MODERN)}
