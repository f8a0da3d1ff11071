"""How much the network's answers change when a layer is pruned, and densities that change them least (Han et al. 2015).

    >>> curves = measure(network, images)                       # doctest: +SKIP
    >>> densities = choose(curves, network.graph, target=0.33)  # doctest: +SKIP

One layer is pruned at a time. The change is the Kullback-Leibler divergence of the class probabilities from those of
the unpruned network, mean per image, in nats. No labels are needed.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from squeezenet.compression.deep_compression.prune import magnitude_mask
from squeezenet.graph import Graph
from squeezenet.model import Outputs
from squeezenet.models.network import FreeWeight, Network
from squeezenet.models.outputs import divergence

SWEEP = (0.75, 0.5, 0.35, 0.25, 0.15, 0.08, 0.04)  # densities that are tried on each layer

Curve = dict[float, float]  # density -> mean divergence in nats


@torch.inference_mode()
def measure(
    network: Network, images: Tensor, tick: Callable[[], object] = lambda: None, outputs: Outputs = "classes"
) -> dict[str, Curve]:
    """Layer name -> density -> divergence on `images` (N, C, H, W), for each density of `SWEEP`.

    `tick` is called once a layer, for a progress bar. `outputs`: what the logits mean.
    """
    before = network(images)
    curves: dict[str, Curve] = {}
    for op in network.graph.layers:
        weight = network.weight(op.name)
        values = weight().detach()
        curves[op.name] = {1.0: 0.0}
        for density in SWEEP:
            network.replace_weight(op.name, FreeWeight(values, magnitude_mask(values, density)))
            curves[op.name][density] = float(divergence(network(images), before, outputs))
        network.replace_weight(op.name, weight)
        tick()
    return curves


def choose(curves: Mapping[str, Curve], graph: Graph, target: float) -> dict[str, float]:
    """Layer name -> density: the densities that keep `target` of all weights at the least sum of divergences.

    Greedy: begin with all weights; take the step, from one density of a layer to the next, that costs the least
    divergence per removed weight, until the target is met. The last step is taken in part.
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
    """The divergence that each step down adds, at least that of the step before, so that steps are taken in order."""
    values = [curve[density] for density in sorted(curve, reverse=True)]
    costs = []
    dearest = 0.0
    for high, low in pairwise(values):
        dearest = max(dearest, low - high)
        costs.append(dearest)
    return costs
