"""Trained quantization: weights share the centroids of a codebook (Deep Compression, section 3).

    >>> share_values(torch.tensor([0.0, -1.0, -1.1, 2.0]), bits=1)[0].tolist()      # index 0 is a pruned weight
    [0, 1, 1, 2]

k-means runs on the non-zero weights of each layer. Its first centroids are evenly spaced between the smallest and the
largest weight: the paper found that large weights matter, and that this initialisation keeps them.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezenet.models.network import Network, SharedWeight

Initialisation = Literal["linear", "density", "random"]
Doubles = NDArray[np.float64]

MAX_ITERATIONS = 300


def share(network: Network, bits: Mapping[str, int], initialisation: Initialisation = "linear", seed: int = 0) -> None:
    """Give each layer in `bits` a codebook of at most 2 ** bits centroids, in place; zeros stay zero."""
    for name, width in bits.items():
        indices, codebook = share_values(network.weight(name)().detach(), width, initialisation, seed)
        network.replace_weight(name, SharedWeight(indices, codebook))


def share_values(
    weight: Tensor, bits: int, initialisation: Initialisation = "linear", seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Indices (0 = zero weight, i = centroid i - 1) of the shape of `weight`, and the centroids in increasing order."""
    values = weight.cpu().double().numpy()
    centroids = centroids_of(weight, bits, initialisation, seed)
    indices = np.where(values != 0, nearest(values, centroids) + 1, 0)
    return torch.from_numpy(indices), torch.from_numpy(centroids.astype(np.float32))


def centroids_of(weight: Tensor, bits: int, initialisation: Initialisation = "linear", seed: int = 0) -> Doubles:
    """At most 2 ** bits centroids for the non-zero values of `weight`, in increasing order, without unused ones."""
    values = np.sort(weight.cpu().double().numpy().ravel())
    values = values[values != 0]
    centroids = kmeans(values, initial_centroids(values, 1 << bits, initialisation, seed))
    return centroids[np.unique(nearest(values, centroids))]


def nearest(values: Doubles, centroids: Doubles) -> NDArray[np.int64]:
    """The index of the nearest of the sorted `centroids` for every value."""
    return np.searchsorted(_boundaries(centroids), values)


def initial_centroids(values: Doubles, count: int, how: Initialisation, seed: int = 0) -> Doubles:
    """`count` centroids for sorted `values`: evenly spaced over their range ("linear"), over their distribution
    ("density"), or values drawn at random ("random")."""
    if values.size == 0:
        return np.zeros(0)
    if how == "linear":
        return np.linspace(values[0], values[-1], count)
    if how == "density":
        return np.quantile(values, (np.arange(count) + 0.5) / count)
    drawn = np.random.default_rng(seed).choice(values, min(count, values.size), replace=False)
    return np.sort(drawn)


def kmeans(values: Doubles, centroids: Doubles, iterations: int = MAX_ITERATIONS) -> Doubles:
    """The centroids of Lloyd's algorithm for sorted `values`, in increasing order.

    A cluster is a run of neighbours, so its sum is the difference of two cumulative sums. A centroid without values is
    moved: it splits one of the clusters with the largest squared error. (Linear initialisation puts many centroids near
    0, where pruning left no values.)
    """
    if values.size == 0:
        return centroids
    sums = np.concatenate([[0.0], np.cumsum(values)])
    squares = np.concatenate([[0.0], np.cumsum(values**2)])
    wanted = centroids.size
    for _ in range(iterations):
        ends = np.concatenate([[0], np.searchsorted(values, _boundaries(centroids), "right"), [values.size]])
        held = np.flatnonzero(np.diff(ends))
        first, last = ends[held], ends[held + 1]
        means = (sums[last] - sums[first]) / (last - first)
        errors = squares[last] - squares[first] - means * (sums[last] - sums[first])
        splittable = np.flatnonzero(values[last - 1] > values[first])
        empty = min(wanted - held.size, splittable.size)
        worst = splittable[np.argsort(-errors[splittable], kind="stable")[:empty]]
        middle = (values[first[worst]] + values[last[worst] - 1]) / 2  # two centroids replace one, left and right of it
        quarter = (values[last[worst] - 1] - values[first[worst]]) / 4
        kept = np.delete(means, worst)
        moved = np.sort(np.concatenate([kept, middle - quarter, middle + quarter]))
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _boundaries(centroids: Doubles) -> Doubles:
    return (centroids[1:] + centroids[:-1]) / 2
