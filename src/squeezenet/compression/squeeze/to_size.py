"""From a float network to an integer network whose file has a wanted size: by rounding, then by learning.

>>> known = prepare(model, pixels)                                                       # doctest: +SKIP
>>> network, multiplier = round_to_size(model, known, 300_000)                           # doctest: +SKIP
>>> shipped, data = trimmed(model, network, known, 300_000)                              # doctest: +SKIP

The file shrinks as the Lagrange multiplier grows (`rounding`), so the search for a size is a search for the multiplier.
Its logarithm to base 2 is searched, because the logarithm of the size falls about linearly with it. Graph, text and
scales do not change during a search: only the coded layers are counted again (`FileSize`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.finetune import Teaching
from squeezenet.compression.outcome import quiet
from squeezenet.compression.recipe import Learning
from squeezenet.compression.squeeze.as_floats import Learned, hold_out, learn_as_floats, loss_on
from squeezenet.compression.squeeze.equalise import equalise
from squeezenet.compression.squeeze.gptaq import compensate
from squeezenet.compression.squeeze.hessian import BATCH, DAMPING, DAMPING_SYNTHETIC, RANK, LayerHessian, hessians_of
from squeezenet.compression.squeeze.learning import learn
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork, from_integer_model, stored
from squeezenet.compression.squeeze.nine_bits import with_nine_bits
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.rate import level_bits, total_bits
from squeezenet.compression.squeeze.rounding import STEP, round_again, round_layer, round_network
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.data import Pixels
from squeezenet.errors import ModelError
from squeezenet.fixed_point import EIGHTHS, Scale
from squeezenet.graph import Graph, Layer
from squeezenet.integer_graph import check_operations
from squeezenet.model import AnyWeights, IntegerWeights, Model
from squeezenet.models.network import Network, from_model
from squeezenet.sqz.costs import least_bytes as least_bytes_of
from squeezenet.sqz.integers import layer_size

IMAGES = 128  # by default, for second derivatives
COMPENSATING, MOST_COMPENSATING = 0.75, 192  # share of the images, and most, that scales and compensation use

CLOSE, CLOSE_BYTES = 0.004, 16  # a search ends at a file at most this share, or so many bytes, below the goal
GROWTH, GROWTH_SYNTHETIC = 0.005, 0.001
"""Share of the size by which compensation makes a file of `GROWTH_BITS` larger: in proportion to 1 / bits^2."""
GROWTH_BITS = 2.25  # bits for each weight (docs/experiments.md, "Time of the search for a size")
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
FIRST_RISE = 0.125  # octaves by which `trimmed` raises the multiplier at first; then four times as many, at most 32
RETRIES = 12  # multipliers that `trimmed` tries
HEADROOM = 1.02  # file size at which levels begin to learn, as a multiple of the goal (docs/experiments.md)
STEEPNESS = 4  # learning begins with the multiplier times (bits / wanted bits) ^ STEEPNESS

ENOUGH = 64  # different images; if there are fewer, synthetic ones are added

_log = logging.getLogger(__name__)

Tick = Callable[[float], object]


@dataclass(frozen=True)
class FileSize:
    """The size of a file as a function of its weights; nothing is written. All figures are in bytes."""

    front: int  # header, graph, text and scales, which stay the same
    least: int  # the format refuses a smaller file of this graph

    @staticmethod
    def like(shipped: Model) -> "FileSize":
        """The function for integer networks that differ from `shipped` in weights and biases only."""
        return FileSize(sqz.front_size(shipped), least_bytes_of(shipped.graph, shipped.preparation.resize))

    def of(self, weights: Mapping[str, AnyWeights]) -> int:
        """`len(sqz.encode(model))` of the model with these weights; `least` if the format refuses it as too empty."""
        return max(self.least, self.front + sum(map(layer_size, weights.values())))


@dataclass(frozen=True, eq=False)
class Prepared:
    """What rounding needs to know about a network; it is the same for every size, as are the sizes tried so far."""

    network: Network  # of floats, equalised
    images: Tensor  # calibration images, prepared (N, C, H, W)
    scales: tuple[Scale, ...]  # of the image and of every operation's output
    hessians: dict[str, LayerHessian]
    growth: float  # share of the size by which compensation makes a file of `GROWTH_BITS` larger
    size: FileSize
    least: int  # bytes of the file whose weights and biases are all 0
    grain: int  # all exponents are multiples of it
    tried: dict[float, int] = field(default_factory=dict)  # log2 of a multiplier -> bytes after rounding alone
    estimated: dict[float, int] = field(default_factory=dict)  # the same, estimated from some outputs


def prepare(
    model: Model, pixels: Pixels | None, seed: int = 0, tick: Tick = quiet, count: int = IMAGES, grain: int = 1,
    most: int = MOST_COMPENSATING,
) -> Prepared:  # fmt: skip
    """Scales and second derivatives, measured on some of `pixels`, or on synthetic calibration images if that is None.

    `count` is their number; at most `most` of them are used for scales and compensation. `tick` gets the share of the
    work that was just done. The exponents of all scales will be multiples of `grain`. Raises `BadGraph` for an
    operation that has no integer form, `ModelError` for a network whose logits do not depend on the image.
    """
    check_operations(model.graph)
    network = from_model(model).eval()
    images, synthetic = _calibration_images(model, pixels, count, seed)
    share = synthetic / len(images)
    damping = DAMPING ** (1 - share) * DAMPING_SYNTHETIC**share
    growth = GROWTH ** (1 - share) * GROWTH_SYNTHETIC**share
    fewer = min(max(1, round(COMPENSATING * len(images))), most)
    rescaled = equalise(network, images)
    ranges = {i: ends for i, ends in model.ranges.items() if i not in rescaled}
    some = torch.arange(0, len(images), len(images) // fewer)[:fewer]
    first = images[some]
    rank = RANK if 0 < synthetic < len(images) else 0.0
    hessians = hessians_of(network, images, damping, seed, tick, model.outputs, rank=rank)
    if not _matter(hessians, model.graph):  # perhaps all probabilities are 0 or 1
        with torch.no_grad():
            logits = torch.cat([network(batch) for batch in images.split(BATCH)])
        hessians = hessians_of(network, images, damping, seed, quiet, model.outputs, float(logits.std()) + 1e-30, rank)
    if not _matter(hessians, model.graph):
        raise ModelError("the network gives every image the same logits: there is nothing to keep; train it further")
    made = int((some >= len(images) - synthetic).sum())
    eight_bits = calibrate(network, first, made, grain=grain, ranges=ranges)
    scales = with_nine_bits(model.graph, eight_bits, hessians)
    empty = _empty(model, network, scales)
    size = FileSize.like(empty)
    return Prepared(network, first, scales, hessians, growth, size, size.of(empty.weights), grain)


def _matter(hessians: Mapping[str, LayerHessian], graph: Graph) -> bool:
    """Whether errors in any layer change the answers; the bias of the last one may give the same logits alone."""
    return any(hessians[op.name].importance for op in graph.layers[:-1] or graph.layers)


def _calibration_images(model: Model, pixels: Pixels | None, count: int, seed: int) -> tuple[Tensor, int]:
    """Prepared images (N, C, H, W), and how many of them are synthetic: the last ones.

    A few real images tell less than many synthetic ones do. So the fewer there are, the more synthetic ones are added.
    """
    if pixels is None:
        return synthetic_images(count, model.preparation, seed), count
    images = finetune.some(pixels, model.preparation, count)
    different = list({sha256(image.numpy().tobytes()).digest(): i for i, image in enumerate(images)}.values())
    if len(different) >= ENOUGH:
        return images, 0
    images = images[different]
    synthetic = round((1 - len(images) / ENOUGH) * max(count, ENOUGH))
    _log.warning(
        "few different images to calibrate with (%d), so %d synthetic ones are added; better give %d or more",
        len(images), synthetic, ENOUGH,
    )  # fmt: skip
    return torch.cat([images, synthetic_images(synthetic, model.preparation, seed)]), synthetic


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
        if stuck or _close(size, max_bytes):
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
        if _close(seen[-1][1], max_bytes):
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


def learn_to_size(
    model: Model,
    known: Prepared,
    max_bytes: int,
    teaching: Teaching,
    learning: Learning,
    rounding: Rounding,
    tick: Tick = quiet,
    work: Path | None = None,
    told: Callable[[float, str], object] = quiet,
    seed: int = 0,
) -> Learned:
    """The network of at most `max_bytes` that has the least loss on held-out images: learned, or rounded alone.

    `tick` is for `rounding`. `told` gets the share of the learning that is done, and the loss in words.
    """
    teaching, held = hold_out(teaching)
    rounded, multiplier = rounding(model, known, max_bytes, tick)

    def fitting(network: IntegerNetwork) -> IntegerNetwork:
        return from_integer_model(trimmed(model, network, known, max_bytes)[0])

    def again(floats: Network) -> IntegerNetwork:
        network = round_network(floats, known.scales, known.hessians, multiplier, grain=known.grain)
        compensate(network, floats, known.images, known.hessians, multiplier, grain=known.grain)
        return fitting(network)

    rounded = fitting(rounded)
    if teaching.objective == "distill":
        return learn_as_floats(model, rounded, again, held, teaching, learning, told, work, seed)
    larger, multiplier = rounding(model, known, HEADROOM * max_bytes, tick)
    learn_levels(model, known, larger, teaching, learning, max_bytes, multiplier, work, told, seed)
    learned = fitting(larger)
    before, after = loss_on(rounded, held), loss_on(learned, held)
    return Learned(learned, before, after) if after < before else Learned(rounded, before, before)


def learn_levels(
    model: Model,
    known: Prepared,
    network: IntegerNetwork,
    teaching: Teaching,
    learning: Learning,
    max_bytes: int,
    multiplier: float,
    work: Path | None = None,
    told: Callable[[float, str], object] = quiet,
    seed: int = 0,
) -> None:
    """Train the levels of `network` in place until its file has about `max_bytes`.

    `multiplier` is the one that it was rounded with. `told` gets the share of the work that is done, and the loss and
    the size in words.
    """
    shipped = as_model(model, network)
    size = FileSize.like(shipped).of(shipped.weights)
    bits = sum(total_bits(level, level_bits(level)) for level in _levels(network))
    others = size - bits / 8  # bytes of all but levels, less what the coder saves against the estimated bits
    # If `others` is negative, it is mostly that saving, which is in proportion to the size.
    goal = 8 * max(1.0, max_bytes - others * (max_bytes / size if others < 0 else 1.0))
    multiplier *= max(1.0, bits / goal) ** STEEPNESS

    def tick(done: float, loss: float, bits: float) -> None:
        told(done, f"loss {loss:.3f}, {bits / 8 + others:,.0f} bytes")

    importance = {name: hessian.importance for name, hessian in known.hessians.items()}
    learn(network, teaching, learning, goal, multiplier, tick, work, importance, seed)


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
            if _close(found, max_bytes):
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


def _close(size: int, max_bytes: float) -> bool:
    """Whether a search for `max_bytes` may end with a file of `size`."""
    return max_bytes - max(CLOSE * max_bytes, CLOSE_BYTES) <= size <= max_bytes


def as_model(model: Model, network: IntegerNetwork) -> Model:
    """The model that is shipped: `model` with the weights and scales of `network`."""
    return replace(model, weights=network.to_weights(), scales=network.scales)


def _levels(network: IntegerNetwork) -> list[Tensor]:
    return [network.weight(op.name).levels() for op in network.graph.layers]


def roughly_least_bytes(model: Model, seed: int) -> int:
    """An estimate of `Prepared.least`, wrong by a few bytes of scales, from one synthetic image.

    Raises `BadGraph` for an operation that has no integer form.
    """
    check_operations(model.graph)
    network, image = from_model(model).eval(), synthetic_images(1, model.preparation, seed)
    empty = _empty(model, network, calibrate(network, image, len(image)))
    return FileSize.like(empty).of(empty.weights)


def _empty(model: Model, network: Network, scales: tuple[Scale, ...]) -> Model:
    """The integer network whose weights and biases are all 0, as a model."""
    graph, weights = network.graph, {}
    for index, op in enumerate(graph.ops):
        if isinstance(op, Layer):
            exponents = torch.full((op.out,), scales[index + 1].exponent - scales[op.inputs[0]].exponent)
            weights[op.name] = GridWeight(torch.zeros_like(network.weight(op.name)()), exponents)
    biases = {op.name: torch.zeros(op.out) for op in graph.layers}
    return as_model(model, IntegerNetwork(graph, scales, weights, biases))
