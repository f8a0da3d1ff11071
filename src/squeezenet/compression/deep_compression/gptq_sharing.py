"""Weight sharing that looks at the images: each weight's rounding error is made up for by the weights after it.

    >>> share_by_gptq(network, images, {"conv1": 6})        # doctest: +SKIP

A layer's outputs, not its weights, should stay what they were. Going through the non-zero weights of one output channel
in order, each moves to its nearest centroid, and those not yet moved take over its error as the inputs' covariance says
(optimal brain surgeon, Hassibi 1993; in this form GPTQ, Frantar et al. 2022). The bias takes over the mean. Layers are
treated in the order they run, on inputs that the layers before them have already changed.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from squeezenet.compression.deep_compression.codebook import Doubles, Initialisation, centroids_of, nearest
from squeezenet.graph import Conv, Linear
from squeezenet.models.network import Network, SharedWeight

DAMPING = 0.01
"""Added to the covariance's diagonal, as a share of its mean: inputs that never vary would make it singular."""

MAX_INPUTS = 2048
"""Inputs of one output up to which a covariance is affordable; larger layers are rounded weight by weight."""


@torch.no_grad()  # not inference mode: what is made here is trained afterwards
def share_by_gptq(
    network: Network,
    images: Tensor,
    bits: Mapping[str, int],
    initialisation: Initialisation = "linear",
    seed: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Give every layer that is named a codebook of at most 2 ** bits centroids; zeros stay zero.

    `images` (N, C, H, W) are prepared; a few dozen are enough. `tick` is called once a layer.
    """
    graph = network.graph
    last = graph.last_use()
    exact: list[Tensor | None] = [images]
    changed: list[Tensor | None] = [images]
    for index, op in enumerate(graph.ops):
        before = [value for i in op.inputs if (value := exact[i]) is not None]
        after = [value for i in op.inputs if (value := changed[i]) is not None]
        exact.append(network.apply_op(op, before))
        if isinstance(op, Conv | Linear) and op.name in bits:
            weight = network.weight(op.name)().detach()
            codebook = centroids_of(weight, bits[op.name], initialisation, seed)
            indices = _assign(op, weight, codebook, after[0])
            network.replace_weight(op.name, _shared(indices, codebook))
            result = network.apply_op(op, after)
            target = exact[-1]
            assert target is not None
            axes = (0, 2, 3) if result.dim() == 4 else (0,)
            shift = (target - result).mean(axes)
            network.bias(op.name).add_(shift)
            changed.append(result + shift.view(-1, *[1] * (result.dim() - 2)))
            tick()
        else:
            changed.append(network.apply_op(op, after))
        for i in op.inputs:
            if last[i] == index:
                exact[i] = changed[i] = None


def _assign(op: Conv | Linear, weight: Tensor, codebook: Doubles, inputs: Tensor) -> NDArray[np.int64]:
    """Indices for every weight: 0 for zeros, else 1 + the centroid."""
    rows = weight.reshape(len(weight), -1).double().numpy()
    groups = op.groups if isinstance(op, Conv) else 1
    indices = np.zeros(rows.shape, np.int64)
    per_group = len(rows) // groups
    for group in range(groups):
        block = slice(group * per_group, (group + 1) * per_group)
        if rows.shape[1] > MAX_INPUTS:
            indices[block] = np.where(rows[block] != 0, nearest(rows[block], codebook) + 1, 0)
            continue
        covariance = _covariance(op, inputs, group, groups)
        order = np.argsort(-np.diag(covariance), kind="stable")  # what matters most has most left to make up for it
        factors: dict[bytes, Doubles] = {}  # unpruned rows share one
        for i in range(block.start, block.stop):
            where = order[rows[i, order] != 0]
            key = where.tobytes()
            if key not in factors:
                factors[key] = _factor(covariance[np.ix_(where, where)])
            indices[i, where] = _assign_row(rows[i, where], codebook, factors[key]) + 1
    return indices.reshape(tuple(weight.shape))


def _assign_row(row: Doubles, codebook: Doubles, factor: Doubles) -> NDArray[np.int64]:
    chosen = np.empty(row.size, np.int64)
    row = row.copy()
    boundaries = (codebook[1:] + codebook[:-1]) / 2
    for i in range(row.size):
        chosen[i] = code = boundaries.searchsorted(row[i])
        error = (row[i] - codebook[code]) / factor[i, i]
        row[i + 1 :] -= error * factor[i, i + 1 :]
    return chosen


def _factor(covariance: Doubles) -> Doubles:
    """Upper Cholesky factor of the inverse: row i says how the weights after i make up for an error in weight i."""
    if covariance.size == 0:
        return covariance
    damped = covariance + np.eye(len(covariance)) * (DAMPING * np.trace(covariance) / len(covariance) + 1e-12)
    # chol(inverse(M)).T without the unstable inverse of M: factor M backwards and invert the triangle.
    return np.linalg.inv(np.linalg.cholesky(damped[::-1, ::-1]))[::-1, ::-1]


def _covariance(op: Conv | Linear, inputs: Tensor, group: int, groups: int) -> Doubles:
    """Of the values that one output of the layer reads, over all positions of all images."""
    size = inputs.shape[1] // groups * (op.kernel[0] * op.kernel[1] if isinstance(op, Conv) else 1)
    product, sums = torch.zeros(size, size, dtype=torch.double), torch.zeros(size, dtype=torch.double)
    origin: Tensor | None = None  # near the mean, so that little is lost where the mean is large
    count = 0
    for image in inputs.split(8):
        if isinstance(op, Conv):
            part = image.chunk(groups, 1)[group]
            patches = F.unfold(part, op.kernel, padding=op.padding, stride=op.stride).transpose(1, 2).flatten(0, 1)
        else:
            patches = image
        origin = patches.mean(0) if origin is None else origin
        patches = patches - origin
        product += patches.T @ patches
        sums += patches.sum(0)
        count += len(patches)
    return (product / count - torch.outer(sums, sums) / count**2).numpy()


def _shared(indices: NDArray[np.int64], codebook: Doubles) -> SharedWeight:
    """Without the centroids that no weight uses."""
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=codebook.size + 1)[1:])
    renumbered = np.zeros(codebook.size + 1, np.int64)
    renumbered[used + 1] = np.arange(used.size) + 1
    return SharedWeight(torch.from_numpy(renumbered[indices]), torch.from_numpy(codebook[used].astype(np.float32)))
