"""Network pruning: keep the largest weights of each layer (Han et al. 2015; Deep Compression, section 2).

>>> magnitude_mask(torch.tensor([0.1, -3.0, 0.2, 1.0]), density=0.5)
tensor([False,  True, False,  True])
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from squeezenet.errors import UsageError
from squeezenet.factors import joined, wholes
from squeezenet.fire import fire_modules
from squeezenet.graph import Conv, Graph
from squeezenet.models.network import FreeWeight, Network

Densities = Mapping[str, float]

# Table 1 of the SqueezeNet paper: densities of fire2 ... fire9 (squeeze, expand 1x1, expand 3x3), and of conv10.
_PAPER_FIRES = (
    (1.0, 1.0, 0.33),
    (1.0, 1.0, 0.33),
    (1.0, 1.0, 0.33),
    (1.0, 1.0, 0.33),
    (1.0, 0.5, 0.33),
    (0.5, 1.0, 0.33),
    (1.0, 0.5, 0.30),
    (0.5, 1.0, 0.30),
)
_PAPER_CONV10 = 0.2

# Deep Compression, table 2: AlexNet's conv1-5 and fc6-8.
_ALEXNET = (0.84, 0.38, 0.35, 0.37, 0.37, 0.09, 0.09, 0.25)


def magnitude_mask(weight: Tensor, density: float) -> Tensor:
    """True for the `density` share of weights that are largest in magnitude; same shape as `weight`.

    Equal magnitudes are kept in the order they are stored, so the count is exact. Weights already zero stay pruned.
    """
    magnitude = weight.detach().abs().flatten()
    keep = torch.argsort(magnitude, descending=True, stable=True)[: round(density * magnitude.numel())]
    mask = torch.zeros_like(magnitude, dtype=torch.bool)
    mask[keep] = True
    return (mask & (magnitude > 0)).view_as(weight)


def prune(network: Network, densities: Densities) -> None:
    """Mask all but the largest values of each layer in `densities`, in place. Pruned weights stay pruned."""
    for name, density in densities.items():
        values = network.weight(name)().detach()
        mask = magnitude_mask(values, density)
        network.replace_weight(name, FreeWeight(values, mask))


def current_densities(network: Network) -> dict[str, float]:
    """The kept share of every layer's weights."""
    return {op.name: _density(network.weight(op.name)()) for op in network.graph.layers}


def uniform_densities(graph: Graph, density: float) -> dict[str, float]:
    """Layer name -> `density`. The first layer, which is small and reads the image, keeps at least half."""
    layers = [op.name for op in graph.layers]
    return {name: max(density, 0.5) if name == layers[0] else density for name in layers}


def paper_densities(graph: Graph) -> dict[str, float]:
    """The densities of the papers for SqueezeNet (table 1) or AlexNet (Deep Compression, table 2).

    The two factors of a layer both get the layer's density.
    Raises `UsageError` for another network: use one number, or a sensitivity sweep.
    """
    if origin := wholes(graph):
        densities = paper_densities(joined(graph))
        return {op.name: densities[origin.get(op.name, op.name)] for op in graph.layers}
    fires = fire_modules(graph)
    layers = graph.layers
    if len(fires) == len(_PAPER_FIRES):
        densities = {op.name: 1.0 for op in layers}
        for fire, (s, e1, e3) in zip(fires, _PAPER_FIRES, strict=True):
            densities |= {fire.squeeze1x1: s, fire.expand1x1: e1, fire.expand3x3: e3}
        return densities | {layers[-1].name: _PAPER_CONV10}
    kinds = [isinstance(op, Conv) for op in layers]
    if kinds == [True] * 5 + [False] * 3:
        return {op.name: density for op, density in zip(layers, _ALEXNET, strict=True)}
    raise UsageError("the papers give densities for SqueezeNet and AlexNet only; pass --density 0.3 or sensitivity=0.3")


def _density(weight: Tensor) -> float:
    return float(torch.count_nonzero(weight)) / weight.numel()
