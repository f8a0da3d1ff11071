"""Layers that compensate for the errors of the layers before them (GPTAQ, Li et al. 2025, 2504.02692).

    >>> compensate(integer, known.network, images, hessians, multiplier)   # doctest: +SKIP

`round_network` rounds each layer by itself: it keeps the layer's outputs for the inputs that the float network
computes. In the integer network the layer reads other inputs, since earlier layers and 8-bit activations are rounded.
Here each layer's float weights are first adapted, so that for the integer network's inputs they give the float
network's outputs as nearly as possible; then the adapted weights are rounded. GPTAQ calls this asymmetric calibration.
Afterwards the biases are corrected. What this gains: docs/adr/0015-rate-distortion-rounding.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from squeezenet.compression.squeeze.hessian import ROUNDING, LayerHessian, blocks_of, inputs_of
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.rounding import round_layer
from squeezenet.fixed_point import Scale, step
from squeezenet.graph import Conv, Layer
from squeezenet.models.network import Network

BATCH = 8
POSITIONS = 200  # positions of an image at which inputs are compared
RIDGE_IMAGES = 96  # ridge = RIDGE_IMAGES / images, at most 1 (docs/experiments.md, "Constants of squeezing")
RARE = 0.05  # least share of the positions at which an output is assumed to be above 0


@torch.no_grad()
def compensate(
    integer: IntegerNetwork,
    network: Network,
    images: Tensor,
    hessians: Mapping[str, LayerHessian],
    multiplier: float,
    tick: Callable[[], object] = lambda: None,
    ridge_images: int = RIDGE_IMAGES,
    grain: int = 1,
    rounded: Callable[[Layer, Tensor], GridWeight] | None = None,
    biased: Callable[[Layer, Tensor], Tensor] = lambda op, bias: bias,
) -> None:
    """Round the layers of `integer` again, in the order they run, and correct their biases.

    `network` is the float network, and `images` (N, C, H, W) are prepared for it. `tick` is called once a layer.
    `grain` is that of `round_network`.
    """
    graph, scales, last = network.graph, integer.scales, network.graph.last_use()
    # In batches: memory for the activations of all images at once is slow to get.
    exact = [list(images.split(BATCH))]
    changed = [[integer.enter(batch) for batch in exact[0]]]
    for index, op in enumerate(graph.ops):
        before = [list(batch) for batch in zip(*(exact[i] for i in op.inputs), strict=True)]
        after = [list(batch) for batch in zip(*(changed[i] for i in op.inputs), strict=True)]
        exact.append([network.apply_op(op, batch) for batch in before])
        if isinstance(op, Layer):
            source, target = scales[op.inputs[0]], scales[index + 1]
            read = [batch[0].float() * step(source.exponent) for batch in after]
            weight = _adapted(op, network.weight(op.name)(), [batch[0] for batch in before], read, ridge_images)
            gap = target.exponent - source.exponent
            grid = rounded(op, weight) if rounded else round_layer(weight, hessians[op.name], multiplier, gap, grain)
            integer.replace_weight(op.name, grid)
            sums = [integer.sums(op, batch[0]) for batch in after]
            _correct_bias(integer, op, target, exact[-1], sums)
            integer.bias(op.name).copy_(biased(op, integer.bias(op.name)))
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
    """Give the outputs the mean that the float outputs `wanted` have: first before the ReLU, then after it.

    `sums` are those of the integer layer, and `target` is the scale of its outputs. Errors whose mean is 0 before a
    ReLU have a positive mean after it, because the ReLU removes negative ones only. Later layers would compensate for
    that mean, but no layer follows the last one.
    """
    bias = integer.bias(op.name)
    bias.copy_(_means(wanted) / target.step - _means(sums) * integer.factor(op))
    if target.low == 0:
        above = _means(batch.clamp(min=0) for batch in wanted) / target.step
        excess = _means(integer.outputs(op, batch) for batch in sums) - above
        bias.sub_(excess / _means(batch > 0 for batch in wanted).clamp(min=RARE))


def _adapted(
    op: Layer, weight: Tensor, exact: Sequence[Tensor], changed: Sequence[Tensor], ridge_images: int = RIDGE_IMAGES
) -> Tensor:
    """The weights whose outputs for the inputs `changed` are nearest to those of `weight` for the inputs `exact`.

    With E = exact - changed and C = changed, both less their means, this is ridge regression of E on C:
    adapted = weight + weight @ (E C^T) @ (C C^T + ridge * mean(diag(C C^T)) * identity)^-1.
    """
    size, groups = weight[0].numel(), op.groups if isinstance(op, Conv) else 1
    rows = weight.reshape(groups, -1, size).double()
    adapted = rows.clone()
    blocks = blocks_of(size)
    for block, (crossed, covariance, hidden, count) in zip(blocks, _moments(op, exact, changed, blocks), strict=True):
        mean = torch.maximum(covariance.diagonal(dim1=1, dim2=2).mean(1), hidden)
        # With few images, what is measured in directions of small variance is noise. The ridge suppresses it.
        images = sum(len(batch) for batch in exact)
        damping = mean * max(min(1.0, ridge_images / images), covariance.shape[1] / count) + 1e-12
        covariance.diagonal(dim1=1, dim2=2).add_(damping[:, None])
        lacking = (rows[..., block] @ crossed).mT  # (groups, inputs, outputs)
        adapted[..., block] += torch.cholesky_solve(lacking, torch.linalg.cholesky(covariance)).mT
    return adapted.float().reshape(weight.shape)


def _moments(
    op: Layer, exact: Sequence[Tensor], changed: Sequence[Tensor], blocks: Sequence[slice]
) -> list[tuple[Tensor, Tensor, Tensor, int]]:
    """For each of `blocks`: E C^T / samples and C C^T / samples, both (groups, block, block).

    E = exact - changed and C = changed, both less their means over all samples. Also the variance of an input that
    rounding of float32 can hide (groups,), and the number of samples.
    """
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
        crossed, covariance, errors, means = (product / count for product in each)
        hidden = ROUNDING * covariance.diagonal(dim1=1, dim2=2).mean(1)
        moments.append((crossed - errors @ means.mT, covariance - means @ means.mT, hidden, count))
    return moments


def _means(batches: Iterable[Tensor]) -> Tensor:
    """The mean of each channel over all images and positions: (channels,)."""
    total, count = torch.zeros(()), 0
    for batch in batches:
        total = total + batch.float().mean([0, *range(2, batch.dim())]) * len(batch)
        count += len(batch)
    return total / count
