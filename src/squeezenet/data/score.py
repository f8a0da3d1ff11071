"""Top-1 and top-5, counted exactly and in one way for every runtime.

>>> hits(np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.5]]), np.array([1, 2]))
(1, 2)
>>> round(score(27, 30, 30).error, 1)
11.1
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import DataError

Z = 1.96
"""Standard deviations on either side that hold 95% of a normal distribution."""


@dataclass(frozen=True)
class Score:
    """Accuracies in percent of `images` images; top-5 counts all classes where there are fewer than five."""

    images: int
    top1: float
    top5: float

    @property
    def error(self) -> float:
        """Points by which top-1 may be off: half of the 95% confidence interval (Wilson's) of so few images."""
        n, share, z = self.images, self.top1 / 100, Z
        return 100 * z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)

    def shown(self, digits: int = 1) -> str:
        """Top-1 with its error; with the interval itself where that error would lead beyond 0 or 100%.

        >>> Score(30, 90.0, 100.0).shown(), Score(50, 100.0, 100.0).shown()
        ('90.0% [74.4 to 96.5]', '100.0% [92.9 to 100.0]')
        >>> Score(400, 90.0, 100.0).shown()
        '90.0% ± 3.0'
        """
        low, high = self.top1 - self.error, self.top1 + self.error
        if low >= 0 and high <= 100:
            return f"{self.top1:.{digits}f}% ± {self.error:.{digits}f}"
        centre = (self.top1 + 50 * Z**2 / self.images) / (1 + Z**2 / self.images)
        low, high = max(centre - self.error, 0), min(centre + self.error, 100)
        return f"{self.top1:.{digits}f}% [{low:.{digits}f} to {high:.{digits}f}]"


def hits(logits: NDArray[np.floating], labels: NDArray[np.integer], k: int = 5) -> tuple[int, int]:
    """How many of (N, classes) `logits` put the label first, and among the first `k`."""
    rank = ranks(logits, labels)
    return int((rank == 0).sum()), int((rank < k).sum())


def ranks(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """(N, classes) logits -> (N,): how many classes come before the label.

    Equal logits count in the order of their classes, as argmax does: a network that says nothing is not right.
    """
    mine = np.take_along_axis(logits, labels[:, None], 1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > mine) | ((logits == mine) & earlier)).sum(1)


def score(first: int, among: int, images: int) -> Score:
    """The hits of `images` images as percentages. Raises `DataError` if there are none."""
    if not images:
        raise DataError("accuracy needs images; none can be read")
    return Score(images, 100 * first / images, 100 * among / images)
