"""Float32 steps and biases with which a runtime's conversion to 8 bits gives exactly the integers of the format.

The result of a layer is a staircase: a function of the sum of products, which rises by 1 at each of up to 510
*thresholds*. Runtimes compute another staircase, `round(float32(sum) * step)`. Both functions are monotonic, because
each rounding of floats is. So they are equal for all sums if they are equal at each threshold and at the sum before it,
and this is tested here, with the roundings of ONNX Runtime. No image is needed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet.fixed_point import BIAS_BITS, Integers, Scale, factor
from squeezenet.model import IntegerWeights

HALF = 255
"""The largest element of each half of a 9-bit value."""

MAX_LEVEL, MAX_PAIR = 127, 128
"""Largest level, and largest sum of the magnitudes of two levels. Kernels for processors without VNNI add two products
of an unsigned byte and a level in 16 bits: 255 * 128 is the largest sum that fits."""

MAX_SUM = (1 << 31) - 1
"""The largest sum in a runtime."""

SHIFTS = np.linspace(-1, 1, 41) / 100
"""Changes of a float bias that are tried, in steps of the products."""

SLOPE = 2.0**-8
"""Slopes are tried that differ from that of the format by this share."""

ENOUGH = 2.0**-17
"""If the largest right step of the weights is larger than the least one by this share, no better step is searched for.
It is 64 times what the roundings of float32 can add up to."""

ULPS = range(-3, 4)
"""Changes of a float32 step that are tried, in units of its last digit."""


@dataclass(frozen=True)
class Staircase:
    """The results of a layer, or of one half of them if they are 9-bit, as functions of the sums of products.

    `at[o, i]` is the smallest sum of output o with a result of at least `results[i]`, and `before[o, i]` is the largest
    sum with a smaller result. `reached` and `missed` say whether output o has such sums.
    """

    results: Integers  # (n)
    at: Integers  # (out, n)
    before: Integers  # (out, n)
    reached: NDArray[np.bool_]  # (out, n)
    missed: NDArray[np.bool_]  # (out, n)
    slopes: NDArray[np.float64]  # (out) results for each product step
    biases: NDArray[np.float64]  # (out) in product steps
    largest: Integers  # (out) the largest magnitude of a sum

    def rows(self, outputs: Integers) -> "Staircase":
        """The staircases of some of the outputs."""
        at, before, reached, missed = (
            self.at[outputs], self.before[outputs], self.reached[outputs], self.missed[outputs]
        )  # fmt: skip
        return Staircase(
            self.results, at, before, reached, missed,
            self.slopes[outputs], self.biases[outputs], self.largest[outputs],
        )  # fmt: skip


def staircases(held: IntegerWeights, source: Scale, target: Scale) -> list[Staircase]:
    """The staircase of a layer; two, one for each half, if its results have 9 bits."""
    levels = held.weight.levels.astype(np.int64).reshape(len(held.bias), -1)
    rescalings = target.exponent - source.exponent - held.weight.exponents.astype(np.int64)
    multipliers, shifts = np.array([factor(int(d)) for d in rescalings], np.int64).T
    added = (held.bias.astype(np.int64) << (shifts - BIAS_BITS)) + (np.int64(1) << (shifts - 1))
    positive, negative = np.maximum(levels, 0).sum(1), np.minimum(levels, 0).sum(1)
    highest = positive * source.high + negative * source.low
    lowest = positive * source.low + negative * source.high
    slopes = multipliers / 2.0**shifts
    found = []
    for offset in (0, HALF) if target.nine_bit else (0,):
        results = np.arange(target.low + 1, min(target.high, 255) + 1)
        sums = -((added[:, None] - ((results + offset) << shifts[:, None])) // multipliers[:, None])
        at, before = np.maximum(sums, lowest[:, None]), np.minimum(sums - 1, highest[:, None])
        reached, missed = sums <= highest[:, None], sums > lowest[:, None]
        biases = (held.bias.astype(np.float64) / (1 << BIAS_BITS) - offset) / slopes
        largest = np.maximum(highest, -lowest)
        found.append(Staircase(results, at, before, reached, missed, slopes, biases, largest))
    return found


@dataclass(frozen=True)
class Fused:
    """What an 8-bit convolution of a runtime needs for each output: the levels times `finer`, a bias, and their step.

    `finer` is 0 if the staircase of an output was not found.
    """

    finer: Integers
    bias: Integers
    steps: NDArray[np.float32]

    def rows(self, outputs: Integers) -> "Fused":
        """The parameters of some of the outputs."""
        return Fused(self.finer[outputs], self.bias[outputs], self.steps[outputs])


def fused(stairs: Staircase, levels: Integers, unit: np.float32, into: np.float32) -> Fused:
    """Parameters of an 8-bit convolution with the same staircases.

    `unit` is the step of the input, `into` that of the result. The levels are small integers, so that multiples of them
    fit into 8 bits, too. With levels that are `finer` times as large, the bias is in steps that are finer by as much.
    """
    magnitudes = np.sort(np.abs(levels.reshape(len(levels), -1)), 1)
    pairs = magnitudes[:, -2:].sum(1)
    most = np.minimum(MAX_LEVEL // np.maximum(1, magnitudes[:, -1]), MAX_PAIR // np.maximum(1, pairs))
    room = MAX_SUM / np.maximum(1, stairs.largest + np.abs(stairs.biases) + 1)
    most = np.minimum(most, room.astype(np.int64))
    count = len(levels)
    best = np.zeros(count)
    finer, bias, steps = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.float32)
    for times in range(1, int(most.max(initial=0)) + 1):
        for near in (0, 1, -1):
            outputs = np.flatnonzero((most >= times) & (best < ENOUGH))
            some = stairs.rows(outputs)
            whole = np.rint(some.biases * times).astype(np.int64) + near
            least, largest = _slopes(some, times, whole)
            wider = np.flatnonzero(largest / least - 1 > best[outputs])
            outputs, some, whole, least, largest = (
                outputs[wider], some.rows(wider), whole[wider], least[wider], largest[wider]
            )  # fmt: skip
            width = largest / least - 1
            start = (np.sqrt(least * largest) * (np.float64(into) / np.float64(unit))).astype(np.float32)
            sums = [(times * each + whole[:, None]).astype(np.float32) for each in (some.at, some.before)]
            for ulps in ULPS:
                step = start + ulps * np.spacing(start)
                scale = (unit * step / into)[:, None]  # in the order of ONNX Runtime
                right = _rises(some, *(np.rint(each * scale) for each in sums)) & (width > best[outputs])
                rows = outputs[right]
                best[rows], finer[rows], bias[rows], steps[rows] = width[right], times, whole[right], step[right]
    return Fused(finer, bias, steps)


@dataclass(frozen=True)
class Divided:
    """What a conversion of sums to 8 bits needs: a float bias, in steps of the products, and a divisor."""

    bias: NDArray[np.float32]
    divisors: NDArray[np.float32]


def divided(stairs: Staircase) -> Divided | None:
    """`round((float32(sum) + bias) / divisor)` with the same staircases, or None if an output has none."""
    count = len(stairs.at)
    bias, divisors, found = np.zeros(count, np.float32), np.ones(count, np.float32), np.zeros(count, bool)
    for shift in sorted(SHIFTS, key=abs):
        outputs = np.flatnonzero(~found)
        some = stairs.rows(outputs)
        moved = (some.biases + shift).astype(np.float32)
        least, largest = _slopes(some, 1, moved.astype(np.float64))
        start = (1 / np.sqrt(least * np.maximum(least, largest))).astype(np.float32)
        sums = [each.astype(np.float32) + moved[:, None] for each in (some.at, some.before)]
        for ulps in ULPS:
            divisor = start + ulps * np.spacing(start)
            right = _rises(some, *(np.rint(each / divisor[:, None]) for each in sums))
            rows = outputs[right]
            bias[rows], divisors[rows], found[rows] = moved[right], divisor[right], True
    return Divided(bias, divisors) if found.all() else None


def _slopes(stairs: Staircase, times: int, added: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the largest slope with which `times * sum + added` has the right results: none if least > largest.

    For a slope s and a result k, `(times * at + added) * s > k - 1/2` and `(times * before + added) * s < k - 1/2`.
    """
    at, before = (times * each + added[:, None] for each in (stairs.at, stairs.before))
    middle = np.broadcast_to(stairs.results - 0.5, at.shape)
    near = (stairs.slopes / times)[:, None]
    with np.errstate(divide="ignore"):
        by_at, by_before = middle / at, middle / before
    # The side of `middle` on which a number is does not depend on the slope if their signs differ, or if it is 0.
    wrong = (stairs.reached & (at <= 0) & (middle > 0)) | (stairs.missed & (before >= 0) & (middle < 0))
    above = np.where(stairs.reached & (at > 0) & (middle > 0), by_at, 0)
    above = np.maximum(above, np.where(stairs.missed & (before < 0) & (middle < 0), by_before, 0))
    below = np.where(stairs.missed & (before > 0) & (middle > 0), by_before, np.inf)
    below = np.minimum(below, np.where(stairs.reached & (at < 0) & (middle < 0), by_at, np.inf))
    least = np.maximum(above, near * (1 - SLOPE)).max(1)
    largest = np.where(wrong, 0, np.minimum(below, near * (1 + SLOPE))).min(1)
    return least, largest


def _rises(stairs: Staircase, at: NDArray[np.float32], before: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether the results at and before all thresholds are on the right side of them."""
    right = (~stairs.reached | (at >= stairs.results)) & (~stairs.missed | (before < stairs.results))
    return np.asarray(right.all(1), np.bool_)
