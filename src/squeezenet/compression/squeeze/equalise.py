"""Rescales channels of very different size before rounding, without changing what the network computes.

    >>> equalise(network, images)                                          # doctest: +SKIP

All channels of an activation share one step, and the weights of a layer have nearly the same step. So rounding harms a
channel whose activations are small and whose weights in the next layer are large (Nagel et al. 2019, 1906.04721). For a
factor s > 0, `ReLU(x / s) = ReLU(x) / s`. Therefore the weights and the bias that make a channel can be divided by s,
if the weights that read it are multiplied by s. Some operations may lie in between, because they keep such a factor:
pooling, concatenation, sums whose operands get the same factor, and a ReLU whose cap is far above the channel on the
images.

A channel is changed only if its activations are much smaller than usual and the weights that read it much larger, or
the other way round. So a channel that matters little stays as it is, and most networks are not changed at all
(docs/experiments.md, "Channels of very different size").
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezenet.compression.squeeze.hessian import Doubles
from squeezenet.graph import (
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    Layer,
    MaxPool,
    ReLU,
    Select,
    Upsample,
)
from squeezenet.models.network import FreeWeight, Network

IMAGES = 32  # at most, on which the sizes of activations are measured
BATCH = 8
LEAST = 2.0  # octaves: smaller differences stay
LEAST_DEAD = 5.0  # the same for channels that are 0 on all images, since others may show more of them
PASSES = 2  # what is usual in a layer changes when some of its channels do
CAP_MARGIN = 2.0  # a cap is not reached if activations times this are below it
BIAS_RANGE = 64.0  # largest bias of a channel that is always 0, as a multiple of the usual activation

Numbers = NDArray[np.int64]


@torch.no_grad()
def equalise(network: Network, images: Tensor) -> set[int]:
    """Rescale channels in place, and return the values that have such channels.

    The logits stay the same. `images` (N, C, H, W) are prepared.
    """
    changed: set[int] = set()
    channels = _Channels.of(network.graph)
    for _ in range(PASSES):
        seen = _largest(network, channels, images[:: -(-len(images) // IMAGES)])
        octaves, never = _wanted(network, channels, *seen)
        if not octaves.any() and not never.any():
            break
        _rescale(network, channels, np.exp2(octaves), never)
        changed |= {i for i in range(len(channels.first)) if octaves[channels.label[channels.of_value(i)]].any()}
    return changed


@dataclass(frozen=True, eq=False)
class _Channels:
    """Every channel of every value has a number; channels with the same `label` must have the same factor."""

    first: Numbers  # of each value: the number of its first channel
    count: Numbers  # of each value: its channels
    label: Numbers  # of each channel
    fixed: NDArray[np.bool_]  # by label: the factor must be 1
    readers: Numbers  # by label: how many channels of layers' inputs have it

    def of_value(self, value: int) -> Numbers:
        return np.arange(self.first[value], self.first[value] + self.count[value])

    @staticmethod
    def of(graph: Graph) -> "_Channels":
        shapes = graph.shapes()
        count = np.array([shape[0] for shape in shapes])
        first = np.concatenate([[0], np.cumsum(count)[:-1]])
        ties: list[tuple[Numbers, Numbers]] = []
        fixed = np.zeros(count.sum(), bool)

        def numbers(value: int) -> Numbers:
            return np.arange(first[value], first[value] + count[value])

        fixed[numbers(0)] = fixed[numbers(len(graph.ops))] = True
        for value, op in enumerate(graph.ops, 1):
            made, read = numbers(value), [numbers(i) for i in op.inputs]
            match op:
                case ReLU() | MaxPool() | AvgPool() | AdaptivePool() | GlobalAvgPool() | Upsample():
                    ties.append((read[0], made))
                case Activation(function="leaky_relu"):
                    ties.append((read[0], made))
                case Add():
                    ties += [(each, made) for each in read]
                case Concat():
                    ties.append((np.concatenate(read), made))
                case Select():
                    ties.append((read[0][op.picks()], made))
                case Flatten():
                    ties.append((read[0].repeat(prod(shapes[op.inputs[0]][1:])), made))
                case _ if not isinstance(op, Layer):
                    fixed[np.concatenate([made, *read])] = True
                case _:
                    pass
        label = _joined(len(fixed), ties)
        any_fixed, readers = np.zeros_like(fixed), np.zeros(len(fixed), np.int64)
        np.logical_or.at(any_fixed, label, fixed)
        for op in graph.layers:
            np.add.at(readers, label[numbers(op.inputs[0])], 1)
        return _Channels(first, count, label, any_fixed, readers)


def _joined(count: int, ties: list[tuple[Numbers, Numbers]]) -> Numbers:
    """For each of `count` numbers, the smallest number to which it is tied, directly or through others."""
    label, before = np.arange(count), None
    while before is None or (label != before).any():
        before = label.copy()
        for one, other in [*ties, *reversed(ties)]:
            least = np.minimum(label[one], label[other])
            np.minimum.at(label, one, least)
            np.minimum.at(label, other, least)
    return label


def _largest(network: Network, channels: _Channels, images: Tensor) -> tuple[Doubles, Doubles]:
    """The largest magnitude of each channel that a layer reads, and the smallest factor that a cap allows, by label."""
    largest, least = np.zeros(len(channels.label)), np.zeros(len(channels.label))
    for batch in images.split(BATCH):
        for op, operands, _ in network.run(batch):
            capped = isinstance(op, ReLU) and op.cap
            if isinstance(op, Layer) or capped:
                numbers = channels.of_value(op.inputs[0])
                x = operands[0].clamp(min=0) if capped else operands[0].abs()
                found = x.transpose(0, 1).flatten(1).amax(1).double().numpy()
                if isinstance(op, ReLU):
                    np.maximum.at(least, channels.label[numbers], CAP_MARGIN * found / op.cap)
                else:
                    largest[numbers] = np.maximum(largest[numbers], found)
    return largest, least


def _wanted(
    network: Network, channels: _Channels, largest: Doubles, least: Doubles
) -> tuple[Doubles, NDArray[np.bool_]]:
    """log2 of the factor of each label, and whether its channels are 0 for every image and read by large weights."""
    more, less = np.full(len(channels.label), np.inf), np.full(len(channels.label), -np.inf)
    alive, heavy = np.zeros(len(channels.label), bool), np.zeros(len(channels.label), bool)
    usual_bias = np.zeros(len(channels.label))
    for op in network.graph.layers:
        numbers = channels.of_value(op.inputs[0])
        label, found = channels.label[numbers], largest[numbers]
        weights = _columns(network.weight(op.name)().double().numpy(), op)
        if not found.any() or not weights.any():
            alive[label] = True
            continue
        usual = np.median(found[found > 0])
        read = np.log2(np.maximum(weights, 1e-30) / np.median(weights[weights > 0]))
        size = np.log2(np.maximum(found, 1e-30) / usual)
        opposite = np.where(size * read < 0, np.sign(size) * np.minimum(np.abs(size), np.abs(read)), 0)
        opposite[weights == 0] = 0
        np.minimum.at(more, label, np.maximum(opposite, 0))
        np.maximum.at(less, label, np.minimum(opposite, 0))
        np.logical_or.at(alive, label, found > 0)
        np.logical_or.at(heavy, label, read >= LEAST)
        np.maximum.at(usual_bias, label, usual)
    octaves = np.where(np.isfinite(more), more, 0) + np.where(np.isfinite(less), less, 0)
    # A cap that is reached, or nearly, keeps the factor at 1; else it limits how much larger a channel becomes.
    octaves = np.where(least >= 1, 0, np.maximum(octaves, np.log2(np.maximum(least, 1e-30))))
    octaves[(np.abs(octaves) < LEAST) | channels.fixed | (channels.readers == 0)] = 0
    bias, empty = _made(network, channels)
    never = empty & ~alive & heavy & ~channels.fixed & (channels.readers > 0)
    dead = ~alive & (bias > 0) & (usual_bias > 0)
    limit = np.log2(np.maximum(bias, 1e-30) / (BIAS_RANGE * np.maximum(usual_bias, 1e-30)))
    octaves[dead] = np.minimum(0, np.maximum(octaves, limit))[dead]
    octaves[never | (~alive & (octaves > -LEAST_DEAD))] = 0
    return octaves, never


def _made(network: Network, channels: _Channels) -> tuple[Doubles, NDArray[np.bool_]]:
    """The largest bias of each label, and whether the weights of its channels are all 0 and their biases at most 0."""
    bias, empty = np.zeros(len(channels.label)), np.ones(len(channels.label), bool)
    for value, op in enumerate(network.graph.ops, 1):
        if isinstance(op, Layer):
            label, own = channels.label[channels.of_value(value)], network.bias(op.name).double().numpy()
            np.maximum.at(bias, label, np.abs(own))
            rows = np.abs(network.weight(op.name)().flatten(1).numpy()).max(1)
            np.logical_and.at(empty, label, (rows == 0) & (own <= 0))
    return bias, empty


def _columns(weight: Doubles, op: Layer) -> Doubles:
    """The root mean square of the weights that read each input channel: (in,)."""
    groups = op.groups if isinstance(op, Conv) else 1
    parts = np.square(weight).reshape(groups, len(weight) // groups, weight.shape[1], -1)
    found: Doubles = np.sqrt(parts.mean((1, 3))).flatten()
    return found


def _rescale(network: Network, channels: _Channels, factors: Doubles, never: NDArray[np.bool_]) -> None:
    """Divide the weights and the bias that make each channel by its factor, and multiply the weights that read it."""
    kept = np.where(never, 0.0, factors)
    for value, op in enumerate(network.graph.ops, 1):
        if isinstance(op, Layer):
            made = channels.label[channels.of_value(value)]
            read = channels.label[channels.of_value(op.inputs[0])]
            weight, bias = network.weight(op.name)(), network.bias(op.name)
            ones = (1,) * (weight.dim() - 2)
            groups = op.groups if isinstance(op, Conv) else 1
            columns = torch.from_numpy(kept[read].reshape(groups, -1).repeat(op.out // groups, 0))  # (out, in / groups)
            rows = torch.from_numpy(1 / factors[made])
            changed = (weight.double() * columns.reshape(*columns.shape, *ones) * rows.reshape(-1, 1, *ones)).float()
            if not torch.equal(changed, weight):
                network.replace_weight(op.name, FreeWeight(changed, changed != 0))
            bias.mul_(rows.to(bias.dtype))
