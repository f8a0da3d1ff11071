"""The figures of the report of a squeezed network: divergence and accuracy by file size, and divergence by layer.

    >>> curves = measure(model, squeezed, pixels, judge)                   # doctest: +SKIP
    >>> curves.layers["conv1"], curves.rounded[0].divergence               # doctest: +SKIP
    (0.0021, 0.31)

The divergence is that of Kullback and Leibler, in nats per image, between the class probabilities of the float network
and those of the squeezed one, over the calibration images.
"""

from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from squeezenet.compression.outcome import Compressed, Judge, encoded
from squeezenet.compression.squeeze.network import IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.prepared import Prepared, as_model, prepare
from squeezenet.compression.squeeze.to_size import round_to_size
from squeezenet.data import Pixels
from squeezenet.errors import EmptyModel
from squeezenet.model import Model, Outputs
from squeezenet.models.network import FreeWeight, Network, from_model
from squeezenet.models.outputs import divergence

SIZES = (0.5, 0.7, 1.4, 2.0)  # file sizes of the curve, as multiples of the shipped file's size

BATCH = 8


@dataclass(frozen=True)
class Point:
    """One file: its bytes, its divergence, and its top-1 in percent (None without labelled images)."""

    bytes: int
    divergence: float
    top1: float | None


@dataclass(frozen=True)
class Curves:
    """All figures. `layers` is layer name -> divergence if only the weights of this layer are rounded."""

    shipped: Point
    rounded: tuple[Point, ...]  # of other sizes, by rounding alone, smallest first
    layers: dict[str, float]


def measure(model: Model, squeezed: Compressed, pixels: Pixels | None, judge: Judge | None, seed: int = 0) -> Curves:
    """The figures of `squeezed`, which `squeeze` made of `model` with the same images and seed."""
    model = model.dequantised()
    known = prepare(model, pixels, seed)
    answers = _logits(known.network, known.images)

    def point(tried: Compressed, network: IntegerNetwork) -> Point:
        top1 = judge(tried.model, tried.data) if judge else None
        return Point(len(tried.data), _divergence(answers, network, known.images, model.outputs), top1)

    shipped = point(squeezed, from_integer_model(squeezed.model))
    rounded = []
    for share in SIZES:
        network, _ = round_to_size(model, known, share * shipped.bytes)
        with suppress(EmptyModel):  # a file that small would have no weights
            rounded.append(point(encoded(as_model(model, network)), network))
    return Curves(shipped, tuple(rounded), _by_layer(known, squeezed.model, answers))


def _by_layer(known: Prepared, squeezed: Model, answers: Tensor) -> dict[str, float]:
    network, levels = known.network, from_model(squeezed.dequantised())
    costs = {}
    for op in network.graph.layers:
        exact = network.weight(op.name)
        with torch.no_grad():
            network.replace_weight(op.name, FreeWeight(levels.weight(op.name)()))
        costs[op.name] = _divergence(answers, network, known.images, squeezed.outputs)
        network.replace_weight(op.name, exact)
    return costs


def _divergence(answers: Tensor, network: Network, images: Tensor, outputs: Outputs) -> float:
    return float(divergence(_logits(network, images), answers, outputs))


@torch.no_grad()
def _logits(network: Network, images: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in images.split(BATCH)])
