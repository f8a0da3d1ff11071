"""Weight sharing by GPTQ: later weights compensate for the error of each weight that is moved to its centroid.

    >>> share_by_gptq(network, images, {"conv1": 6})        # doctest: +SKIP

The non-zero weights of one output are moved to their nearest centroids one after another. After each, the weights that
are not yet moved change so that the squared error of the output is least; the covariance of the inputs says how (GPTQ,
Frantar et al. 2022, 2210.17323, after the optimal brain surgeon, Hassibi 1993). The bias is corrected so that the mean
of the output stays. Layers are treated in the order they run, with inputs that earlier layers have already changed.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from squeezenet.compression.deep_compression.codebook import Doubles, Initialisation, centroids_of, nearest
from squeezenet.graph import Conv, Linear
from squeezenet.models.network import Network, SharedWeight, padded

DAMPING = 0.01  # share of the mean variance added to each variance: constant inputs would give a singular matrix
MAX_INPUTS = 2048  # of one output; layers with more are shared without compensation, since the covariance is too large


@torch.no_grad()  # not inference mode: the network is trained afterwards
def share_by_gptq(
    network: Network,
    images: Tensor,
    bits: Mapping[str, int],
    initialisation: Initialisation = "linear",
    seed: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Give each layer in `bits` a codebook of at most 2 ** bits centroids, in place; zeros stay zero.

    `images` (N, C, H, W) are prepared; a few dozen are enough. `tick` is called once a layer.
    """
    last = network.graph.last_use()
    changed: list[Tensor | None] = [images]
    for index, (op, _, target) in enumerate(network.run(images)):  # each layer runs before its weight is replaced
        after = [value for i in op.inputs if (value := changed[i]) is not None]
        if isinstance(op, Conv | Linear) and op.name in bits:
            weight = network.weight(op.name)().detach()
            codebook = centroids_of(weight, bits[op.name], initialisation, seed)
            indices = _assign(op, weight, codebook, after[0])
            network.replace_weight(op.name, _shared(indices, codebook))
            result = network.apply_op(op, after)
            axes = (0, 2, 3) if result.dim() == 4 else (0,)
            shift = (target - result).mean(axes)
            network.bias(op.name).add_(shift)
            changed.append(result + shift.view(-1, *[1] * (result.dim() - 2)))
            tick()
        else:
            changed.append(network.apply_op(op, after))
        for i in op.inputs:
            if last[i] == index:
                changed[i] = None


def _assign(op: Conv | Linear, weight: Tensor, codebook: Doubles, inputs: Tensor) -> NDArray[np.int64]:
    """The index of every weight: 0 for a zero, else 1 + the number of its centroid."""
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
        order = np.argsort(-np.diag(covariance), kind="stable")  # large variances first: most weights follow them
        factors: dict[bytes, Doubles] = {}  # by which weights are not zero; unpruned rows share one factor
        for i in range(block.start, block.stop):
            where = order[rows[i, order] != 0]
            key = where.tobytes()
            if key not in factors:
                factors[key] = _factor(covariance[np.ix_(where, where)])
            indices[i, where] = _assign_row(rows[i, where], codebook, factors[key]) + 1
    return indices.reshape(tuple(weight.shape))


def _assign_row(row: Doubles, codebook: Doubles, factor: Doubles) -> NDArray[np.int64]:
    """The number of the centroid of every weight of `row`, by GPTQ."""
    chosen = np.empty(row.size, np.int64)
    row = row.copy()
    boundaries = (codebook[1:] + codebook[:-1]) / 2
    for i in range(row.size):
        chosen[i] = code = boundaries.searchsorted(row[i])
        error = (row[i] - codebook[code]) / factor[i, i]
        row[i + 1 :] -= error * factor[i, i + 1 :]
    return chosen


def _factor(covariance: Doubles) -> Doubles:
    """Upper Cholesky factor of the inverse: row i says how later weights compensate for an error in weight i."""
    if covariance.size == 0:
        return covariance
    damped = covariance + np.eye(len(covariance)) * (DAMPING * np.trace(covariance) / len(covariance) + 1e-12)
    # chol(inverse(M)).T without the unstable inverse of M: factor M backwards and invert the triangle.
    return np.linalg.inv(np.linalg.cholesky(damped[::-1, ::-1]))[::-1, ::-1]


def _covariance(op: Conv | Linear, inputs: Tensor, group: int, groups: int) -> Doubles:
    """The covariance of the inputs of one output in `group`, over all positions of all images: (inputs, inputs)."""
    size = inputs.shape[1] // groups * (op.kernel[0] * op.kernel[1] if isinstance(op, Conv) else 1)
    product, sums = torch.zeros(size, size, dtype=torch.double), torch.zeros(size, dtype=torch.double)
    origin: Tensor | None = None  # near the mean, so that few digits cancel if the mean is large
    count = 0
    for image in inputs.split(8):
        if isinstance(op, Conv):
            part, padding = padded(op, image.chunk(groups, 1)[group])
            patches = F.unfold(part, op.kernel, op.dilation, padding, op.stride).transpose(1, 2).flatten(0, 1)
        else:
            patches = image
        origin = patches.mean(0) if origin is None else origin
        patches = patches - origin
        product += patches.T @ patches
        sums += patches.sum(0)
        count += len(patches)
    return (product / count - torch.outer(sums, sums) / count**2).numpy()


def _shared(indices: NDArray[np.int64], codebook: Doubles) -> SharedWeight:
    """The shared weight, without centroids that no weight uses."""
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=codebook.size + 1)[1:])
    renumbered = np.zeros(codebook.size + 1, np.int64)
    renumbered[used + 1] = np.arange(used.size) + 1
    return SharedWeight(torch.from_numpy(renumbered[indices]), torch.from_numpy(codebook[used].astype(np.float32)))
