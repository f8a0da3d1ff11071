"""How much each layer minds being pruned, and what to keep of each so that the whole minds least (Han et al. 2015).

    >>> curves = measure(network, images)                       # doctest: +SKIP
    >>> densities = choose(curves, network.graph, target=0.33)  # doctest: +SKIP

One layer is pruned at a time and the change of the network's answers measured: no labels are needed.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from squeezenet.compression.deep_compression.prune import magnitude_mask
from squeezenet.graph import Graph
from squeezenet.models.network import FreeWeight, Network

SWEEP = (0.75, 0.5, 0.35, 0.25, 0.15, 0.08, 0.04)
"""Densities tried on each layer."""

Curve = dict[float, float]  # density -> mean divergence in nats


@torch.inference_mode()
def measure(network: Network, images: Tensor, tick: Callable[[], object] = lambda: None) -> dict[str, Curve]:
    """Layer -> the divergence of the answers to `images` (N, C, H, W) from today's at each density of `SWEEP`.

    `tick` is called once a layer, for a progress bar.
    """
    before = F.log_softmax(network(images), 1)
    curves: dict[str, Curve] = {}
    for op in network.graph.layers:
        weight = network.weight(op.name)
        values = weight().detach()
        curves[op.name] = {1.0: 0.0}
        for density in SWEEP:
            network.replace_weight(op.name, FreeWeight(values, magnitude_mask(values, density)))
            after = F.log_softmax(network(images), 1)
            curves[op.name][density] = float(F.kl_div(after, before, log_target=True, reduction="batchmean"))
        network.replace_weight(op.name, weight)
        tick()
    return curves


def choose(curves: Mapping[str, Curve], graph: Graph, target: float) -> dict[str, float]:
    """Densities that keep `target` of all weights at the least sum of divergences.

    From everything kept, the step that costs least divergence per weight removed is taken until the target is met; of
    the last step only as much as that needs.
    """
    sizes = {name: prod(shape) for name, shape in graph.weight_shapes().items()}
    steps = []
    for name, curve in curves.items():
        for (high, low), cost in zip(pairwise(sorted(curve, reverse=True)), _rising(curve), strict=True):
            steps.append((cost / ((high - low) * sizes[name]), name, low))
    densities = dict.fromkeys(curves, 1.0)
    excess = (1 - target) * sum(sizes.values())
    for _, name, low in sorted(steps, key=lambda step: step[0]):
        removed = min((densities[name] - low) * sizes[name], excess)
        densities[name] -= removed / sizes[name]
        excess -= removed
    return densities


def _rising(curve: Curve) -> list[float]:
    """What each step down costs. A step never counts as cheaper than the one before it, or order would be lost."""
    values = [curve[density] for density in sorted(curve, reverse=True)]
    costs = []
    dearest = 0.0
    for high, low in pairwise(values):
        dearest = max(dearest, low - high)
        costs.append(dearest)
    return costs
