"""From a float network to an integer network whose file has a wanted size, by rounding.

>>> known = prepare(model, pixels)                                                       # doctest: +SKIP
>>> network, multiplier = round_to_size(model, known, 300_000)                           # doctest: +SKIP

The file shrinks as the Lagrange multiplier grows (`rounding`), so the search for a size is a search for the multiplier.
Its logarithm to base 2 is searched, because the logarithm of the size falls about linearly with it. Graph, text and
scales do not change during a search: only the coded layers are counted again (`FileSize`).
"""

from collections.abc import Callable
from math import log
from typing import NamedTuple

import numpy as np
import torch

from squeezenet.compression.outcome import quiet
from squeezenet.compression.squeeze.gptaq import compensate
from squeezenet.compression.squeeze.network import IntegerNetwork, stored
from squeezenet.compression.squeeze.prepared import GROWTH_BITS, Prepared, Tick
from squeezenet.compression.squeeze.rounding import STEP, round_layer, round_network
from squeezenet.graph import Layer
from squeezenet.model import Model
from squeezenet.sqz.integers import layer_size

CLOSE, CLOSE_BYTES = 0.004, 16  # a search ends at a file at most this share, or so many bytes, below the goal
MOST_GROWTH = 0.011  # share of the size
MARGIN = 0.001  # share of the size that compensation may add beyond what it added before
NEAR = 0.01  # the searches end at a file that is at most this share below the size
ROUNDS = 3  # searches, each followed by compensation
TRIES = 8  # multipliers that one search tries
SAMPLED = 1 << 21  # weights that are rounded at most to estimate the size of a file
COARSE = 0.2  # step of the median layer that a search begins with, in standard deviations of the layer's weights
SLOPE = 0.12  # by which log(size) usually falls when the multiplier doubles
COMPENSATION = 3  # time of compensation, as a multiple of the time of rounding all layers
USUAL = 4 + COMPENSATION  # time of `round_to_size`, in the same unit

Rounding = Callable[[Model, Prepared, float, Tick], tuple[IntegerNetwork, float]]
"""The type of `round_to_size`."""


def round_to_size(model: Model, known: Prepared, max_bytes: float, tick: Tick = quiet) -> tuple[IntegerNetwork, float]:
    """The network of the largest file in `max_bytes` (else of the smallest found), and its Lagrange multiplier.

    `tick` gets the share that was just done of the usual work; the shares may add up to more or less than 1.
    """
    layer = 1 / (USUAL * len(model.graph.layers))
    goal = (1 - _growth(known, max_bytes)) * max_bytes
    seen: list[tuple[float, int]] = []
    best: _Found | None = None
    for _ in range(ROUNDS):
        network, octaves, rounded = _search(known, goal, seen, lambda: tick(layer))
        given = (known.network, known.images, known.hessians, 2.0**octaves)
        compensate(network, *given, lambda: tick(COMPENSATION * layer), grain=known.grain)
        size = known.size.of(network.to_weights())
        best = _better(best, _Found(size, octaves, network), max_bytes)
        if (1 - NEAR) * max_bytes <= size <= max_bytes:
            break
        # Compensation changes the size. The goal moves below what was found; else the same network is found again.
        goal = min(goal, rounded) * (1 - MARGIN) * max_bytes / size
        del network  # before the next is made
    assert best is not None
    assert best.network is not None
    return best.network, 2.0**best.octaves


class _Found(NamedTuple):
    """A network that was tried (None: for an earlier size), log2 of its multiplier, and the bytes of its file."""

    size: int
    octaves: float
    network: IntegerNetwork | None


def _better(best: _Found | None, found: _Found, max_bytes: float) -> _Found:
    """The larger of those that fit, else the smaller. Only one is kept, since a large network takes much memory."""

    def rank(each: _Found) -> tuple[bool, int]:
        return (True, each.size) if each.size <= max_bytes else (False, -each.size)

    return found if best is None or rank(found) > rank(best) else best


def _growth(known: Prepared, max_bytes: float) -> float:
    """Share of the size by which compensation usually makes a file of `max_bytes` larger."""
    weights = sum(known.network.weight(op.name)().numel() for op in known.network.graph.layers)
    bits: float = 8 * max_bytes / weights
    return min(MOST_GROWTH, known.growth * (GROWTH_BITS / bits) ** 2)


