"""The parameters of a network, layer by layer: what a recipe freezes, and what it lets learn more slowly.

>>> [[tuple(p.shape) for p in layer] for layer in by_layer(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(4, 2)))]
[[(4, 1, 3, 3), (4,)], [(2, 4), (2,)]]
"""

from torch import nn

from squeezenet.models.network import Network


def by_layer(model: nn.Module) -> list[list[nn.Parameter]]:
    """A list for each convolution or linear layer, in the order they run: its weight, and the vectors that follow it
    (its bias; scale and shift of a normalisation)."""
    if isinstance(model, Network):
        names = [op.name for op in model.graph.layers]
        return [[*model.weight(name).parameters(), model.bias(name)] for name in names]
    layers: list[list[nn.Parameter]] = []
    for parameter in model.parameters():
        if parameter.ndim > 1 or not layers:
            layers.append([])
        layers[-1].append(parameter)
    return layers
