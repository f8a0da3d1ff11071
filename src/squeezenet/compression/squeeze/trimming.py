"""The file of an integer network within a limit of bytes: rounded again if it is larger.

>>> shipped, data = trimmed(model, network, known, 300_000)                              # doctest: +SKIP
>>> len(data) <= 300_000                                                                 # doctest: +SKIP
True
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.prepared import FileSize, Prepared, as_model
from squeezenet.compression.squeeze.rounding import STEP, round_again
from squeezenet.compression.squeeze.to_size import close
from squeezenet.fixed_point import EIGHTHS
from squeezenet.graph import Layer
from squeezenet.model import AnyWeights, IntegerWeights, Model

FIRST_RISE = 0.125  # octaves by which `trimmed` raises the multiplier at first; then four times as many, at most 32
RETRIES = 12  # multipliers that `trimmed` tries


def trimmed(
    model: Model,
    network: IntegerNetwork,
    known: Prepared,
    max_bytes: int,
    provenance: Mapping[str, str] | None = None,
) -> tuple[Model, bytes]:
    """The network as a model with this `provenance` (None: that of `model`), and the bytes of its file.

    With the provenance of `model` the file has at most `max_bytes`: if it is larger, the levels are rounded again, at
    the smallest multiplier that was found to be large enough. If even the file without any level is larger, that file
    is returned.
    """
    shipped = as_model(model, network)
    size = FileSize.like(shipped)
    fits = size.of(shipped.weights) <= max_bytes
    best = shipped if fits else replace(shipped, weights=_emptied(shipped.weights))
    low, more = _multiplier(network, known), FIRST_RISE
    high: float | None = None
    for _ in range(0 if fits else RETRIES):
        octaves = low + more if high is None else (low + high) / 2
        tried = as_model(model, _again(network, known, 2.0**octaves))
        found = size.of(tried.weights)
        if found <= max_bytes:
            best, high = tried, octaves
            if close(found, max_bytes):
                break
        else:
            low, more = octaves, min(4 * more, 32)
    best = best if provenance is None else replace(best, provenance=provenance)
    return best, sqz.encode(best)


def _again(network: IntegerNetwork, known: Prepared, multiplier: float) -> IntegerNetwork:
    """A network of new levels, rounded from those of `network`, with biases that keep the means of all outputs."""
    scales = network.scales
    weights: dict[str, GridWeight] = {}
    biases: dict[str, Tensor] = {}
    for index, op in enumerate(network.graph.ops):
        if isinstance(op, Layer):
            before, hessian = network.weight(op.name), known.hessians[op.name]
            after = weights[op.name] = round_again(before, hessian, multiplier)
            change = (after.levels() - before.levels()).reshape(len(hessian.means), -1, hessian.means.shape[1])
            means = (change.double() @ torch.from_numpy(hessian.means)[:, :, None]).flatten()  # of sums: (out,)
            steps = torch.exp2(before.exponents / EIGHTHS) / scales[index + 1].step
            biases[op.name] = network.bias_steps(op).detach() - (steps * means).float()
    return IntegerNetwork(network.graph, scales, weights, biases)


def _multiplier(network: IntegerNetwork, known: Prepared) -> float:
    """log2 of the multiplier for which rounding gives the median layer its present step."""
    found = []
    for op in network.graph.layers:
        hessian, octaves = known.hessians[op.name], network.weight(op.name).exponents.double().mean().item() / EIGHTHS
        found.append(2 * octaves + np.log2(max(hessian.importance * hessian.residual_variance.mean(), 1e-60) / STEP))
    return float(np.median(found))


def _emptied(weights: Mapping[str, AnyWeights]) -> dict[str, AnyWeights]:
    """`weights` of an integer network with all levels 0."""
    empty: dict[str, AnyWeights] = {}
    for name, held in weights.items():
        assert isinstance(held, IntegerWeights)
        empty[name] = replace(held, weight=replace(held.weight, levels=np.zeros_like(held.weight.levels)))
    return empty
