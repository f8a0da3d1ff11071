"""The bits that a level takes in the file, estimated from how often each magnitude occurs in the layer.

    >>> level_bits(torch.tensor([0.0, 0, 0, 1]))[:2].round(decimals=1).tolist()
    [0.5, 3.0]

A level of magnitude m takes -log2(frequency of m) bits, and one more for its sign unless m is 0. The real coder
(docs/FORMAT.md, "Level streams") also looks at neighbouring levels, so a file is a few percent smaller than this
estimate.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezenet.model import MAX_LEVEL

PRIOR = 0.5  # magnitudes that do not occur: each is assumed to be this many times as frequent as the one before


def level_bits(levels: Tensor) -> Tensor:
    """Bits of a level of each magnitude from 0 to `MAX_LEVEL`, with its sign: (MAX_LEVEL + 1,)."""
    counts = torch.bincount(levels.abs().long().flatten(), minlength=MAX_LEVEL + 1).double()
    counts = counts + PRIOR ** torch.arange(1, MAX_LEVEL + 2, dtype=torch.double, device=levels.device)
    bits = -torch.log2(counts / counts.sum())
    bits[1:] += 1
    return bits.float()


def total_bits(levels: Tensor, bits: Tensor) -> float:
    """Bits of all `levels`, from the table that `level_bits` returns."""
    return float(bits[levels.abs().long()].double().sum())


def rate_gradient(steps: Tensor, bits: Tensor) -> Tensor:
    """Derivative of the bits with respect to each value, in bits per step.

    Between two levels the bits are interpolated linearly.
    """
    size = steps.abs()
    lower = size.floor().long().clamp_(max=MAX_LEVEL - 1)
    return (bits[lower + 1] - bits[lower]) * steps.sign()


CLASSES = 8  # of the magnitude of an old level
RARE = 0.01  # share of the levels that is assumed to change before any did
PRIOR_COUNT = 200.0  # levels that this assumption counts as
MOVE_BITS = 1.0  # of the direction of a change


def change_bits(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits in a delta of a level that stays, and of one that changes, by the magnitude of the old one: (2, CLASSES)."""
    sizes = np.minimum(np.abs(old), CLASSES - 1).astype(np.intp).ravel()
    count = np.bincount(sizes, minlength=CLASSES) + PRIOR_COUNT
    changed = np.bincount(sizes, (old != new).ravel(), minlength=CLASSES) + RARE * PRIOR_COUNT
    share = np.minimum(changed / count, 0.5)
    return np.stack([-np.log2(1 - share), -np.log2(share) + MOVE_BITS])


class LevelRate(Protocol):
    """The bits of the levels of one layer, and what a table of them has to say."""

    def table(self, levels: Tensor) -> Tensor:
        """Bits by what the coder knows of a level, as often as each case occurs in `levels`."""

    def total(self, levels: Tensor, table: Tensor) -> float:
        """Bits of all `levels`."""

    def gradient(self, steps: Tensor, table: Tensor) -> Tensor:
        """Derivative of the bits with respect to each value, in bits per step."""


class FileRate:
    """Bits in the file."""

    def table(self, levels: Tensor) -> Tensor:
        return level_bits(levels)

    def total(self, levels: Tensor, table: Tensor) -> float:
        return total_bits(levels, table)

    def gradient(self, steps: Tensor, table: Tensor) -> Tensor:
        return rate_gradient(steps, table)


class DeltaRate:
    """Bits in a delta from a file that has the levels `old`."""

    def __init__(self, old: Tensor) -> None:
        self.old, self.sizes = old, old.abs().long().clamp(max=CLASSES - 1)

    def table(self, levels: Tensor) -> Tensor:
        bits = change_bits(self.old.double().cpu().numpy(), levels.double().cpu().numpy())
        return torch.from_numpy(bits).float().to(levels.device)

    def total(self, levels: Tensor, table: Tensor) -> float:
        return float(table[(levels != self.old).long(), self.sizes].double().sum())

    def gradient(self, steps: Tensor, table: Tensor) -> Tensor:
        """Up to one step from the old level the bits are interpolated linearly; beyond it they are constant."""
        off = steps - self.old
        return (table[1] - table[0])[self.sizes] * off.sign() * (off.abs() < 1)
