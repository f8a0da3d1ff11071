"""Scales of the values of an integer network, and the integer arithmetic between scales (docs/FORMAT.md).

    >>> requantise(np.array([1000, -1000]), rescaling=24).tolist()      # times 2 ** (-24 / 8)
    [125, -125]

An integer q stands for the real number `2 ** (exponent / 8) * (q - zero)`. Exponents are integers. The product
of two steps has the sum of their exponents. An exponent that is larger by 1 makes the step 9% larger.
A rescaling exponent, here `rescaling`, is the exponent of a result minus the exponents of the factors.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

EIGHTHS = 8
"""Exponents count eighths of a power of two."""
ROOTS = (32768, 35734, 38968, 42495, 46341, 50535, 55109, 60097)
"""2 ** 15 * 2 ** (i / 8), rounded to nearest."""

BIAS_BITS = 4
"""A bias is stored in sixteenths (2 ** -4) of the step of the layer's output."""

MIN_RESCALING, MAX_RESCALING = -80, 200
"""Limits of a rescaling exponent; with them, the shift of `factor` is 5 to 40."""

FINER = 64
"""By how much the exponent of a wide global mean is lower than that of its input: the mean has 8 bits more."""

WIDEST = (1 << 24) - 1
"""The largest wide value: float32 holds every integer up to it."""


@dataclass(frozen=True)
class Scale:
    """The scale of a value: its integer q, 0 to 255, stands for the real number `step * (q - zero)`.

    In a `nine_bit` value, q is 0 to 510. A `wide` value (logits) has 24 bits and a sign. The zero point of both is 0.
    """

    exponent: int
    zero: int = 0
    wide: bool = False
    nine_bit: bool = False

    @property
    def step(self) -> float:
        """The real number that a difference of 1 stands for."""
        return step(self.exponent)

    @property
    def low(self) -> int:
        """The smallest value of q - zero."""
        return -WIDEST if self.wide else -self.zero

    @property
    def high(self) -> int:
        """The largest value of q - zero."""
        return WIDEST if self.wide else (510 if self.nine_bit else 255) - self.zero

    @property
    def span(self) -> int:
        """`high` minus `low`."""
        return self.high - self.low


def step(exponent: int) -> float:
    """2 ** (exponent / 8), the same float64 on every machine.

    >>> step(-16), round(step(4), 3)
    (0.25, 1.414)
    """
    octaves, eighths = divmod(exponent, EIGHTHS)
    return ROOTS[eighths] * 2.0 ** (octaves - 15)


def factor(rescaling: int) -> tuple[int, int]:
    """(multiplier, shift) so that 2 ** (-rescaling / 8) is multiplier / 2 ** shift.

    >>> factor(0), factor(1)
    ((32768, 15), (60097, 16))
    """
    octaves, eighths = divmod(-rescaling, EIGHTHS)
    return ROOTS[eighths], 15 - octaves


def requantise(sums: Integers, rescaling: int, bias: Integers | int = 0) -> Integers:
    """`sums` * 2 ** (-rescaling / 8) + bias / 16, rounded to nearest, halves up, in 64-bit integers."""
    multiplier, shift = factor(rescaling)
    product: Integers = np.asarray(sums, np.int64) * multiplier
    product = product + (np.asarray(bias, np.int64) << (shift - BIAS_BITS))
    return (product + (1 << (shift - 1))) >> shift


def fraction(rescaling: int) -> int:
    """2 ** (-rescaling / 8) in units of 2 ** -16, rounded down."""
    multiplier, shift = factor(rescaling)
    return multiplier << (16 - shift) if shift <= 16 else multiplier >> (shift - 16)


def rescale(values: Integers, rescaling: int) -> Integers:
    """`values` * 2 ** (-rescaling / 8) in units of 2 ** -16."""
    return np.asarray(values, np.int64) * fraction(rescaling)


def mean(sums: Integers, count: Integers | int) -> Integers:
    """`sums` / `count` in units of 2 ** -16, by the rounded reciprocal of `count`."""
    return np.asarray(sums, np.int64) * ((65536 + count // 2) // count)


def round_fraction(values: Integers) -> Integers:
    """`values` * 2 ** -16, rounded to nearest, halves up."""
    return (values + 32768) >> 16
