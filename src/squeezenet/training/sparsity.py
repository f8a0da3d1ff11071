"""Pruning while training: a density that falls on a schedule, and may rise to 1 again.

>>> recipe = Recipe(density=0.2, sparse_from=0.4, sparse_full=0.6, dense_again=0.9)
>>> [round(density_at(recipe, done), 2) for done in (0.3, 0.4, 0.45, 0.6, 0.8, 0.95)]
[1.0, 1.0, 0.55, 0.2, 0.2, 1.0]

Gradual pruning falls along a cubic (Zhu and Gupta 2017, 1710.01878). With `dense_again` below 1 the pruned weights come
back as zeros and learn once more: dense-sparse-dense training (Han et al. 2017, 1607.04381). The density
of each layer follows from LAMP (Lee et al. 2021, 2010.07611): the score of a weight is its square, as a share of the
sum of its own square and all larger ones of its layer. The weights with the lowest scores are pruned.
"""

import math

import torch
from torch import Tensor, nn

from squeezenet.training.recipe import Recipe

STAGES = 50
"""The density falls in this many steps, with a few hundred updates of the weights between them."""


def density_at(recipe: Recipe, done: float) -> float:
    """The kept share of weights after `done` (0 to 1) of the run."""
    if recipe.density == 1 or done < recipe.sparse_from or done >= recipe.dense_again:
        return 1.0
    if done >= recipe.sparse_full:
        return recipe.density
    left = 1 - (done - recipe.sparse_from) / (recipe.sparse_full - recipe.sparse_from)
    left = math.ceil(left * STAGES) / STAGES
    return recipe.density + (1 - recipe.density) * left**3


def prunable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of convolutions and linear layers; the first layer, small and next to the image, stays whole."""
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim > 1}
    return dict(list(weights.items())[1:])


def lamp_scores(weight: Tensor) -> Tensor:
    """Each weight's square over the sum of its own and all larger squares of the layer; same shape as `weight`.

    >>> lamp_scores(torch.tensor([3.0, 1.0, 0.0])).tolist()
    [1.0, 0.1, 0.0]
    """
    squares = weight.detach().double().square().flatten()
    order = torch.argsort(squares, descending=True, stable=True)
    scores = torch.empty_like(squares)
    scores[order] = squares[order] / squares[order].cumsum(0).clamp(min=torch.finfo(torch.float64).tiny)
    return scores.view_as(weight)


@torch.no_grad()
def masks(model: nn.Module, density: float) -> dict[str, Tensor]:
    """Masks, True for the share `density` of all prunable weights: those with the highest scores, no zeros."""
    scores = {name: lamp_scores(weight) for name, weight in prunable(model).items()}
    flat = torch.cat([score.flatten() for score in scores.values()])
    kept = flat.topk(max(1, round(density * len(flat)))).values[-1]
    return {name: (score >= kept) & (score > 0) for name, score in scores.items()}


@torch.no_grad()
def apply_masks(model: nn.Module, kept: dict[str, Tensor]) -> None:
    """Set the weights to zero where the masks `kept` are False."""
    parameters = dict(model.named_parameters())
    for name, mask in kept.items():
        parameters[name].mul_(mask)
