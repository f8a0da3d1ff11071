"""Squeezing near an older file: few levels change, and the update is small."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from squeezenet.compression import CompressionRecipe, compress
from squeezenet.compression.squeeze.near import most_images
from squeezenet.compression.squeeze.to_size import MOST_COMPENSATING
from squeezenet.data import Pixels
from squeezenet.errors import UsageError
from squeezenet.model import Model, Plain, Weights
from squeezenet.preparation import Preparation
from squeezenet.sqz import delta
from support.integer_networks import coloured_noise, little_model


def trained_further(model: Model) -> Model:
    """The network after weights have changed a little."""
    random = np.random.default_rng(1)
    weights = {}
    for name, held in model.weights.items():
        assert isinstance(held, Weights)
        values = held.weight.values()
        noise = random.normal(0, 0.15 * values.std(), values.shape).astype(np.float32)
        weights[name] = Weights(Plain(values + noise), held.bias)
    return replace(model, weights=weights)


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return coloured_noise()


@pytest.fixture(scope="module")
def old(pixels: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("near") / "old.sqz"
    path.write_bytes(compress(little_model("squeezenet", pixels), pixels, CompressionRecipe(threads=1)).data)
    return path


def test_the_update_has_at_most_the_wanted_bytes(old: Path, pixels: Pixels) -> None:
    further = trained_further(little_model("squeezenet", pixels))
    sizes = []
    for most in (400, 1200):
        recipe = CompressionRecipe(near=str(old), update_bytes=most, threads=1)
        made = compress(further, pixels, recipe)
        sizes.append(len(delta.make(old.read_bytes(), made.data)))
        assert sizes[-1] <= most
        assert 'near = "old.sqz"' in made.model.provenance["recipe"]
    assert sizes[0] < sizes[1]


def test_small_images_are_all_used_and_large_ones_take_the_usual_memory() -> None:
    assert most_images(Preparation(32, 32)) > 5_000
    assert most_images(Preparation(227, 227)) == most_images(Preparation(512, 512)) == MOST_COMPENSATING


def test_another_network_is_refused(old: Path, pixels: Pixels) -> None:
    with pytest.raises(UsageError, match="same network"):
        compress(little_model("vgg", pixels), pixels, CompressionRecipe(near=str(old)))


def test_an_impossible_update_is_refused(old: Path, pixels: Pixels) -> None:
    with pytest.raises(UsageError, match="allow more"):
        compress(little_model("squeezenet", pixels), pixels, CompressionRecipe(near=str(old), update_bytes=10))


@pytest.mark.parametrize(
    "settings",
    [{"update_bytes": 100}, {"near": "a.sqz", "max_bytes": 1000}, {"near": "a.sqz", "method": "svd+squeeze"}],
)
def test_settings_that_exclude_each_other_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="near"):
        CompressionRecipe(**settings)  # type: ignore[arg-type]
