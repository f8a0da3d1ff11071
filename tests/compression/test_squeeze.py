"""Integer networks: what they compute, how they are made, and that a file of the wanted size comes out."""

from binascii import crc32
from contextlib import suppress
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, Learning, compress
from squeezenet.compression.squeeze import refuse_impossible
from squeezenet.compression.squeeze.network import from_integer_model
from squeezenet.compression.squeeze.prepared import FileSize, prepare, roughly_least_bytes
from squeezenet.data import Pixels
from squeezenet.errors import BadGraph, FormatError, ModelError, UsageError
from squeezenet.fixed_point import EIGHTHS, ROOTS, Scale, factor, fraction, requantise, step
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, ReLU
from squeezenet.model import MAX_LEVEL, Grid, IntegerWeights, Model
from squeezenet.preparation import Preparation
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.run import NUMPY, runner
from squeezenet.sqz import levels as coder
from support.integer_networks import NETWORKS, PREPARATION, coloured_noise, conv, little_model, prepared, squeezenet


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return coloured_noise()


@pytest.fixture(scope="module", params=list(NETWORKS))
def model(request: pytest.FixtureRequest, pixels: Pixels) -> Model:
    return little_model(request.param, pixels)


@pytest.fixture(scope="module")
def rounded(model: Model, pixels: Pixels) -> Model:
    return compress(model, pixels, CompressionRecipe(max_bytes=model.float32_bytes)).model


