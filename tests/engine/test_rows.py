"""Integer networks that run by rows: the logits of the engine, every bit of them, in the memory that was planned."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squeezenet import sqz
from squeezenet.graph import Add, Concat, Conv, GlobalAvgPool, MaxPool, ReLU
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.engine import PATHS, EngineRunner
from support.engine_networks import NETWORKS, Builder, network, normalised

if PATHS:
    from squeezenet import _engine, _workshop

pytestmark = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")
FAST = PATHS[1:]  # the reference does not run by rows
MUCH = 1 << 30
DEVICE = (8, 4, 1, 0, 1, 0, 8, 8, 8, 8)
"""The kernels of kernels_scalar.c."""


def by_rows(model: Model, images: FloatArray | np.ndarray, path: str, ram: int = 0, flash: int = 0) -> FloatArray:
    """(N, classes) logits."""
    data = sqz.encode(model)
    logits = np.zeros((len(images), EngineRunner(data).classes), np.int32)
    _workshop.run_rows(data, _engine.kernels(path), np.ascontiguousarray(images), logits, ram, flash)
    return logits.astype(np.float32) * np.float32(model.scales[-1].step)


@pytest.mark.parametrize("path", FAST)
@pytest.mark.parametrize("name", NETWORKS)
def test_rows_give_the_same_logits_with_stored_and_with_decoded_weights(name: str, path: str) -> None:
    model = NETWORKS[name]()
    data = sqz.encode(model)
    images = Builder(9, model.preparation.crop).images(2)
    expected = EngineRunner(data)(images)
    for ram, flash in ((0, 0), (MUCH, 0), (0, MUCH)):
        assert np.array_equal(by_rows(model, images, path, ram, flash), expected), (ram, flash)


@given(st.integers(0, 10**6), st.sampled_from([(0, 0), (MUCH, 0), (0, MUCH)]))
@settings(max_examples=60)
def test_graphs_of_any_shape(seed: int, limits: tuple[int, int]) -> None:
    model = network(seed)
    data = sqz.encode(model)
    images = Builder(seed, model.preparation.crop).images(1)
    assert np.array_equal(by_rows(model, images, FAST[-1], *limits), EngineRunner(data)(images))


def test_an_image_of_bytes_goes_through_the_preparation() -> None:
    for channels in ("RGB", "BGR", "L"):
        b = Builder(3, 9, channels)
        model = b.finish(b.layer(Conv((0,), "a", 10, (3, 3), (2, 2)), b.scale(7)))
        data = sqz.encode(model)
        pixels = b.random.integers(0, 256, (2, 9, 9, len(channels)), np.uint8)
        prepared = np.zeros((2, *model.preparation.shape), np.float32)
        for image, out in zip(pixels, prepared, strict=True):
            _engine.Network(data).normalise(image, out)
        assert np.array_equal(by_rows(model, pixels, "scalar"), EngineRunner(data)(prepared))


def fires(bypass: bool) -> Model:
    b = Builder(1, side=33)
    x = b.put(ReLU((b.layer(Conv((0,), "conv1", 16, (3, 3), (2, 2)), b.scale(0)),)))
    x = b.put(MaxPool((x,), (3, 3), (2, 2)))
    s = b.put(ReLU((b.layer(Conv((x,), "s", 8, (1, 1)), b.scale(0)),)))
    a = b.put(ReLU((b.layer(Conv((s,), "a", 8, (1, 1)), b.scale(0)),)))
    c = b.put(ReLU((b.layer(Conv((s,), "c", 8, (3, 3), padding=(1, 1)), b.scales[a]),)))
    y = b.put(Concat((a, c)))
    if bypass:
        y = b.put(Add((y, x)), b.scales[y])
    y = b.put(ReLU((b.layer(Conv((y,), "last", 20, (1, 1)), b.scale(0)),)))
    return b.finish(b.put(GlobalAvgPool((y,))))


def test_only_the_rows_that_are_needed_are_in_memory() -> None:
    """Rows that a window covers; two rows of the pool, of which one has begun.

    The bypass reads the pool's result as late as the 3x3 convolution, which needs one row more.
    """
    for bypass in (False, True):
        data = sqz.encode(fires(bypass))
        plan = _workshop.plan_rows(data, DEVICE, 0, MUCH)
        rings = {(v["channels"], v["height"]): v["ring"] for v in reversed(plan["values"])}  # of the first value
        assert rings[3, 33] == 3  # the 3x3 windows of conv1 have stride 2
        assert rings[16, 7] == (3 if bypass else 2)  # the pool's result
        assert rings[8, 7] == 3  # the result of the squeeze layer
        works = [op.get("work") for op in plan["ops"]]
        assert works[:2] == ["sqz_pool_layer", None]  # the result of conv1 does not exist
        assert works[-1] == "sqz_mean_layer"  # nor does that of the last layer
        assert plan["memory"]["all"] < EngineRunner(data, 1, "scalar").memory.running


def test_limits_are_kept_or_refused() -> None:
    data = sqz.encode(fires(False))
    stored, small = (_workshop.plan_rows(data, DEVICE, *limits) for limits in ((0, MUCH), (MUCH, 0)))
    assert not stored["decoded"]
    assert small["decoded"]
    assert len(small["weights"]) < len(stored["weights"])
    assert small["memory"]["all"] > stored["memory"]["all"]
    limit = len(stored["weights"]) - 200
    plan = _workshop.plan_rows(data, DEVICE, MUCH, limit)
    assert len(plan["weights"]) <= limit
    for limits in ((stored["memory"]["all"] // 2, 0), (0, len(small["weights"]) // 2)):
        with pytest.raises(ValueError, match="limits"):
            _workshop.plan_rows(data, DEVICE, *limits)


@pytest.mark.parametrize("path", FAST)
@pytest.mark.parametrize("name", ["fire", "mobile", "nine_bit"])
def test_small_levels_are_packed_in_four_bits_and_others_are_patched(name: str, path: str) -> None:
    model = NETWORKS[name]()
    for i, (layer, held) in enumerate(model.weights.items()):
        levels = np.clip(held.weight.levels // 12, -8, 7)
        levels.flat[:: 31 + i] = held.weight.levels.flat[:: 31 + i]
        model.weights[layer] = replace(held, weight=replace(held.weight, levels=levels))
    data = sqz.encode(model)
    stored = len(_workshop.plan_rows(data, DEVICE, 0, MUCH)["weights"])
    limits = MUCH, stored * 7 // 8
    layers = _workshop.plan_rows(data, DEVICE, *limits)["layers"]
    assert "packed" in {layer["place"] for layer in layers}
    images = Builder(9, model.preparation.crop).images(2)
    if path != "avx2":  # its weights have 16 bits
        assert np.array_equal(by_rows(model, images, path, *limits), EngineRunner(data)(images))


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0), (0, 3), (0, 128), (1, 0), (1, 65), (2, 0), (2, 4), (3, 1), (4, 0), (4, 16), (6, 0), (9, 17), (9, 1 << 31)],
)
def test_kernels_that_cannot_be_are_refused(at: int, value: int) -> None:
    """Lanes, depth, bytes, centre, taps, interleaved, and positions of tiles of 1 to 4 vectors."""
    geometry = [8, 4, 1, 0, 1, 0, 8, 8, 8, 8]
    geometry[at] = value
    with pytest.raises(ValueError, match="no kernels can have these numbers"):
        _workshop.plan_rows(b"", tuple(geometry), 0, 0)


def test_what_does_not_run_by_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="integer"):
        _workshop.plan_rows(sqz.encode(normalised()), DEVICE, 0, 0)
    data = sqz.encode(fires(False))
    with pytest.raises(ValueError, match="path 'reference'"):
        _engine.kernels("reference")
    with pytest.raises(ValueError, match="buffers"):
        _workshop.run_rows(data, _engine.kernels("scalar"), b"123", bytearray(4 * 20), 0, 0)
    with pytest.raises(ValueError, match="PyCapsule"):
        _workshop.run_rows(data, "scalar", b"", bytearray(), 0, 0)
