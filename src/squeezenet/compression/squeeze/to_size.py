"""A float network in a wanted number of bytes: by rounding, and by learning from there.

>>> network, multiplier = round_to_size(model, prepare(model, pixels), 300_000)          # doctest: +SKIP
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import log
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.finetune import Teaching
from squeezenet.compression.outcome import quiet
from squeezenet.compression.squeeze.gptaq import compensate
from squeezenet.compression.squeeze.hessian import DAMPING, DAMPING_SYNTHETIC, LayerHessian, hessians_of
from squeezenet.compression.squeeze.learning import Learning, Progress, learn
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.nine_bits import with_nine_bits
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.rate import level_bits, total_bits
from squeezenet.compression.squeeze.rounding import STEP, round_network
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.data import Pixels
from squeezenet.fixed_point import Scale
from squeezenet.graph import Layer
from squeezenet.integer_graph import check_operations
from squeezenet.model import AnyWeights, Grid, Model
from squeezenet.models.network import Network, from_model
from squeezenet.sqz.costs import least_bytes as least_bytes_of
from squeezenet.sqz.integers import layer_size

CALIBRATION_IMAGES = 96
HESSIAN_IMAGES = 128
THOROUGH_IMAGES = 256  # for both, where more time is given

STEEPNESS = 4
"""The power of the size by which the multiplier grows, to begin with; learning steers it."""

CLOSE = 0.004  # a size is met when it is at most this share below it,
CLOSE_BYTES = 16  # or this many bytes: a level more or less is some, in a file of a thousand
GROWTH, GROWTH_SYNTHETIC = 0.005, 0.001  # share of the size that making up for errors adds,
MARGIN = 0.001  # and may add beyond what it was seen to add
NEAR = 0.01  # after making up
ROUNDS = 3
TRIES = 8
MAKING_UP = 3  # times as long as rounding all layers once takes making up for errors,
USUAL = 4 + MAKING_UP  # and this many times a whole size
SLOPE = 0.12  # of the logarithm of the size, an octave of the multiplier: what most networks lose
TRIMS = 12

Tick = Callable[[float], object]

COARSE = 0.2  # the step of a layer in standard deviations of its weights that the search for a size begins with


@dataclass(frozen=True)
class FileSize:
    """The bytes of a file, from its weights alone: header, graph, text and scales are always the same `front` bytes."""

    front: int
    least: int  # the format refuses a smaller file

    @staticmethod
    def like(shipped: Model) -> "FileSize":
        """For integer networks that differ from `shipped` only in their weights and biases."""
        return FileSize(sqz.front_size(shipped), least_bytes_of(shipped.graph, shipped.preparation.resize))

    def of(self, weights: Mapping[str, AnyWeights]) -> int:
        """`len(sqz.encode(...))`; `least` for a network so empty that the format refuses it."""
        return max(self.least, self.front + sum(map(layer_size, weights.values())))


@dataclass(frozen=True, eq=False)
class Prepared:
    """What rounding needs to know about a network; the same for every size."""

    network: Network
    images: Tensor
    scales: tuple[Scale, ...]
    hessians: dict[str, LayerHessian]
    growth: float  # share of the size that making up for errors adds
    size: FileSize


def prepare(model: Model, pixels: Pixels | None, seed: int = 0, tick: Tick = quiet, thorough: bool = False) -> Prepared:
    """Calibrate on some of `pixels`, or on synthetic images. Raises `BadGraph` for what has no integer form.

    `tick` gets the share of the work that was just done. To be `thorough` is to look at more images.
    """
    calibrating, count = (THOROUGH_IMAGES,) * 2 if thorough else (CALIBRATION_IMAGES, HESSIAN_IMAGES)
    check_operations(model.graph)
    network = from_model(model).eval()
    if pixels is None:
        images, damping, growth = synthetic_images(count, model.preparation, seed), DAMPING_SYNTHETIC, GROWTH_SYNTHETIC
    else:
        images, damping, growth = finetune.some(pixels, model.preparation, count), DAMPING, GROWTH
    first = images[:calibrating]
    hessian = hessians_of(network, images, damping, seed, tick)
    scales = with_nine_bits(model.graph, calibrate(network, first, synthetic=pixels is None), hessian)
    size = FileSize.like(as_model(model, _empty(network, scales)))
    return Prepared(network, first, scales, hessian, growth, size)


def round_to_size(model: Model, known: Prepared, max_bytes: float, tick: Tick = quiet) -> tuple[IntegerNetwork, float]:
    """Round with the multiplier between errors and bits that fills `max_bytes`; the network and that multiplier.

    `tick` gets the share that was just done of what a size usually takes; they may come to more or less than 1.
    """
    layer = 1 / (USUAL * len(model.graph.layers))
    goal = (1 - known.growth) * max_bytes
    seen: list[tuple[float, int]] = []
    found: list[tuple[int, float, IntegerNetwork]] = []
    for _ in range(ROUNDS):
        network, octaves, rounded = _search(known, goal, seen, lambda: tick(layer))
        made_up_for = (known.network, known.images, known.hessians, 2.0**octaves)
        compensate(network, *made_up_for, lambda: tick(MAKING_UP * layer))
        size = known.size.of(network.to_weights())
        found.append((size, octaves, network))
        if (1 - NEAR) * max_bytes <= size <= max_bytes:
            break
        # What makes up for errors takes bits of its own. The goal must move, or the same network would be found again.
        goal = min(goal, rounded) * (1 - MARGIN) * max_bytes / size
    fitting = [entry for entry in found if entry[0] <= max_bytes]
    _, octaves, network = max(fitting, key=itemgetter(0)) if fitting else min(found, key=itemgetter(0))
    return network, 2.0**octaves


def _search(
    known: Prepared, max_bytes: float, seen: list[tuple[float, int]], tick: Callable[[], object]
) -> tuple[IntegerNetwork, float, int]:
    """The network that rounding alone fills `max_bytes` with, the logarithm of its multiplier, and its bytes.

    `seen` holds the multipliers (their logarithms) and sizes that were tried before, and gets those tried now.
    """
    tried: list[tuple[int, float, IntegerNetwork]] = []
    for _ in range(TRIES):
        octaves = _next(seen, max_bytes) if seen else _first(known)
        network = round_network(known.network, known.scales, known.hessians, 2.0**octaves, tick)
        size = known.size.of(network.to_weights())
        tried.append((size, octaves, network))
        stuck = bool(seen) and size == seen[-1][1]  # no finer levels are left, or nothing lies between two sizes
        seen.append((octaves, size))
        if stuck or max_bytes - max(CLOSE * max_bytes, CLOSE_BYTES) <= size <= max_bytes:
            break
    fitting = [entry for entry in tried if entry[0] <= max_bytes]
    size, octaves, network = max(fitting, key=itemgetter(0)) if fitting else min(tried, key=itemgetter(0))
    return network, octaves, size


def _first(known: Prepared) -> float:
    """A multiplier (its logarithm) to begin with: that of steps as coarse as `COARSE` says, in the usual layer."""
    multipliers = []
    for op in known.network.graph.layers:
        hessian = known.hessians[op.name]
        spread = float(known.network.weight(op.name)().detach().double().std(unbiased=False)) * COARSE
        multipliers.append(spread**2 * hessian.importance * float(hessian.residual_variance.mean()) / STEP)
    return float(np.log2(max(np.median(multipliers), 1e-60)))


def _next(seen: list[tuple[float, int]], wanted: float) -> float:
    """The next multiplier (its logarithm) to try: the logarithm of the size falls about straight with it."""
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


def learn_to_size(
    model: Model,
    known: Prepared,
    network: IntegerNetwork,
    teaching: Teaching,
    learning: Learning,
    max_bytes: int,
    multiplier: float,
    work: Path | None = None,
    told: Callable[[float, str], object] = lambda done, how: None,
) -> float:
    """Train `network` in place until its file has about `max_bytes`; returns the multiplier it ended with.

    `told` gets the share that is done, and loss and bytes in words.
    """
    size = len(sqz.encode(as_model(model, network)))
    bits = sum(total_bits(level, level_bits(level)) for level in _levels(network))
    others = size - bits / 8  # what is not levels, less what the coder gains over the tables
    # The coder's gain over the tables is a share of what there is to code.
    goal = 8 * max(1.0, max_bytes - others * (max_bytes / size if others < 0 else 1.0))
    multiplier *= max(1.0, bits / goal) ** STEEPNESS

    def tick(now: Progress) -> None:
        told(now.step / now.steps, f"loss {now.loss:.3f}, {now.bits / 8 + others:,.0f} bytes")

    importance = {name: hessian.importance for name, hessian in known.hessians.items()}
    return learn(network, teaching, learning, goal, multiplier, tick, work, importance)


def trimmed(model: Model, network: IntegerNetwork, max_bytes: int) -> tuple[Model, bytes]:
    """The network as a model, and its file: without the last levels that are too many, those nearest to zero.

    The file is larger than `max_bytes` where one without any level is.
    """
    shipped = as_model(model, network)
    data = sqz.encode(shipped)
    if len(data) <= max_bytes:
        return shipped, data
    size = FileSize.like(shipped)
    low, high = 0.0, 1.0  # share of the levels that are dropped
    best = _dropped(shipped, network, high)
    for _ in range(TRIMS):
        middle = (low + high) / 2
        tried = _dropped(shipped, network, middle)
        if size.of(tried.weights) <= max_bytes:
            best, high = tried, middle
        else:
            low = middle
    return best, sqz.encode(best)


def as_model(model: Model, network: IntegerNetwork) -> Model:
    """What is shipped."""
    return replace(model, weights=network.to_weights(), scales=network.scales)


def _dropped(shipped: Model, network: IntegerNetwork, share: float) -> Model:
    """`shipped` (`network`) without that share of the levels that are not zero, those nearest to zero first."""
    sizes = [network.weight(op.name).steps().detach().abs() for op in network.graph.layers]
    ordered = torch.cat([size[level != 0] for size, level in zip(sizes, _levels(network), strict=True)]).sort().values
    limit = float(ordered[min(int(share * len(ordered)), len(ordered) - 1)]) if len(ordered) else 0.0
    weights = dict(shipped.weights)
    for op, size in zip(network.graph.layers, sizes, strict=True):
        weight = weights[op.name].weight
        assert isinstance(weight, Grid)
        levels = np.where((size <= limit).numpy(), np.int16(0), weight.levels)
        weights[op.name] = replace(weights[op.name], weight=replace(weight, levels=levels))
    return replace(shipped, weights=weights)


def _levels(network: IntegerNetwork) -> list[Tensor]:
    return [network.weight(op.name).levels() for op in network.graph.layers]


def roughly_least_bytes(model: Model, seed: int) -> int:
    """`least_bytes` but for a few that scales take: known from one synthetic image, before anything is measured.

    Raises `BadGraph` for what has no integer form.
    """
    check_operations(model.graph)
    network, image = from_model(model).eval(), synthetic_images(1, model.preparation, seed)
    return least_bytes(model, network, calibrate(network, image, synthetic=True))


def least_bytes(model: Model, network: Network, scales: tuple[Scale, ...]) -> int:
    """Bytes of a file whose weights and biases are all zero."""
    empty = as_model(model, _empty(network, scales))
    return FileSize.like(empty).of(empty.weights)


def _empty(network: Network, scales: tuple[Scale, ...]) -> IntegerNetwork:
    """An integer network whose weights and biases are all zero."""
    graph, weights = network.graph, {}
    for index, op in enumerate(graph.ops):
        if isinstance(op, Layer):
            rescaling = torch.full((op.out,), scales[index + 1].exponent - scales[op.inputs[0]].exponent)
            weights[op.name] = GridWeight(torch.zeros_like(network.weight(op.name)()), rescaling)
    return IntegerNetwork(graph, scales, weights, {name: torch.zeros(len(w.exponents)) for name, w in weights.items()})
