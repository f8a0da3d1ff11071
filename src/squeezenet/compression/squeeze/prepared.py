"""What rounding needs to know about a network, which is the same for every size of the file.

>>> known = prepare(model, pixels)                                                       # doctest: +SKIP
>>> known.least < 300_000  # bytes                                                       # doctest: +SKIP
True
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression import finetune
from squeezenet.compression.outcome import quiet
from squeezenet.compression.squeeze.equalise import equalise
from squeezenet.compression.squeeze.hessian import BATCH, DAMPING, DAMPING_SYNTHETIC, RANK, LayerHessian, hessians_of
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.nine_bits import with_nine_bits
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.data import Pixels
from squeezenet.errors import ModelError
from squeezenet.fixed_point import Scale
from squeezenet.graph import Graph, Layer
from squeezenet.integer_graph import check_operations
from squeezenet.model import AnyWeights, Model
from squeezenet.models.network import Network, from_model
from squeezenet.sqz.costs import least_bytes as least_bytes_of
from squeezenet.sqz.integers import layer_size

IMAGES = 128  # by default, for second derivatives
COMPENSATING, MOST_COMPENSATING = 0.75, 192  # share of the images, and most, that scales and compensation use
ENOUGH = 64  # different images; if there are fewer, synthetic ones are added

GROWTH, GROWTH_SYNTHETIC = 0.005, 0.001
"""Share of the size by which compensation makes a file of `GROWTH_BITS` larger: in proportion to 1 / bits^2."""
GROWTH_BITS = 2.25  # bits for each weight (docs/experiments.md, "Time of the search for a size")

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


def as_model(model: Model, network: IntegerNetwork) -> Model:
    """The model that is shipped: `model` with the weights and scales of `network`."""
    return replace(model, weights=network.to_weights(), scales=network.scales)
