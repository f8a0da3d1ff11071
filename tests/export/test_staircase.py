"""Float parameters with which runtimes round as the format does: compared with every sum that a layer can have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezenet.export.onnx.staircase import MAX_LEVEL, MAX_PAIR, divided, fused, staircases
from squeezenet.fixed_point import Scale, requantise
from squeezenet.model import Grid, IntegerWeights


@st.composite
def layers(draw: st.DrawFn) -> tuple[IntegerWeights, Scale, Scale]:
    """A layer of one output, its input and its result."""
    largest = draw(st.sampled_from([1, 3, 20, 127]))
    levels = draw(st.lists(st.integers(-largest, largest), min_size=1, max_size=6))
    exponent, bias = draw(st.integers(-80, -8)), draw(st.integers(-3000, 3000))
    weight = Grid(np.array([levels], np.int32), np.array([exponent], np.int32))
    source = Scale(0, draw(st.integers(0, 255)))
    target = draw(st.sampled_from([Scale(0), Scale(0, 100), Scale(0, 255), Scale(0, nine_bit=True)]))
    return IntegerWeights(weight, np.array([bias], np.int32)), source, target


@settings(max_examples=25, deadline=None)
@given(layers())
def test_every_sum_gives_the_integer_of_the_format(layer: tuple[IntegerWeights, Scale, Scale]) -> None:
    held, source, target = layer
    levels = held.weight.levels.astype(np.int64)
    ends = np.maximum(levels, 0), np.minimum(levels, 0)
    highest = int((ends[0] * source.high + ends[1] * source.low).sum())
    lowest = int((ends[0] * source.low + ends[1] * source.high).sum())
    sums = np.arange(lowest, highest + 1)
    rescaling = target.exponent - source.exponent - int(held.weight.exponents[0])
    expected = requantise(sums, rescaling, int(held.bias[0]))
    unit, into = np.float32(0.37), np.float32(1.91)
    for offset, half in zip((0, 255), staircases(held, source, target), strict=False):
        right = np.clip(expected - offset, target.low, min(target.high, 255))
        kernel = fused(half, levels, unit, into)
        if times := int(kernel.finer[0]):
            magnitudes = np.sort(np.abs(times * levels[0]))
            assert magnitudes[-1] <= MAX_LEVEL
            assert magnitudes[-2:].sum() <= MAX_PAIR
            scale = unit * kernel.steps[0] / into
            found = np.rint((times * sums + kernel.bias[0]).astype(np.float32) * scale)
            assert np.array_equal(np.clip(found, target.low, min(target.high, 255)), right)
        if division := divided(half):
            found = np.rint((sums.astype(np.float32) + division.bias[0]) / division.divisors[0])
            assert np.array_equal(np.clip(found, target.low, min(target.high, 255)), right)


@pytest.mark.parametrize("bias", range(-8, 8))
def test_a_layer_whose_rescaling_is_a_power_of_two_always_has_a_fast_form(bias: int) -> None:
    weight = Grid(np.array([[3, -2, 1]], np.int32), np.array([-40], np.int32))
    held = IntegerWeights(weight, np.array([bias], np.int32))
    (half,) = staircases(held, Scale(0), Scale(0))
    assert fused(half, weight.levels.astype(np.int64), np.float32(1), np.float32(1)).finer[0]


def test_most_layers_with_large_levels_have_no_fast_form() -> None:
    """With a level of 127, the bias of an 8-bit kernel is a whole number of steps of the products. No step of the
    weights makes up for its rounding at all 255 thresholds. A float bias does."""
    weight = Grid(np.array([[127, 1, 0]], np.int32), np.array([-53], np.int32))
    held = IntegerWeights(weight, np.array([7], np.int32))
    (half,) = staircases(held, Scale(0), Scale(0))
    assert not fused(half, weight.levels.astype(np.int64), np.float32(1), np.float32(1)).finer[0]
    assert divided(half)
