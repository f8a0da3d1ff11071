"""Rounding with few images, or with equal ones: synthetic images are added."""

import numpy as np
import pytest
import torch

from squeezenet.compression import CompressionRecipe, Pruning, compress
from squeezenet.compression.squeeze.hessian import DAMPING, DAMPING_SYNTHETIC, hessians_of
from squeezenet.compression.squeeze.prepared import ENOUGH, prepare
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.data import Pixels
from squeezenet.model import Model
from squeezenet.runtime.run import runner
from support.integer_networks import PREPARATION, coloured_noise, little_model, prepared


@pytest.fixture(scope="module")
def model() -> Model:
    return little_model("vgg", coloured_noise())


def some(count: int, seed: int = 0) -> Pixels:
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, 3, 3, 3)).repeat(4, 2).repeat(4, 3)
    return Pixels(coarse.astype(np.uint8), None, np.arange(count))


def test_the_fewer_images_there_are_the_more_synthetic_ones_are_added(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    for count, in_all in ((1, 127), (16, 112), (ENOUGH - 1, ENOUGH + 1), (ENOUGH, ENOUGH)):
        caplog.clear()
        known = prepare(model, some(count))
        assert len(known.images) == min(96, round(0.75 * in_all))
        assert bool(caplog.records) == (count < ENOUGH)
    caplog.clear()
    black = prepare(model, Pixels(np.zeros((100, 3, 12, 12), np.uint8), None, np.arange(100)))
    assert "few different images to calibrate with (1)" in caplog.text
    assert len({image.numpy().tobytes() for image in black.images}) == len(black.images)


@pytest.mark.parametrize("count", [1, 3])
def test_few_images_are_hardly_worse_than_none(model: Model, count: int) -> None:
    images = prepared(some(100, seed=9))
    exact, recipe = runner(model)(images), CompressionRecipe(max_bytes=600 + model.float32_bytes // 5)
    errors = [
        np.abs(runner(compress(model, given, recipe).model)(images) - exact).mean() for given in (None, some(count))
    ]
    assert errors[1] < 1.3 * errors[0]


def test_ranges_hold_all_that_real_images_reach(model: Model) -> None:
    network = prepare(model, None).network
    synthetic = synthetic_images(20, PREPARATION)
    bright = 5 * torch.from_numpy(prepared(some(2)))
    mixed, made, real = (
        calibrate(network, *given) for given in ((torch.cat([bright, synthetic]), 20), (synthetic, 20), (bright, 0))
    )
    for first, second, third in zip(mixed[1:-1], made[1:-1], real[1:-1], strict=True):
        assert first.exponent >= second.exponent - 1
        assert first.exponent >= third.exponent - 1


def test_covariances_of_equal_images_can_be_factored(model: Model) -> None:
    network = prepare(model, None).network
    for damping in (DAMPING, DAMPING_SYNTHETIC):
        for found in hessians_of(network, torch.zeros(8, 3, 12, 12), damping).values():
            assert (found.residual_variance > 0).all()


def test_few_samples_are_believed_less(model: Model) -> None:
    network, images = prepare(model, None).network, torch.from_numpy(prepared(some(2)))
    plain, damped = hessians_of(network, images), hessians_of(network, images, rank=1.0)
    grown = [float((damped[name].residual_variance / plain[name].residual_variance).min()) for name in plain]
    assert min(grown) >= 1
    assert max(grown) > 2  # the linear layer has two samples
    assert [each.importance for each in damped.values()] == [each.importance for each in plain.values()]


def test_an_integer_network_can_be_pruned_and_squeezed_again() -> None:
    pixels = coloured_noise()
    model = little_model("residual", pixels)
    integer = compress(model, pixels, CompressionRecipe(max_bytes=model.float32_bytes)).model
    pruning = Pruning(density=0.5, epochs=0)
    found = compress(integer, pixels, CompressionRecipe("prune+squeeze", max_bytes=4000, pruning=pruning)).model
    assert found.scales
    assert found.density < 0.6
