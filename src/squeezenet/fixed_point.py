"""Scales of an integer network, in eighths of an octave, and the integer arithmetic that goes from one to another.

    >>> requantise(np.array([1000, -1000]), drop=24).tolist()      # 24 eighths: a factor of 2 ** -3
    [125, -125]

A real number is held as `2 ** (exponent / 8) * (q - zero)`. A step of an eighth is 9%, so the finest fit of a range to
8 bits loses a twelfth of a bit at most, an exponent is a small number, and the product of scales is a sum.
What an integer network computes is defined in docs/FORMAT.md ("Integer networks"); `runtime/integers.py` runs it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

EIGHTHS = 8
ROOTS = (32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097)
"""2 ** 15 * 2 ** (i / 8), to nearest."""

BIAS_BITS = 4
"""A bias counts in sixteenths of the step of its layer's output."""

MIN_DROP, MAX_DROP = -80, 200
"""Eighths that a sum may lose on its way to the next scale; the shift is then 5 to 40."""

FINER = 64
"""Eighths (8 bits) by which a mean over all positions is finer than what it is the mean of."""


WIDEST = (1 << 24) - 1
"""Where wide values are cut off: float32 holds every whole number up to it."""


@dataclass(frozen=True)
class Scale:
    """How integers stand for real numbers: from 0 to 255 less the zero, or to 510 in a `deep` value, whose zero is 0
    and which a device may hold as two of 8 bits. `wide` values, the logits, have 24 bits and a sign."""

    exponent: int
    zero: int = 0
    wide: bool = False
    deep: bool = False

    @property
    def step(self) -> float:
        """The real number that one more means."""
        return step(self.exponent)

    @property
    def low(self) -> int:
        """Where integers are cut off below, the zero taken away."""
        return -WIDEST if self.wide else -self.zero

    @property
    def high(self) -> int:
        """Where they are cut off above."""
        return WIDEST if self.wide else (510 if self.deep else 255) - self.zero

    @property
    def span(self) -> int:
        """How far apart the two are."""
        return self.high - self.low


def step(exponent: int) -> float:
    """2 ** (exponent / 8), the same float64 on every machine.

    >>> step(-16), round(step(4), 3)
    (0.25, 1.414)
    """
    octaves, eighths = divmod(exponent, EIGHTHS)
    return ROOTS[eighths] * 2.0 ** (octaves - 15)


def factor(drop: int) -> tuple[int, int]:
    """(multiplier, shift) of 2 ** (-drop / 8): multiply, then shift right.

    >>> factor(0), factor(1)
    ((32768, 15), (60097, 16))
    """
    octaves, eighths = divmod(-drop, EIGHTHS)
    return ROOTS[eighths], 15 - octaves


def requantise(sums: Integers, drop: int, bias: Integers | int = 0) -> Integers:
    """`sums` * 2 ** (-drop / 8) + bias / 16, to nearest, halves up. All of it in 64 bits."""
    multiplier, shift = factor(drop)
    product: Integers = np.asarray(sums, np.int64) * multiplier
    product = product + (np.asarray(bias, np.int64) << (shift - BIAS_BITS))
    return (product + (1 << (shift - 1))) >> shift


def fraction(drop: int) -> int:
    """2 ** (-drop / 8) in 65,536ths, rounded down."""
    multiplier, shift = factor(drop)
    return multiplier << (16 - shift) if shift <= 16 else multiplier >> (shift - 16)


def rescale(values: Integers, drop: int) -> Integers:
    """`values` in 65,536ths of the scale that is `drop` eighths coarser."""
    return np.asarray(values, np.int64) * fraction(drop)


def mean(sums: Integers, count: int) -> Integers:
    """Sums of `count` values as their mean in 65,536ths, by the rounded reciprocal of `count`."""
    return np.asarray(sums, np.int64) * ((65536 + count // 2) // count)


def round_fraction(values: Integers) -> Integers:
    """65,536ths to whole numbers, halves up."""
    return (values + 32768) >> 16
