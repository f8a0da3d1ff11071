"""Squeezing near an older file: few levels change, and the update is small."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, Learning, Listener, compress
from squeezenet.compression.squeeze.near import most_images, with_outputs
from squeezenet.compression.squeeze.prepared import MOST_COMPENSATING
from squeezenet.compression.squeeze.rate import DeltaRate, change_bits
from squeezenet.data import Pixels
from squeezenet.errors import UsageError
from squeezenet.model import Grid, Model, Plain, Weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner
from squeezenet.sqz import delta
from support.integer_networks import coloured_noise, little_model, prepared


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


def grid_of(model: Model, name: str) -> Grid:
    """The weight of a layer of an integer network."""
    weight = model.weights[name].weight
    assert isinstance(weight, Grid)
    return weight


def learned_near(model: Model, pixels: Pixels, old: Path, **settings: object) -> tuple[bytes, list[float]]:
    """The file, and the loss on the held-out images before and after learning."""
    losses: list[float] = []
    listener = Listener(learned=lambda before, after: losses.extend([before, after]))
    recipe = CompressionRecipe(near=str(old), threads=1, objective="labels", **settings)  # type: ignore[arg-type]
    return compress(model, pixels, recipe, listener=listener).data, losses


def test_learning_lowers_the_loss_and_the_update_keeps_its_size(old: Path, pixels: Pixels) -> None:
    further = trained_further(little_model("squeezenet", pixels))
    made, (before, after) = learned_near(
        further, pixels, old, update_bytes=700, learning=Learning(epochs=15, batch_size=20, lr=0.03)
    )
    assert after < 0.7 * before
    assert len(delta.make(old.read_bytes(), made)) <= 700


def test_what_did_not_learn_is_undone(old: Path, pixels: Pixels) -> None:
    further = trained_further(little_model("squeezenet", pixels))
    made, (before, after) = learned_near(
        further, pixels, old, update_bytes=700, learning=Learning(epochs=1, batch_size=20, lr=50.0)
    )
    assert after == before
    recipe = CompressionRecipe(near=str(old), update_bytes=700, threads=1)
    rounded, learned = compress(further, pixels, recipe).model, sqz.decode(made)
    assert all(np.array_equal(grid_of(rounded, name).levels, grid_of(learned, name).levels) for name in learned.weights)


@pytest.mark.parametrize("size", [0, 3, 7])
def test_bits_of_a_delta_are_those_that_rounding_counts(size: int) -> None:
    """The gradient is the slope of the line between the bits of the old level and those of its neighbours."""
    old = torch.full((2000,), float(size))
    old[1::2] *= -1
    new = old.clone()
    new[:100] += 1
    rate = DeltaRate(old)
    table = rate.table(new)
    stays, moves = change_bits(old.double().numpy(), new.double().numpy())[:, size]
    assert rate.total(new, table) == pytest.approx(1900 * stays + 100 * moves, rel=1e-5)
    for off, slope in ((0.0, 0.0), (0.7, moves - stays), (-0.2, stays - moves), (1.2, 0.0)):
        assert rate.gradient(old + off, table).numpy() == pytest.approx(np.full(2000, slope), rel=1e-5)


def with_new_outputs(model: Model, count: int) -> Model:
    """The network after its last layer was replaced by one with `count` outputs."""
    last = model.graph.layers[-1]
    graph = with_outputs(model.graph, count)
    random, held = np.random.default_rng(2), model.weights[last.name]
    assert isinstance(held, Weights)
    values = random.normal(0, held.weight.values().std(), (count, *held.weight.shape[1:])).astype(np.float32)
    weights = {**model.weights, last.name: Weights(Plain(values), np.zeros(count, np.float32))}
    return replace(model, graph=graph, weights=weights, labels=tuple(f"class {i}" for i in range(count)))


def test_a_new_last_layer_is_coded_whole_and_the_others_stay_near(old: Path, pixels: Pixels) -> None:
    before = sqz.read(old)
    further = with_new_outputs(little_model("squeezenet", pixels), 9)
    recipe = CompressionRecipe(near=str(old), update_bytes=1200, threads=1)
    made = compress(further, pixels, recipe)
    assert len(delta.make(old.read_bytes(), made.data)) <= 1200
    kept = further.graph.layers[:-1]
    for op in kept:
        after, was = grid_of(made.model, op.name), grid_of(before, op.name)
        assert np.array_equal(after.exponents, was.exponents)
        assert (after.levels != was.levels).mean() < 0.1
    images = prepared(pixels)
    wanted, found = runner(further)(images), runner(made.model)(images)
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.9
    learned, _ = learned_near(further, pixels, old, update_bytes=1200, learning=Learning(epochs=2, batch_size=20))
    assert len(delta.make(old.read_bytes(), learned)) <= 1200


def test_a_file_of_another_network_is_refused_by_its_name(old: Path, pixels: Pixels, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"old\.sqz: holds another network than MODEL"):
        compress(little_model("vgg", pixels), pixels, CompressionRecipe(near=str(old)))
    floats = tmp_path / "floats.sqz"
    floats.write_bytes(sqz.encode(little_model("squeezenet", pixels)))
    with pytest.raises(UsageError, match=r"floats\.sqz: is not a squeezed file"):
        compress(little_model("squeezenet", pixels), pixels, CompressionRecipe(near=str(floats)))


def test_an_impossible_update_is_refused(old: Path, pixels: Pixels) -> None:
    with pytest.raises(UsageError, match="allow more"):
        compress(little_model("squeezenet", pixels), pixels, CompressionRecipe(near=str(old), update_bytes=10))


@pytest.mark.parametrize(
    "settings",
    [
        {"update_bytes": 100},
        {"near": "a.sqz", "max_bytes": 1000},
        {"near": "a.sqz", "max_loss": 1.0},
        {"near": "a.sqz", "method": "svd+squeeze"},
        {"near": "a.sqz", "learning": Learning(epochs=1, step_lr=0.1)},
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="near"):
        CompressionRecipe(**settings)  # type: ignore[arg-type]
