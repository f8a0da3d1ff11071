"""Method `squeeze`: an integer network of a wanted size, from any float network.

    >>> squeezed = squeeze(model, pixels, Squeezing(max_bytes=300_000))                 # doctest: +SKIP
    >>> sqz.write(squeezed, "squeezed.sqz")                                             # doctest: +SKIP

Scales are calibrated, weights rounded against the coder's costs, and then, where there are images, weights, biases and
size learn together until the file fits. Without images, made-up ones stand in for calibration (`synthetic`), and
nothing is learned.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.finetune import Objective, Teaching
from squeezenet.compression.squeeze.learning import Learning, Progress, learn
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.rate import level_bits, total_bits
from squeezenet.compression.squeeze.rounding import round_network
from squeezenet.compression.squeeze.sensitivity import sensitivity_of
from squeezenet.compression.squeeze.synthetic import made_up
from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.fixed_point import Scale
from squeezenet.graph import Layer
from squeezenet.model import Grid, Model
from squeezenet.models.network import Network, from_model
from squeezenet.version import __version__

CALIBRATION_IMAGES = 96
SENSITIVITY_IMAGES = 64
HEADROOM = 1.3
"""How much larger than the goal the network is when it begins to learn: what to leave out is better learned."""

CLOSE = 0.01  # a size is met when it is at most this share below it
TRIES = 6


@dataclass(frozen=True)
class Squeezing:
    """What is asked for: a file of at most `max_bytes`."""

    max_bytes: int
    objective: Objective | Literal["auto"] = "auto"
    learning: Learning = field(default_factory=Learning)
    augmentation: Augmentation | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Prepared:
    """What rounding needs to know about a network; the same for every size."""

    network: Network
    images: Tensor
    scales: tuple[Scale, ...]
    sensitivity: dict[str, Tensor]


def squeeze(
    model: Model,
    pixels: Pixels | None,
    settings: Squeezing,
    on_progress: Callable[[str, Progress | None], object] = lambda stage, progress: None,
) -> Model:
    """The best integer network whose file has at most `settings.max_bytes`; the model given is not changed.

    Raises `BadGraph` for an operation that has no integer form, `UsageError` if no network is small enough.
    """
    model = model.dequantised()
    known = prepare(model, pixels, settings)
    least = _overhead(model, known)
    if settings.max_bytes <= least:
        raise UsageError(
            f"--max-bytes {settings.max_bytes:,}: graph, labels and biases alone are {least:,} bytes; allow more"
        )
    learns = pixels is not None and settings.learning.epochs > 0
    wanted = settings.max_bytes * (HEADROOM if learns else 1.0)
    network, trade = round_to_size(model, known, wanted)
    if learns:
        assert pixels is not None
        teaching = finetune.teaching_for(model, known.network, pixels, settings.objective, settings.augmentation)
        network = learn_to_size(model, network, teaching, settings, trade)
    return trimmed(model, network, settings.max_bytes)


def prepare(model: Model, pixels: Pixels | None, settings: Squeezing) -> Prepared:
    """Calibrate."""
    network = from_model(model).eval()
    if pixels is None:
        images = made_up(CALIBRATION_IMAGES, model.preparation, settings.seed)
    else:
        images = finetune.some(pixels, model.preparation, CALIBRATION_IMAGES)
    scales = calibrate(network, images)
    return Prepared(network, images, scales, sensitivity_of(network, images[:SENSITIVITY_IMAGES], settings.seed))


def round_to_size(model: Model, known: Prepared, max_bytes: float) -> tuple[IntegerNetwork, float]:
    """Round with the trade between errors and bits that fills `max_bytes`; the network and that trade."""
    octaves, size = -23.0, 0
    seen: list[tuple[float, int, IntegerNetwork]] = []
    for _ in range(TRIES):
        network = _round(known, octaves)
        size = len(sqz.encode(as_model(model, network)))
        seen.append((octaves, size, network))
        if (1 - CLOSE) * max_bytes <= size <= max_bytes:
            break
        octaves = _next(seen, max_bytes)
    fitting = [entry for entry in seen if entry[1] <= max_bytes]
    octaves, _, network = max(fitting, key=lambda entry: entry[1]) if fitting else min(seen, key=lambda entry: entry[1])
    return network, 2.0**octaves


def _round(known: Prepared, octaves: float) -> IntegerNetwork:
    with tqdm(total=len(known.network.graph.layers), desc="rounding", unit="layer", leave=False, disable=None) as bar:
        return round_network(known.network, known.images, known.scales, known.sensitivity, 2.0**octaves, bar.update)


def _next(seen: list[tuple[float, int, IntegerNetwork]], wanted: float) -> float:
    """The next trade (its logarithm) to try: size falls about straight with it."""
    octaves, size, _ = seen[-1]
    slope = -0.11 * size  # bytes an octave: what most networks lose
    if len(seen) > 1 and seen[-2][1] != size and seen[-2][0] != octaves:
        slope = min(-0.02 * size, (size - seen[-2][1]) / (octaves - seen[-2][0]))
    return octaves + max(-8.0, min(8.0, (0.995 * wanted - size) / slope))


def learn_to_size(
    model: Model, network: IntegerNetwork, teaching: Teaching, settings: Squeezing, trade: float
) -> IntegerNetwork:
    """Train `network` in place towards `settings.max_bytes`."""
    size = len(sqz.encode(as_model(model, network)))
    bits = sum(total_bits(level, level_bits(level)) for level in _levels(network))
    others = size - bits / 8  # what is not levels, less what the coder gains over the tables
    goal = 8 * max(1.0, settings.max_bytes - others * settings.max_bytes / size)
    with tqdm(desc="learning", unit="step", leave=False, disable=None) as bar:

        def tick(progress: Progress) -> None:
            bar.total = progress.steps
            bar.set_postfix_str(f"loss {progress.loss:.3f}, {progress.bits / 8 + others:,.0f} bytes", refresh=False)
            bar.update()

        learn(network, teaching, replace(settings.learning, seed=settings.seed), goal, trade, tick)
    return network


def trimmed(model: Model, network: IntegerNetwork, max_bytes: int) -> Model:
    """The network as a model, without the last levels that are too many: those nearest to zero."""
    shipped = as_model(model, network)
    if len(sqz.encode(shipped)) <= max_bytes:
        return shipped
    low, high = 0.0, 1.0  # share of the levels of magnitude 1 that are dropped
    best = _dropped(model, network, high)
    for _ in range(10):
        middle = (low + high) / 2
        tried = _dropped(model, network, middle)
        if len(sqz.encode(tried)) <= max_bytes:
            best, high = tried, middle
        else:
            low = middle
    if len(sqz.encode(best)) > max_bytes:
        raise UsageError(f"the network cannot be made as small as {max_bytes:,} bytes by this much learning; allow more")
    return best


def as_model(model: Model, network: IntegerNetwork) -> Model:
    """What is shipped."""
    provenance = {**model.provenance, "method": "squeeze", "made by": f"squeezenet {__version__}"}
    return replace(model, weights=network.to_weights(), scales=network.scales, provenance=provenance)


def _dropped(model: Model, network: IntegerNetwork, share: float) -> Model:
    """Without that share of the levels of magnitude 1, the smallest weights first."""
    sizes = [network.weight(op.name).steps.detach().abs() for op in network.graph.layers]
    ones = [size[level.abs() == 1] for size, level in zip(sizes, _levels(network), strict=True)]
    ordered = torch.cat(ones).sort().values
    limit = float(ordered[min(int(share * len(ordered)), len(ordered) - 1)])
    shipped = as_model(model, network)
    weights = dict(shipped.weights)
    for op, size in zip(network.graph.layers, sizes, strict=True):
        weight = weights[op.name].weight
        assert isinstance(weight, Grid)
        drop = ((size <= limit) & (size < 1.5)).numpy()
        levels = weight.levels.copy()
        levels[drop] = 0
        weights[op.name] = replace(weights[op.name], weight=replace(weight, levels=levels))
    return replace(shipped, weights=weights)


def _levels(network: IntegerNetwork) -> list[Tensor]:
    return [network.weight(op.name).levels() for op in network.graph.layers]


def _overhead(model: Model, known: Prepared) -> int:
    """Bytes of a file whose weights and biases are all zero."""
    graph, scales, weights = known.network.graph, known.scales, {}
    for index, op in enumerate(graph.ops):
        if isinstance(op, Layer):
            drop = torch.full((op.out,), scales[index + 1].exponent - scales[op.inputs[0]].exponent)
            weights[op.name] = GridWeight(torch.zeros_like(known.network.weight(op.name)()), drop)
    empty = IntegerNetwork(graph, scales, weights, {name: torch.zeros(len(w.exponents)) for name, w in weights.items()})
    return len(sqz.encode(as_model(model, empty)))
