"""Layers in two factors: exact at full rank, best at any other, never larger, and a stage like the others."""

from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, Listener, LowRank, Pruning, Sharing, compress
from squeezenet.compression.deep_compression.prune import paper_densities
from squeezenet.compression.deep_compression.stages import resolve_densities
from squeezenet.compression.low_rank import Size, choose_ranks, factor, measure, sizes
from squeezenet.compression.recipe import KEY
from squeezenet.errors import SqueezeNetError, UsageError
from squeezenet.factors import factors, joined, layer_names, split, wholes
from squeezenet.fire import fire_modules, paper_names
from squeezenet.formats import load_model, save_model
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Add, Conv, Flatten, GlobalAvgPool, Graph, Linear
from squeezenet.importing import trace
from squeezenet.model import Model, Plain, Shared, Weights
from squeezenet.models import create_seeded
from squeezenet.models.network import from_model
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise
from squeezenet.runtime.reference import Runner


def squeezenet():
    return create_seeded("squeezenet_32", 0, base_e=16, incr_e=8, sr=0.25, fires=2, classes=10, in_channels=1)


def alexnet():
    """Groups, normalisation and three fully connected layers; for digits."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.LocalResponseNorm(5), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(24, 16, 3, padding=1, groups=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 10),
    )  # fmt: skip


def vgg():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 40), nn.ReLU(), nn.Linear(40, 10),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU6(),
        nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


NETWORKS = [squeezenet, alexnet, vgg]


def model_of(build, preparation):
    torch.manual_seed(0)
    return from_module(build().eval(), preparation)


@pytest.fixture(params=NETWORKS)
def model(request, digits):
    return model_of(request.param, digits[1])


@pytest.fixture(scope="session")
def images(digits):
    pixels, preparation = digits
    return normalise(pixels.images, preparation)


# The graph


def test_a_graph_split_and_joined_is_the_same(model):
    graph = model.graph
    ranks = {name: size.full for name, size in sizes(graph).items()}
    thin = split(graph, ranks)
    assert joined(thin) == graph
    assert joined(graph) == graph
    assert factors(graph) == {}
    assert len(thin.layers) == len(graph.layers) + len(ranks)
    assert thin.shapes()[-1] == graph.shapes()[-1]
    assert set(wholes(thin).values()) == set(ranks)


def test_fire_modules_and_the_paper_s_names_outlive_factoring():
    graph, _ = trace(create_seeded("squeezenet_32", 0), (3, 32, 32))
    thin = split(graph, {fire.expand3x3: 5 for fire in fire_modules(graph)})
    assert fire_modules(joined(thin)) == fire_modules(graph)
    names = list(layer_names(thin).values())
    assert names[3:6] == ["fire2/expand3x3/down", "fire2/expand3x3/up", "fire3/squeeze1x1"]
    assert layer_names(graph) == paper_names(graph)


def test_what_only_looks_like_factors_is_left_alone():
    def graph(*ops):
        return Graph((4, 1, 1), ops)

    tail = (GlobalAvgPool((2,)), Flatten((3,)))
    down, up = Conv((0,), "a/down", 2, (1, 1)), Conv((1,), "a/up", 8, (1, 1))
    assert factors(graph(down, up, *tail)) == {down: up}
    taken = Linear((4,), "a", 3)  # the name that the whole would get
    for ops in (
        (down, Conv((1,), "b/up", 8, (1, 1)), *tail),
        (down, Conv((1,), "a/up", 8, (1, 1), padding=(1, 1)), *tail),
        (down, up, *tail, taken),
        (down, Conv((1,), "a/up", 2, (1, 1)), Add((1, 2)), Flatten((3,))),  # read by another too
    ):
        assert factors(graph(*ops)) == {}
        assert joined(graph(*ops)) == graph(*ops)


# Factors


@pytest.mark.parametrize("with_images", [True, False])
def test_at_full_rank_nothing_changes(model, images, with_images):
    network = from_model(model)
    spectra = measure(network, torch.from_numpy(images) if with_images else None)
    thin = factor(model, {name: size.full for name, size in sizes(model.graph).items()}, spectra)
    np.testing.assert_allclose(Runner(thin)(images), Runner(model)(images), atol=1e-5)
    assert Runner(thin)(images).std() > 1e-3


@settings(max_examples=25)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_without_images_it_is_the_truncated_svd(outputs, inputs, seed):
    random = np.random.default_rng(seed)
    ops = (Flatten((0,)), Linear((1,), "first", inputs), Linear((2,), "fc", outputs))
    graph = Graph((1, 1, 3), ops)
    preparation = Preparation(3, 3, "stretch", "L", (0.0,), (1.0,))
    graph = Graph((1, 3, 3), ops)
    weights = {
        name: Weights(Plain(random.normal(size=shape).astype(np.float32)), random.normal(size=shape[0]).astype("f4"))
        for name, shape in graph.weight_shapes().items()
    }
    model = Model(graph, weights, preparation)
    whole = weights["fc"].weight.data
    u, s, vt = np.linalg.svd(whole.astype(np.float64))
    for rank in range(1, min(outputs, inputs) + 1):
        size = Size(1, outputs, inputs)
        spectra = measure(from_model(model)) if size.largest else None
        if spectra is None:
            return
        thin = factor(model, {"fc": rank}, spectra)
        product = thin.weights["fc/up"].weight.data @ thin.weights["fc/down"].weight.data
        best = (u[:, :rank] * s[:rank]) @ vt[:rank]
        np.testing.assert_allclose(product, best, atol=1e-4)
        np.testing.assert_allclose(spectra["fc"].kept()[rank - 1], (s[:rank] ** 2).sum() / (s**2).sum(), rtol=1e-6)
        assert np.array_equal(thin.weights["fc/up"].bias, weights["fc"].bias)
        assert thin.parameters - model.parameters == rank * (outputs + inputs + 1) - outputs * inputs


def test_each_group_has_its_own_best_approximation(digits):
    model = model_of(alexnet, digits[1])
    name = model.graph.layers[1].name
    thin = factor(model, {name: 3}, measure(from_model(model)))
    down, up = (thin.weights[name + part].weight.data for part in ("/down", "/up"))
    whole = model.weights[name].weight.data
    assert (down.shape, up.shape) == ((6, 4, 3, 3), (16, 3, 1, 1))
    for group in range(2):
        rows, between = slice(8 * group, 8 * group + 8), slice(3 * group, 3 * group + 3)
        u, s, vt = np.linalg.svd(whole[rows].reshape(8, -1))
        product = up[rows].reshape(8, 3) @ down[between].reshape(3, -1)
        np.testing.assert_allclose(product, (u[:, :3] * s[:3]) @ vt[:3], atol=1e-5)
        np.testing.assert_allclose(  # equally large, or pruning would treat them differently
            np.linalg.norm(up[rows].reshape(8, 3), axis=0), np.linalg.norm(down[between].reshape(3, -1), axis=1), 1e-4
        )


def test_with_images_outputs_are_kept_better(model, images):
    """Digits are correlated inputs: most of a border is black."""

    def error(calibration):
        spectra = measure(from_model(model), calibration)
        name = max(spectra, key=lambda n: sizes(model.graph)[n].whole)
        thin = factor(model, {name: max(1, sizes(model.graph)[name].full // 4)}, {name: spectra[name]})
        return float(np.square(Runner(thin)(images) - Runner(model)(images)).mean())

    assert error(torch.from_numpy(images)) < 0.5 * error(None)


# Ranks


@pytest.mark.parametrize("ratio", [1.3, 2, 3])
@pytest.mark.parametrize("with_images", [True, False])
def test_a_ratio_is_met_and_not_by_much(model, images, ratio, with_images):
    spectra = measure(from_model(model), torch.from_numpy(images) if with_images else None)
    thin = factor(model, choose_ranks(model.graph, spectra, f"ratio={ratio}"), spectra)
    assert thin.parameters <= model.parameters / ratio
    dearest = max(size.a_rank for size in sizes(model.graph).values())
    assert thin.parameters > model.parameters / ratio - dearest


def test_energy_and_share_are_taken_layer_by_layer(model):
    spectra = measure(from_model(model))
    for name, rank in choose_ranks(model.graph, spectra, "energy=0.5").items():
        kept = spectra[name].kept()
        assert kept[rank - 1] >= 0.5
        assert rank == 1 or kept[rank - 2] < 0.5
    for name, rank in choose_ranks(model.graph, spectra, 0.25).items():
        assert rank == max(1, round(0.25 * sizes(model.graph)[name].full))
    assert model.graph.layers[0].name not in spectra


@pytest.mark.parametrize("rank", ["0.3", "0.6", "energy=0.4", "energy=0.8", "ratio=1.2", "ratio=2"])
def test_no_layer_ever_gets_larger(model, rank):
    spectra = measure(from_model(model))
    ranks = choose_ranks(model.graph, spectra, rank)
    thin = factor(model, ranks, spectra)
    for name in ranks:
        after = [thin.weights[name + part] for part in ("/down", "/up")]
        held = model.weights[name]
        assert sum(prod(w.weight.shape) + w.bias.size for w in after) < prod(held.weight.shape) + held.bias.size


def test_a_depthwise_layer_stays_whole(digits):
    model = model_of(depthwise, digits[1])
    assert list(sizes(model.graph)) == [model.graph.layers[2].name]


def test_layers_that_mind_least_are_cut_most(digits):
    """A layer of rank 2 loses nothing by being cut to it."""
    model = model_of(vgg, digits[1])
    easy, hard = (op.name for op in model.graph.layers[1:3])
    shape = model.weights[easy].weight.shape
    random = np.random.default_rng(0)
    flat = random.normal(size=(shape[0], 2)) @ random.normal(size=(2, prod(shape[1:])))
    weights = {**model.weights, easy: Weights(Plain(flat.reshape(shape).astype("f4")), model.weights[easy].bias)}
    model = Model(model.graph, weights, model.preparation)
    spectra = measure(from_model(model))
    ranks = choose_ranks(model.graph, spectra, "ratio=1.2")
    assert ranks[easy] == 2
    assert hard not in ranks or ranks[hard] > 2


@pytest.mark.parametrize("wrong", ["0", "1.5", "-1", "nan", "some", "ratio=1", "ratio=x", "energy=2", "half=1", "1"])
def test_ranks_that_cannot_be(model, wrong):
    with pytest.raises(UsageError, match="rank"):
        choose_ranks(model.graph, measure(from_model(model)), wrong)
    with pytest.raises(UsageError, match=r"rank 1 everywhere gives \d"):
        choose_ranks(model.graph, measure(from_model(model)), "ratio=1000")


# With the other stages


@pytest.mark.parametrize("with_images", [True, False])
def test_low_rank_then_pruning_then_a_codebook(model, digits, images, tmp_path, with_images):
    seen = {}
    recipe = CompressionRecipe(
        "svd+deep-compression",
        low_rank=LowRank(epochs=0.5, rank="ratio=1.5"),
        pruning=Pruning(epochs=0.5, density=0.5, steps=1),
        sharing=Sharing(epochs=0.5, conv_bits=5, fc_bits=4),
    )
    listener = Listener(stage=seen.__setitem__)
    squeezed = compress(model, digits[0] if with_images else None, recipe, listener=listener).model
    assert list(seen) == ["factored", "pruned", "shared"]
    size = sqz.write(squeezed, tmp_path / "all.sqz")
    again = sqz.read(tmp_path / "all.sqz")
    assert sqz.encode(again) == sqz.encode(squeezed)
    assert np.array_equal(Runner(again)(images), Runner(squeezed)(images))
    assert size < model.float32_bytes / 2
    assert again.parameters <= model.parameters / 1.5
    assert again.density == pytest.approx(0.5, abs=0.03)
    assert all(isinstance(held.weight, Shared) for held in again.weights.values())
    assert joined(again.graph) == model.graph


def test_retraining_brings_back_what_factoring_lost(model, digits, images):
    def error(**retraining):
        recipe = CompressionRecipe("svd", objective="distill", low_rank=LowRank(**retraining))
        thin = compress(model, digits[0], recipe).model
        return float(np.square(Runner(thin)(images) - Runner(model)(images)).mean())

    assert error(epochs=20, lr=1e-3) < error(epochs=0)


def test_the_papers_densities_are_those_of_both_factors(digits):
    module = create_seeded("squeezenet_32", 0, base_e=16, incr_e=8, fires=8, classes=10, in_channels=1)
    model = from_module(module.eval(), digits[1])
    expand = [fire.expand3x3 for fire in fire_modules(model.graph)]
    thin = factor(model, dict.fromkeys(expand, 2), measure(from_model(model)))
    whole, densities = paper_densities(model.graph), paper_densities(thin.graph)
    assert all(densities[name + part] == whole[name] < 0.4 for name in expand for part in ("/down", "/up"))
    assert len(densities) == len(whole) + len(expand)
    assert resolve_densities(from_model(thin), None, "auto") == densities


def test_each_stage_can_be_left_out(model, digits):
    factored = compress(model, None, CompressionRecipe("svd")).model
    assert factored.density == 1
    assert factored.provenance[KEY] == 'method = "svd"\n'
    pruned = compress(model, None, CompressionRecipe("prune", pruning=Pruning(density=0.4))).model
    assert pruned.graph == model.graph
    assert pruned.density == pytest.approx(0.4, abs=0.03)
    for only in (factored, pruned):
        assert all(isinstance(held.weight, Plain) for held in only.weights.values())
    with pytest.raises(UsageError, match="give less"):
        compress(pruned, None, CompressionRecipe("prune", pruning=Pruning(density=0.9)))


@pytest.mark.parametrize("suffix", [".sqz", ".safetensors"])
def test_a_factored_model_is_a_model_like_any_other(model, tmp_path, suffix):
    thin = compress(model, None, CompressionRecipe("svd")).model
    save_model(thin, tmp_path / f"thin{suffix}")
    again = load_model(tmp_path / f"thin{suffix}")
    assert again.graph == thin.graph
    assert all(np.array_equal(again.weights[n].weight.values(), w.weight.values()) for n, w in thin.weights.items())


def test_the_authors_file_cannot_hold_factors(tmp_path):
    model = load_model("squeezenet1_0", 0)
    thin = factor(model, {model.graph.layers[1].name: 3}, measure(from_model(model)))
    with pytest.raises(SqueezeNetError):
        save_model(thin, tmp_path / "thin.net")
