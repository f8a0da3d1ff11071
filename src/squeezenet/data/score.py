"""Top-1 and top-5, counted exactly and in one way for every runtime.

>>> hits(np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.5]]), np.array([1, 2]))
(1, 2)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import DataError


@dataclass(frozen=True)
class Score:
    """Accuracies in percent of `images` images; top-5 counts all classes where there are fewer than five."""

    images: int
    top1: float
    top5: float


def hits(logits: NDArray[np.floating], labels: NDArray[np.integer], k: int = 5) -> tuple[int, int]:
    """How many of (N, classes) `logits` put the label first, and among the first `k`.

    Equal logits count in the order of their classes, as argmax does: a network that says nothing is not right.
    """
    mine = np.take_along_axis(logits, labels[:, None], 1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    rank = ((logits > mine) | ((logits == mine) & earlier)).sum(1)
    return int((rank == 0).sum()), int((rank < k).sum())


def score(first: int, among: int, images: int) -> Score:
    """The hits of `images` images as percentages. Raises `DataError` if there are none."""
    if not images:
        raise DataError("accuracy needs images; none can be read")
    return Score(images, 100 * first / images, 100 * among / images)
