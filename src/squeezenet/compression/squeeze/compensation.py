"""Layers make up for what the layers before them do wrong: by their weights, rounded again, and by their biases.

    >>> compensate(integer, known.network, images, curvature, trade)       # doctest: +SKIP

Rounding a layer by itself keeps what it gives for the inputs that the float network has. But it reads what rounded
layers and 8-bit activations left of them. The weights that give for these the nearest to the float network's outputs
(asymmetric calibration, GPTAQ: Li et al. 2025, 2504.02692) are rounded in their place. On the authors' network that
takes half of the divergence at 350 kB.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from squeezenet.compression.squeeze.curvature import Curvature, Doubles, blocks_of, inputs_of
from squeezenet.compression.squeeze.network import IntegerNetwork
from squeezenet.compression.squeeze.rounding import round_layer
from squeezenet.fixed_point import Scale, step
from squeezenet.graph import Conv, Layer
from squeezenet.models.network import Network

BATCH = 8
POSITIONS = 200  # of an image that moments are taken over
SURE = 96
"""Images with which directions are believed that vary as much as the mean one; with more of them, those that vary less.
At 338 kB, with 256 images, the authors' network diverges on photographs by 0.058 nats with 1 and by 0.051 with 0.3
(one seed)."""
RARE = 0.05
"""The share of places that an output is taken to be above 0 at, where it hardly ever is."""


@torch.no_grad()
def compensate(
    integer: IntegerNetwork,
    network: Network,
    images: Tensor,
    curvature: Mapping[str, Curvature],
    trade: float,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Round the layers of `integer` again, in the order they run, and correct their biases.

    `images` (N, C, H, W) are prepared. `tick` is called once a layer.
    """
    graph, scales, last = network.graph, integer.scales, network.graph.last_use()
    # A batch at a time: values of all images at once are slow to get memory for.
    exact = [list(images.split(BATCH))]
    changed = [[integer.enter(batch) for batch in exact[0]]]
    for index, op in enumerate(graph.ops):
        before = [list(batch) for batch in zip(*(exact[i] for i in op.inputs), strict=True)]
        after = [list(batch) for batch in zip(*(changed[i] for i in op.inputs), strict=True)]
        exact.append([network.apply_op(op, batch) for batch in before])
        if isinstance(op, Layer):
            source, target = scales[op.inputs[0]], scales[index + 1]
            read = [batch[0].float() * step(source.exponent) for batch in after]
            weight = _adapted(op, network.weight(op.name)(), [batch[0] for batch in before], read)
            gap = target.exponent - source.exponent
            integer.replace_weight(op.name, round_layer(weight, curvature[op.name], trade, gap))
            sums = [integer.sums(op, batch[0]) for batch in after]
            _correct_bias(integer, op, target, exact[-1], sums)
            changed.append([integer.outputs(op, batch) for batch in sums])
            tick()
        else:
            changed.append([integer.apply_op(op, batch) for batch in after])
        for i in op.inputs:
            if last[i] == index:
                exact[i], changed[i] = [], []


def _correct_bias(
    integer: IntegerNetwork, op: Layer, target: Scale, wanted: Sequence[Tensor], sums: Sequence[Tensor]
) -> None:
    """Outputs, of scale `target`, shall have the mean of those `wanted`, and have it also behind a ReLU.

    There, errors that had no mean get one: what was below 0 is cut off, what came above it is not. Layers that follow
    would take that back, but none follows the last: of what the authors' network loses at 350 kB, 5% are logits that
    are off by as much for every image.
    """
    bias = integer.bias(op.name)
    bias.copy_(_means(wanted) / target.step - _means(sums) * integer.factor(op))
    if target.low == 0:
        above = _means(batch.clamp(min=0) for batch in wanted) / target.step
        excess = _means(integer.outputs(op, batch) for batch in sums) - above
        bias.sub_(excess / _means(batch > 0 for batch in wanted).clamp(min=RARE))


def _adapted(op: Layer, weight: Tensor, exact: Sequence[Tensor], changed: Sequence[Tensor]) -> Tensor:
    """The weights that give for what is now read the nearest to what `weight` gave for what was."""
    size, groups = weight[0].numel(), op.groups if isinstance(op, Conv) else 1
    rows = weight.reshape(groups, -1, size).double().numpy()
    adapted = rows.copy()
    blocks = blocks_of(size)
    for block, (crossed, covariance, count) in zip(blocks, _moments(op, exact, changed, blocks), strict=True):
        mean = np.trace(covariance, axis1=1, axis2=2) / covariance.shape[1]
        # Directions in which inputs vary less than on average are hardly believed; none is when samples are few.
        images = sum(len(batch) for batch in exact)
        damping = mean * max(min(1.0, SURE / images), covariance.shape[1] / count) + 1e-12
        damped = covariance + damping[:, None, None] * np.eye(covariance.shape[1])
        adapted[..., block] += rows[..., block] @ np.linalg.solve(damped, crossed.swapaxes(1, 2)).swapaxes(1, 2)
    return torch.from_numpy(adapted).float().reshape(weight.shape)


def _moments(
    op: Layer, exact: Sequence[Tensor], changed: Sequence[Tensor], blocks: Sequence[slice]
) -> list[tuple[Doubles, Doubles, int]]:
    """Covariance of the inputs' errors with the changed inputs, and of these; (groups, block, block) both; and of how
    many samples: for each of `blocks`."""
    products: list[list[Tensor]] = [[] for _ in blocks]
    count = 0
    for before, after in zip(exact, changed, strict=True):
        now, was = (inputs_of(op, x, POSITIONS).permute(1, 2, 0, 3).flatten(2) for x in (after, before))
        count += now.shape[2]
        for number, block in enumerate(blocks):
            read, error = now[:, block], was[:, block] - now[:, block]
            sums = (error.sum(2, keepdim=True), read.sum(2, keepdim=True))
            found = [part.double() for part in (error @ read.mT, read @ read.mT, *sums)]
            held = products[number]
            products[number] = [a + b for a, b in zip(held, found, strict=True)] if held else found
    moments = []
    for each in products:
        crossed, covariance, errors, means = (product.numpy() / count for product in each)
        mean = means.swapaxes(1, 2)
        moments.append((crossed - errors @ mean, covariance - means @ mean, count))
    return moments


def _means(batches: Iterable[Tensor]) -> Tensor:
    """Of each channel, over all images and positions."""
    total, count = torch.zeros(()), 0
    for batch in batches:
        total = total + batch.float().mean([0, *range(2, batch.dim())]) * len(batch)
        count += len(batch)
    return total / count
