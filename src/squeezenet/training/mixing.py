"""Mixup (Zhang et al. 2018, 1710.09412) and CutMix (Yun et al. 2019, 1905.04899): each image is a mixture of two.

Each image is mixed with its neighbour in the batch. The share is drawn once for each step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from squeezenet.training.recipe import Recipe


@dataclass(frozen=True)
class Mix:
    """How the images of one step are mixed: `share` is of the image itself; `box` (y, x) is the position of a cut."""

    share: float = 1.0
    box: tuple[float, float] | None = None

    def images(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, mixed."""
        if self.share == 1:
            return x
        other = x.roll(1, 0)
        if self.box is None:
            return x.lerp(other, 1 - self.share)
        rows, columns = self._cut(x.shape[2], x.shape[3])
        x = x.clone()
        x[:, :, rows, columns] = other[:, :, rows, columns]
        return x

    def loss(self, of: Callable[[Tensor], Tensor], labels: Tensor) -> Tensor:
        """`of(labels)`, weighted with that of the labels mixed in."""
        if self.share == 1:
            return of(labels)
        return self.share * of(labels) + (1 - self.share) * of(labels.roll(1, 0))

    def _cut(self, height: int, width: int) -> tuple[slice, slice]:
        assert self.box is not None
        side = math.sqrt(1 - self.share)  # the cut lies inside the image, so that its share is that of the labels
        tall, wide = round(side * height), round(side * width)
        top, left = round(self.box[0] * (height - tall)), round(self.box[1] * (width - wide))
        return slice(top, top + tall), slice(left, left + wide)


def mix(recipe: Recipe, random: torch.Generator) -> Mix:
    """The random choice for one step: mixup or cutmix. If the recipe names both, each step takes one of them."""
    if not recipe.mixup and not recipe.cutmix:
        return Mix()
    which, y, x = torch.rand(3, generator=random).tolist()
    cut = recipe.cutmix > 0 and (recipe.mixup == 0 or which < 0.5)
    return Mix(_beta(recipe.cutmix if cut else recipe.mixup, random), (y, x) if cut else None)


def _beta(alpha: float, random: torch.Generator) -> float:
    """A number from Beta(alpha, alpha)."""
    a, b = torch._standard_gamma(torch.tensor([alpha, alpha]), generator=random).tolist()
    return float(a / max(a + b, 1e-12))
