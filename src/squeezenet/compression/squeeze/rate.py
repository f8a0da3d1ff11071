"""What levels cost in the file: a table of bits by magnitude, from how often each occurs in a layer.

    >>> level_bits(torch.tensor([0.0, 0, 0, 1]))[:2].round(decimals=1).tolist()
    [0.5, 3.0]

The coder (docs/FORMAT.md, "Level streams") adapts to each layer and also sees neighbours, so that a file is some
percent smaller than these tables say; the order in which they rank levels is the same.
"""

import torch
from torch import Tensor

from squeezenet.model import MAX_LEVEL

PRIOR = 0.5  # the share by which each magnitude is rarer than the one before, where none has been seen


def level_bits(levels: Tensor) -> Tensor:
    """Bits of a level by its magnitude, 0 to `MAX_LEVEL`, sign included."""
    counts = torch.bincount(levels.abs().long().flatten(), minlength=MAX_LEVEL + 1).double()
    counts = counts + PRIOR ** torch.arange(1, MAX_LEVEL + 2, dtype=torch.double, device=levels.device)
    bits = -torch.log2(counts / counts.sum())
    bits[1:] += 1
    return bits.float()


def total_bits(levels: Tensor, bits: Tensor) -> float:
    """Bits of all levels of a layer."""
    return float(bits[levels.abs().long()].double().sum())


def rate_gradient(steps: Tensor, bits: Tensor) -> Tensor:
    """How the bits of each weight grow with its value, in steps: the slope of the straight line between its levels."""
    size = steps.abs()
    lower = size.floor().long().clamp_(max=MAX_LEVEL - 1)
    return (bits[lower + 1] - bits[lower]) * steps.sign()
