"""Top-1 and top-5, counted in the same way for every runtime.

>>> ranks(np.array([[0.1, 0.9, 0.0], [0.5, 0.5, 0.5]]), np.array([1, 2])).tolist()
[0, 2]
>>> round(score(27, 30, 30).error, 1)
11.1
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezenet.errors import DataError

Z = 1.96
"""95% of a normal distribution lie within so many standard deviations."""


@dataclass(frozen=True)
class Score:
    """Accuracies in percent, measured on `images` images; with five classes or fewer, top-5 is 100%."""

    images: int
    top1: float
    top5: float

    @property
    def error(self) -> float:
        """Half of the 95% confidence interval (Wilson) of top-1, in points."""
        n, share, z = self.images, self.top1 / 100, Z
        return 100 * z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)

    def shown(self, digits: int = 1) -> str:
        """Top-1 with its error; with the interval instead if it would go below 0% or above 100%.

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


def ranks(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """(N, classes) logits -> (N,): the number of classes that rank before the label.

    Equal logits rank in the order of the classes, as for argmax: a network whose logits are all equal is not right.
    """
    mine = np.take_along_axis(logits, labels[:, None], 1)
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    ranks: NDArray[np.int64] = ((logits > mine) | ((logits == mine) & earlier)).sum(1)
    return ranks


def score(first: int, among: int, images: int) -> Score:
    """The hits in percent of `images`. Raises `DataError` if `images` is 0."""
    if not images:
        raise DataError("none of the images can be read, so there is no accuracy")
    return Score(images, 100 * first / images, 100 * among / images)