def by_the_book(model: Model, image: np.ndarray) -> list[float]:
    """docs/FORMAT.md, "Integer networks", with loops and Python's own integers."""
    scales, shapes = model.scales, model.graph.shapes()
    first = scales[0]
    constant = np.float32(step(-first.exponent))
    x0 = [[[min(max(int(np.rint(p * constant)), -first.zero), 255 - first.zero) for p in r] for r in c] for c in image]
    values = [np.array(x0, object)]

    def clip(n: int, scale: Scale) -> int:
        low, high = -scale.zero, (510 if scale.nine_bit else 255) - scale.zero
        low, high = (-(2**24) + 1, 2**24 - 1) if scale.wide else (low, high)
        return min(max(n, low), high)

    def window(x: np.ndarray, op: Conv | MaxPool | AvgPool, i: int, j: int) -> list[tuple[int, int, int, int]]:
        found = []
        for a in range(op.kernel[0]):
            for b in range(op.kernel[1]):
                y, z = i * op.stride[0] + a - op.padding[0], j * op.stride[1] + b - op.padding[1]
                if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                    found.append((a, b, y, z))
        return found

    for index, op in enumerate(model.graph.ops):
        x, shape, scale = values[op.inputs[0]], shapes[index + 1], scales[index + 1]
        out = np.zeros(shape, object)
        if isinstance(op, Conv | Linear):
            held = model.weights[op.name]
            assert isinstance(held.weight, Grid)
            for c in range(op.out):
                rescaling = scale.exponent - scales[op.inputs[0]].exponent - int(held.weight.exponents[c])
                octaves, eighths = divmod(-rescaling, 8)
                m, s, bias = ROOTS[eighths], 15 - octaves, int(held.bias[c])
                for place in np.ndindex(shape[1:]):
                    levels = held.weight.levels[c]
                    if isinstance(op, Linear):
                        total = sum(int(w) * v for w, v in zip(levels, x, strict=True))
                    else:
                        start = c // (op.out // op.groups) * levels.shape[0]
                        total = sum(
                            int(levels[k, a, b]) * x[start + k, y, z]
                            for k in range(levels.shape[0])
                            for a, b, y, z in window(x, op, *place)
                        )
                    out[(c, *place)] = clip((total * m + (bias << s - 4) + (1 << s - 1)) >> s, scale)
        elif isinstance(op, ReLU):
            high = (int(op.cap * 65536) * fraction(scale.exponent) >> 16) + 32768 >> 16 if op.cap else 10**9
            for place in np.ndindex(shape):
                out[place] = min(max(x[place], 0), high)
        elif isinstance(op, MaxPool | AvgPool):
            for c, i, j in np.ndindex(shape):
                seen = [x[c, y, z] for _, _, y, z in window(x, op, i, j)]
                n = op.kernel[0] * op.kernel[1]
                share = sum(seen) * ((65536 + n // 2) // n)
                out[c, i, j] = max(seen) if isinstance(op, MaxPool) else share + 32768 >> 16
        elif isinstance(op, GlobalAvgPool):
            n = x[0].size
            for c in range(shape[0]):
                share = int(x[c].sum()) * ((65536 + n // 2) // n)
                out[c, 0, 0] = share + 128 >> 8 if scale.wide else share + 32768 >> 16
        elif isinstance(op, Concat):
            out = np.concatenate([values[i] for i in op.inputs])
        elif isinstance(op, Add):
            parts = [values[i] * fraction(scale.exponent - scales[i].exponent) for i in op.inputs]
            for place in np.ndindex(shape):
                out[place] = clip(int(parts[0][place] + parts[1][place]) + 32768 >> 16, scale)
        else:
            assert isinstance(op, Flatten)
            out = x.ravel()
        values.append(out)
    return [float(np.float32(int(v)) * np.float32(step(scales[-1].exponent))) for v in values[-1]]


def test_the_runner_computes_what_the_format_says(rounded: Model, pixels: Pixels) -> None:
    images = prepared(pixels)[:2]
    found = runner(rounded, path=NUMPY)(images)
    assert isinstance(runner(rounded, path=NUMPY), IntegerRunner)
    assert found.tolist() == [by_the_book(rounded, image) for image in images]


def test_training_sees_what_the_device_computes(rounded: Model, pixels: Pixels) -> None:
    network = from_integer_model(rounded)
    network.dtype = torch.float32
    images = prepared(pixels)
    trained, shipped = network(torch.from_numpy(images)).detach().numpy(), runner(rounded)(images)
    # The multiplier has 16 bits, so that one sum in some thousand is rounded the other way.
    assert np.abs(trained - shipped).max() < 0.05 * np.abs(shipped).max()
    assert np.median(np.abs(trained - shipped)) < 0.01 * np.abs(shipped).max()


def test_fine_levels_answer_as_the_float_network_does(model: Model, rounded: Model, pixels: Pixels) -> None:
    images = prepared(pixels)
    exact, whole = runner(model)(images), runner(rounded)(images)
    assert np.abs(exact - whole).max() < 0.5 * exact.std()
    floats = runner(rounded.dequantised())(images)
    assert np.abs(floats - whole).max() < 0.5 * exact.std()


def test_the_file_gives_every_whole_number_back(rounded: Model, pixels: Pixels) -> None:
    data = sqz.encode(rounded)
    back = sqz.decode(data)
    assert back.scales == rounded.scales
    for name, held in rounded.weights.items():
        assert np.array_equal(back.weights[name].weight.levels, held.weight.levels)
        assert np.array_equal(back.weights[name].weight.exponents, held.weight.exponents)
        assert np.array_equal(back.weights[name].bias, held.bias)
    assert sqz.encode(back) == data
    images = prepared(pixels)
    assert np.array_equal(runner(back, 2)(images), runner(rounded)(images))


def test_a_size_is_kept_without_learning_and_with_it(model: Model, pixels: Pixels) -> None:
    for learning in (Learning(epochs=0), Learning(epochs=30, batch_size=20)):
        goal = 500 + model.float32_bytes // 8
        squeezed = compress(model, pixels, CompressionRecipe(max_bytes=goal, learning=learning))
        assert 0.7 * goal < len(squeezed.data) <= goal
        assert sqz.encode(squeezed.model) == squeezed.data


@pytest.mark.parametrize("epochs", [None, 0, 0.5], ids=["no images", "rounded", "learned"])
def test_with_scales_that_are_powers_of_two_every_rescaling_is_a_shift(
    model: Model, pixels: Pixels, epochs: float | None
) -> None:
    recipe = CompressionRecipe(
        max_bytes=500 + model.float32_bytes // 6, scales="power-of-two", learning=Learning(epochs=epochs or 0)
    )
    squeezed = compress(model, None if epochs is None else pixels, recipe).model
    exponents = [scale.exponent for scale in squeezed.scales]
    for held in squeezed.weights.values():
        assert isinstance(held.weight, Grid)
        exponents += held.weight.exponents.tolist()
    assert not any(exponent % EIGHTHS for exponent in exponents)
    assert {factor(rescaling)[0] for rescaling in range(-80, 200, EIGHTHS)} == {1 << 15}  # a shift


def test_without_images_it_is_calibrated_on_synthetic_ones(model: Model, pixels: Pixels) -> None:
    squeezed = compress(model, None, CompressionRecipe(max_bytes=500 + model.float32_bytes // 4)).model
    images = prepared(pixels)
    exact, whole = runner(model)(images), runner(squeezed)(images)
    assert np.corrcoef(exact.ravel(), whole.ravel())[0, 1] > 0.9


@st.composite
def integer_models(draw: st.DrawFn) -> Model:
    """Two layers of any size, with any scales, levels, biases and text that a file can hold."""
    outputs, side, classes = draw(st.integers(1, 9)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    graph = Graph((3, side, side), (Conv((0,), "a", outputs, (side, side)), Flatten((1,)), Linear((2,), "b", classes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread, kept = draw(st.sampled_from([0.0, 0.3, 2.0, 40.0])), draw(st.sampled_from([0.1, 0.5, 1.0]))
    most = draw(st.sampled_from([1, 300, 1 << 21]))
    weights = {}
    for name, shape in graph.weight_shapes().items():
        levels = np.rint(random.normal(0, spread, shape)).clip(-MAX_LEVEL, MAX_LEVEL) * (random.random(shape) < kept)
        grid = Grid(levels.astype(np.int16), random.integers(-30, 30, shape[0]).astype(np.int16))
        weights[name] = IntegerWeights(grid, random.integers(1 - most, most, shape[0]).astype(np.int32))
    middle = Scale(draw(st.integers(0, 40)), nine_bit=draw(st.booleans()))
    scales = (Scale(0, draw(st.integers(0, 255))), middle, middle, Scale(draw(st.integers(40, 70)), wide=True))
    labels = tuple(draw(st.lists(st.text("ab ", max_size=9), min_size=classes, max_size=classes)))
    preparation = Preparation(side, side, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    return Model(graph, weights, preparation, labels, {"from": draw(st.text("xyz", max_size=99))}, scales)


@given(integer_models(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_size_of_a_file_is_known_without_writing_it(model: Model, engine: bool) -> None:
    """From a network with the same graph, text and scales; with the C coder and with the Python one."""
    empty = {
        name: IntegerWeights(replace(held.weight, levels=np.zeros_like(held.weight.levels)), np.zeros_like(held.bias))
        for name, held in model.weights.items()
    }
    with mock.patch.object(coder, "HAS_ENGINE", engine and coder.HAS_ENGINE):
        size = FileSize.like(replace(model, weights=empty))
        for weights in (model.weights, empty):
            assert size.of(weights) == len(sqz.encode(replace(model, weights=weights)))


@given(integer_models())
@settings(max_examples=30, deadline=None)
def test_what_was_read_is_written_as_the_same_bytes(model: Model) -> None:
    data = sqz.encode(model)
    found = sqz.decode(data)
    assert sqz.encode(found) == data
    for name, held in model.weights.items():
        weight, again = held.weight, found.weights[name].weight
        assert isinstance(weight, Grid)
        assert isinstance(again, Grid)
        assert np.array_equal(again.levels, weight.levels)


def test_what_has_no_integer_form_is_refused_by_name(pixels: Pixels) -> None:
    module = nn.Sequential(conv(3, 8), nn.LocalResponseNorm(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    with pytest.raises(BadGraph, match="LRN has no integer form"):
        compress(from_module(module.eval(), PREPARATION, tuple("abcde"), {}), pixels, CompressionRecipe())


def test_impossible_sizes_are_refused(model: Model, pixels: Pixels) -> None:
    with pytest.raises(UsageError, match="allow more"):
        compress(model, pixels, CompressionRecipe(max_bytes=50))
    with pytest.raises(UsageError, match="max_loss"):
        compress(model, None, CompressionRecipe(max_loss=0.5))


def test_what_an_empty_file_takes_is_known_before_anything_is_measured(model: Model, pixels: Pixels) -> None:
    exact = prepare(model, pixels).least
    assert roughly_least_bytes(model, 0) == pytest.approx(exact, rel=0.04)
    with pytest.raises(UsageError, match="allow more"):
        refuse_impossible(model, CompressionRecipe(max_bytes=50))
    refuse_impossible(model, CompressionRecipe(max_bytes=exact + 1))
    refuse_impossible(model, CompressionRecipe(max_loss=1.0))


def test_wrong_numbers_are_refused(rounded: Model) -> None:
    name = rounded.graph.layers[0].name
    held = rounded.weights[name]
    assert isinstance(held.weight, Grid)
    wrong = {
        "level": replace(held, weight=replace(held.weight, levels=held.weight.levels + np.int16(200))),
        "bias": replace(held, bias=held.bias + np.float32(0.5)),
        "far apart": replace(held, weight=replace(held.weight, exponents=held.weight.exponents - np.int16(1000))),
    }
    for weights in wrong.values():
        with pytest.raises(ModelError):
            replace(rounded, weights={**rounded.weights, name: weights})
    with pytest.raises(BadGraph):
        replace(rounded, scales=rounded.scales[:-1])
    with pytest.raises(BadGraph):
        replace(rounded, scales=(replace(rounded.scales[0], wide=True), *rounded.scales[1:]))


@given(st.binary(min_size=1, max_size=40), st.integers(0, 2**31))
def test_damage_is_an_error_or_another_network(damage: bytes, where: int) -> None:
    data = bytearray(_example())
    where = 24 + where % (len(data) - 24 - len(damage))
    data[where : where + len(damage)] = damage
    data[12:16] = crc32(bytes(data[16:])).to_bytes(4, "little")
    with suppress(FormatError, BadGraph):
        sqz.decode(bytes(data))


_kept: list[bytes] = []


def _example() -> bytes:
    if not _kept:
        model = from_module(squeezenet().eval(), PREPARATION, tuple("abcde"), {})
        _kept.append(compress(model, None, CompressionRecipe(max_bytes=model.float32_bytes // 6)).data)
    return _kept[0]


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-80, 200), st.integers(-(2**22), 2**22))
def test_requantising_is_a_product_to_nearest(total: int, rescaling: int, bias: int) -> None:
    found = int(requantise(np.array([total]), rescaling, bias)[0])
    exact = total * 2 ** (-rescaling / 8) + bias / 16
    assert abs(found - exact) <= 0.5 + abs(total) * 2 ** (-rescaling / 8) * 2**-15
    multiplier, shift = factor(rescaling)
    assert 2**15 <= multiplier < 2**16
    assert 5 <= shift <= 40