def _search(
    known: Prepared, max_bytes: float, seen: list[tuple[float, int]], tick: Callable[[], object]
) -> tuple[IntegerNetwork, float, int]:
    """The network that fills `max_bytes` by rounding alone, log2 of its multiplier, and the bytes of its file.

    `seen` holds (log2 of the multiplier, bytes) of all earlier tries; those of this search are appended.
    """
    best: _Found | None = None
    for _ in range(TRIES):
        octaves = _next(seen, max_bytes) if seen else _start(known, max_bytes)
        network = None if octaves in known.tried else _rounded(known, octaves, tick)
        if network is not None:
            known.tried[octaves] = known.size.of(network.to_weights())
        size = known.tried[octaves]
        best = _better(best, _Found(size, octaves, network), max_bytes)
        stuck = bool(seen) and size == seen[-1][1]  # another multiplier gave the same network
        seen.append((octaves, size))
        if stuck or close(size, max_bytes):
            break
        del network  # before the next is made
    assert best is not None
    return best.network or _rounded(known, best.octaves, tick), best.octaves, best.size


def _rounded(known: Prepared, octaves: float, tick: Callable[[], object]) -> IntegerNetwork:
    return round_network(known.network, known.scales, known.hessians, 2.0**octaves, tick, known.grain)


def _start(known: Prepared, max_bytes: float) -> float:
    """log2 of the multiplier that a search begins with. For large networks, a search on some outputs finds it."""
    octaves = _first(known)
    weights = sum(known.network.weight(op.name)().numel() for op in known.network.graph.layers)
    if weights <= SAMPLED:
        return octaves
    seen: list[tuple[float, int]] = []
    for _ in range(TRIES):
        if octaves not in known.estimated:
            known.estimated[octaves] = _estimated_size(known, 2.0**octaves, weights // SAMPLED + 1)
        seen.append((octaves, known.estimated[octaves]))
        if close(seen[-1][1], max_bytes):
            break
        octaves = _next(seen, max_bytes)
    return octaves


def _estimated_size(known: Prepared, multiplier: float, every: int) -> int:
    """The file size for this multiplier, estimated by rounding every n-th output of each group of each layer."""
    size, scales = float(known.size.front), known.scales
    for index, op in enumerate(known.network.graph.ops):
        if isinstance(op, Layer):
            hessian, unit = known.hessians[op.name], scales[index + 1].step
            chosen = torch.arange(op.out).reshape(len(hessian.blocks), -1)[:, ::every].flatten()
            weight = known.network.weight(op.name)().detach()[chosen]
            gap = scales[index + 1].exponent - scales[op.inputs[0]].exponent
            levels = round_layer(weight, hessian, multiplier, gap, known.grain)
            held = stored(levels, known.network.bias(op.name).detach()[chosen] / unit)
            size += layer_size(held) * op.out / len(chosen)
    return round(size)


def _first(known: Prepared) -> float:
    """log2 of the multiplier to begin with: the one by which the median layer gets the step that `COARSE` says."""
    multipliers = []
    for op in known.network.graph.layers:
        hessian = known.hessians[op.name]
        spread = float(known.network.weight(op.name)().detach().double().std(unbiased=False)) * COARSE
        multipliers.append(spread**2 * hessian.importance * float(hessian.residual_variance.mean()) / STEP)
    return float(np.log2(max(np.median(multipliers), 1e-60)))


def _next(seen: list[tuple[float, int]], wanted: float) -> float:
    """log2 of the multiplier to try next: by interpolation between two sizes, else along the slope that was seen."""
    goal = log((1 - CLOSE / 2) * wanted)
    sizes = [(octaves, log(size)) for octaves, size in seen]
    larger, smaller = [s for s in sizes if s[1] > goal], [s for s in sizes if s[1] <= goal]
    if larger and smaller:
        (low, above), (high, below) = max(larger), min(smaller)
        return low + (high - low) * min(0.9, max(0.1, (above - goal) / (above - below)))
    octaves, size = min(reversed(sizes), key=lambda s: abs(s[1] - goal))
    slope = SLOPE
    if len(sizes) > 1 and sizes[-1][0] != sizes[-2][0]:
        (a, b), (c, d) = sizes[-2:]
        slope = min(max((b - d) / (c - a), SLOPE / 2), SLOPE * 2)
    return octaves + max(-8.0, min(8.0, (size - goal) / slope))


def close(size: int, max_bytes: float) -> bool:
    """Whether a search for `max_bytes` may end with a file of `size`."""
    return max_bytes - max(CLOSE * max_bytes, CLOSE_BYTES) <= size <= max_bytes
