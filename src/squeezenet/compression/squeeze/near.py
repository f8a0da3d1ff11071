"""Rounding that stays close to an older file, so that the update from it is small.

    >>> updated, factor = update(model, known, old, model.provenance, most=7_000)        # doctest: +SKIP

The network keeps the scales and the grid steps of the old file. Each level (integer weight) starts as the old level and
becomes the level that minimises

    divergence + multiplier * bits in the file + factor * bits in the delta

by coordinate descent, as in `rounding`. A level that stays costs a small part of a bit in the delta, and a level that
changes costs several bits. So a level changes only if this lowers the divergence enough. `factor`, in nats per bit, is
found by bisection: the smallest one whose delta has at most the wanted bytes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from squeezenet import sqz
from squeezenet.compression.outcome import quiet
from squeezenet.compression.squeeze.gptaq import compensate
from squeezenet.compression.squeeze.hessian import LayerHessian
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.prepared import MOST_COMPENSATING, Prepared, Tick, as_model
from squeezenet.compression.squeeze.rounding import STEP, near_layer, round_layer
from squeezenet.errors import UsageError
from squeezenet.fixed_point import EIGHTHS
from squeezenet.graph import Graph, Layer
from squeezenet.model import Grid, Model
from squeezenet.preparation import Preparation
from squeezenet.sqz import delta

TRIES = 8  # of the search
LEAST, MOST = -4.0, 14.0  # log2 of `factor` / `multiplier`: nearly all that should change does; nearly nothing
CLOSE = 0.05  # share of the wanted bytes by which a delta may be smaller
MOVED_BIAS = 8.0  # bits of a bias that changes
PIXELS = MOST_COMPENSATING * 227 * 227  # of all images for compensation: so many take the memory that is usual


def most_images(preparation: Preparation) -> int:
    """How many images compensation uses at most: more than usual if they are small.

    As few levels change, later layers have much to compensate for (docs/experiments.md, "Deltas").
    """
    _, height, width = preparation.shape
    return max(MOST_COMPENSATING, PIXELS // (height * width))


def update(
    model: Model, known: Prepared, old: bytes, provenance: Mapping[str, str], most: int, tick: Tick = quiet
) -> tuple[Model, float]:
    """`model` as an integer network with this `provenance`, and its `factor`.

    A delta from the file `old` has at most `most` bytes. The last layer may have another number of outputs than that of
    `old`: then it is rounded as usual. Raises `UsageError` if no delta is so small.
    """
    before = sqz.decode(old)
    multiplier = multiplier_of(before, known.hessians)

    def made(octaves: float) -> tuple[int, Model]:
        network = near_network(
            known, before, multiplier, multiplier * 2**octaves, lambda: tick(1 / (TRIES * len(model.graph.layers)))
        )
        found = replace(as_model(model, network), provenance=provenance)
        return len(delta.make(old, sqz.encode(found))), found

    best: tuple[Model, float] | None = None
    low, high = LEAST, MOST
    for _ in range(TRIES):
        size, found = made((low + high) / 2)
        if size <= most:
            best, high = (found, multiplier * 2 ** ((low + high) / 2)), (low + high) / 2
        else:
            low = (low + high) / 2
        if (1 - CLOSE) * most <= size <= most:
            break
    if best is None:
        raise UsageError(f"update_bytes {most:,}: an update with nearly no change has {size:,} bytes; allow more")
    return best


def refuse_another_network(old: Model, graph: Graph, name: str) -> None:
    """Raise `UsageError`, which names the file, if `old` has another graph; its last layer may have other outputs."""
    if not old.scales:
        raise UsageError(
            f"{name}: is not a squeezed file (method squeeze), as near must be; name one, or leave near out"
        )
    if len(old.graph.layers) != len(graph.layers) or with_outputs(old.graph, graph.layers[-1].out) != graph:
        raise UsageError(f"{name}: holds another network than MODEL, so near is of no use; leave it out")


def with_outputs(graph: Graph, out: int) -> Graph:
    """`graph` with `out` outputs of the last layer."""
    last = graph.layers[-1]
    return replace(graph, ops=tuple(replace(op, out=out) if op is last else op for op in graph.ops))


def multiplier_of(old: Model, hessians: dict[str, LayerHessian]) -> float:
    """The multiplier of the bits in the file with which the old file was rounded, from its steps (`rounding.STEP`)."""
    found = []
    for name, held in old.weights.items():
        assert isinstance(held.weight, Grid)
        hessian = hessians[name]
        if hessian.importance:
            second = hessian.importance * hessian.residual_variance
            steps = 2.0 ** (held.weight.exponents.reshape(len(second), -1).mean(1) / EIGHTHS)
            found.append(float(np.median(steps**2 * second / STEP)))
    return float(np.median(found))


def near_network(
    known: Prepared,
    old: Model,
    multiplier: float,
    factor: float,
    tick: Callable[[], object] = lambda: None,
) -> IntegerNetwork:
    """The integer network for one `factor`."""
    network, hessians = known.network, known.hessians
    begun, last = from_integer_model(old), network.graph.layers[-1]
    weights = {op.name: begun.weight(op.name) for op in old.graph.layers}
    biases = {op.name: begun.bias(op.name).detach() for op in old.graph.layers}
    scales, replaced = old.scales, old.graph.layers[-1].out != last.out
    index = network.graph.ops.index(last)
    if replaced:  # it has the scales that it would have without an old file, and so has all that follows
        scales = (*old.scales[: index + 1], *known.scales[index + 1 :])
        exponents = torch.full((last.out,), scales[index + 1].exponent - scales[last.inputs[0]].exponent)
        weights[last.name] = GridWeight(torch.zeros_like(network.weight(last.name)()), exponents)
        biases[last.name] = torch.zeros(last.out)
    integer = IntegerNetwork(network.graph, scales, weights, biases)
    steps = {op.name: scales[index + 1].step for index, op in enumerate(network.graph.ops) if isinstance(op, Layer)}

    def rounded(op: Layer, weight: torch.Tensor) -> GridWeight:
        if replaced and op is last:
            return round_layer(weight, hessians[op.name], multiplier, int(weights[op.name].exponents[0]), known.grain)
        return near_layer(weight, weights[op.name], hessians[op.name], multiplier, factor)

    def bias(op: Layer, wanted: torch.Tensor) -> torch.Tensor:
        if replaced and op is last:
            return wanted
        before = biases[op.name]
        loss = 0.5 * hessians[op.name].importance * ((wanted - before) * steps[op.name]) ** 2
        return torch.where(loss < factor * MOVED_BIAS, before, wanted)

    compensate(integer, network, known.images, hessians, multiplier, tick, rounded=rounded, biased=bias)
    return integer
