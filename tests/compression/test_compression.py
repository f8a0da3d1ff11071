"""Each stage of compression does what its paper says, alone and in order, on any network."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, Listener, Pruning, Sharing, compress, finetune
from squeezenet.compression.deep_compression.codebook import initial_centroids, kmeans, nearest, share, share_values
from squeezenet.compression.deep_compression.gptq_sharing import share_by_gptq
from squeezenet.compression.deep_compression.prune import (
    current_densities,
    magnitude_mask,
    paper_densities,
    prune,
    uniform_densities,
)
from squeezenet.compression.deep_compression.sensitivity import SWEEP, choose, measure
from squeezenet.compression.deep_compression.stages import resolve_densities, rounded
from squeezenet.compression.finetune import (
    IMAGES_PER_CLASS,
    Retraining,
    Teaching,
    choose_objective,
    fine_tune,
    steps_of,
    teacher_of,
)
from squeezenet.errors import DataError, TrainingError, UsageError
from squeezenet.fire import fire_modules
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Conv, Flatten, GlobalAvgPool, Graph, Linear
from squeezenet.importing import trace
from squeezenet.model import Model, Plain, Shared, Weights
from squeezenet.models import create_model
from squeezenet.models.network import FreeWeight, Network, SharedWeight, from_model
from squeezenet.runtime.image import normalise
from squeezenet.runtime.reference import Runner

VALUES = st.lists(st.integers(-40, 40).map(lambda i: i / 4), min_size=1, max_size=60)
ALEXNET = (0.84, 0.38, 0.35, 0.37, 0.37, 0.09, 0.09, 0.25)


def inputs(digits):
    pixels, preparation = digits
    return normalise(pixels.images, preparation)


# Pruning


@given(VALUES, st.floats(0, 1))
def test_a_mask_keeps_the_largest_and_the_count_is_exact(values, density):
    weight = torch.tensor(values)
    mask = magnitude_mask(weight, density)
    wanted = round(density * len(values))
    assert mask.sum() == min(wanted, weight.count_nonzero())
    kept, dropped = weight[mask].abs(), weight[~mask].abs()
    assert not len(kept) or not len(dropped) or kept.min() >= dropped.max()


def test_ties_are_kept_in_the_order_they_are_stored():
    assert magnitude_mask(torch.tensor([[1.0, -1.0], [1.0, 2.0]]), 0.5).tolist() == [[True, False], [False, True]]


def test_pruned_weights_stay_zero_through_retraining(tiny_model, digits):
    network = from_model(tiny_model)
    densities = uniform_densities(tiny_model.graph, 0.3)
    prune(network, densities)
    masks = {name: network.weight(name)() != 0 for name in densities}
    before = {name: network.weight(name)().detach().clone() for name in densities}
    fine_tune(network, Teaching(*digits, "labels"), Retraining(epochs=1, lr=1e-3))
    for name, mask in masks.items():
        after = network.weight(name)()
        assert torch.equal(after != 0, mask)
        assert not torch.equal(after, before[name])
    for name, density in current_densities(network).items():
        size = masks[name].numel()
        assert density == round(densities[name] * size) / size


def test_squeezenet_pruned_as_in_table_1():
    graph, _ = trace(create_model("squeezenet1_0"), (3, 227, 227))
    densities = paper_densities(graph)
    sizes = {name: prod(shape) for name, shape in graph.weight_shapes().items()}
    left = {name: round(densities[name] * size) + graph.weight_shapes()[name][0] for name, size in sizes.items()}
    fires = [sum(left[n] for n in (f.squeeze1x1, f.expand1x1, f.expand3x3)) for f in fire_modules(graph)]
    printed = [5746, 6258, 20646, 24742, 44700, 46236, 77581, 77581]
    assert all(abs(ours - theirs) <= 1 for ours, theirs in zip(fires, printed, strict=True))
    assert (left[graph.layers[0].name], left[graph.layers[-1].name]) == (14208, 103400)
    assert abs(sum(left.values()) - 421_098) <= len(fires)  # they round up, a module may differ by one


def test_densities_of_the_papers_fit_their_networks_only(tiny_model):
    graph, _ = trace(create_model("alexnet_32", classes=10), (3, 32, 32))
    assert tuple(paper_densities(graph).values()) == ALEXNET
    with pytest.raises(UsageError, match="SqueezeNet and AlexNet only"):
        paper_densities(tiny_model.graph)


def test_densities_by_name(tiny_model):
    network = from_model(tiny_model)
    layers = [op.name for op in tiny_model.graph.layers]
    assert resolve_densities(network, None, "0.2") == {name: 0.5 if name == layers[0] else 0.2 for name in layers}
    assert resolve_densities(network, None, "keep") == dict.fromkeys(layers, 1.0)
    prune(network, dict.fromkeys(layers, 0.5))
    assert resolve_densities(network, None, "auto") == current_densities(network)  # it is pruned already


@pytest.mark.parametrize("wrong", ["0", "1.5", "-1", "nan", "some", "sensitivity=0.3", "paper"])
def test_densities_that_cannot_be(tiny_model, wrong):
    with pytest.raises(UsageError):
        resolve_densities(from_model(tiny_model), None, wrong)


# Sensitivity


@given(st.floats(0.05, 1))
def test_layers_that_mind_least_are_pruned_most(target):
    graph = Graph((4, 1, 1), (Conv((0,), "hard", 4, (1, 1)), Conv((1,), "easy", 4, (1, 1)), Flatten((2,))))
    curves = {name: {d: dear * (1 - d) ** 2 for d in (1.0, *SWEEP)} for name, dear in (("hard", 10), ("easy", 0.1))}
    chosen = choose(curves, graph, target)
    assert chosen["easy"] <= chosen["hard"]
    assert sum(chosen.values()) / 2 == pytest.approx(target)  # both layers have as many weights


def test_a_measured_curve_starts_at_nothing_and_leaves_the_network_alone(tiny_model, digits):
    network = from_model(tiny_model)
    images = torch.from_numpy(inputs(digits)[:16])
    before = network(images)
    curves = measure(network, images)
    assert torch.equal(network(images), before)
    assert set(curves) == {op.name for op in tiny_model.graph.layers}
    for curve in curves.values():
        assert tuple(curve) == (1.0, *SWEEP)
        assert 0 == curve[1.0] < curve[0.04]


# Weight sharing


def test_first_centroids_three_ways():
    values = np.array([0.0, 1.0, 1.0, 1.0, 2.0, 9.0])
    assert initial_centroids(values, 4, "linear").tolist() == [0, 3, 6, 9]
    assert initial_centroids(values, 3, "density").tolist() == pytest.approx(np.quantile(values, [1 / 6, 1 / 2, 5 / 6]))
    drawn = initial_centroids(values, 3, "random", seed=1)
    assert set(drawn) <= set(values)
    assert drawn.tolist() == sorted(initial_centroids(values, 3, "random", seed=1))
    assert len(initial_centroids(values, 16, "random")) == values.size
    assert len(initial_centroids(values[:0], 4, "linear")) == 0


def lloyd(values, centroids):
    """k-means as it stands in the textbook; a value between two centroids belongs to the smaller."""
    while True:
        owner = [min(range(len(centroids)), key=lambda c: (abs(v - centroids[c]), c)) for v in values]
        moved = [np.mean([v for v, o in zip(values, owner, strict=True) if o == c]) for c in range(len(centroids))]
        if np.allclose(moved, centroids):
            return moved
        centroids = moved


@given(st.integers(4, 40), st.integers(1, 4), st.integers(0, 99))
def test_kmeans_is_the_textbook_s_where_no_cluster_is_empty(size, count, seed):
    # Drawn, not searched for: a value half way between two centroids may go to either, and both are right.
    values = np.sort(np.random.default_rng(seed).standard_normal(size))
    start = initial_centroids(values, count, "random", seed)  # values themselves, so each has one
    assert kmeans(values, start) == pytest.approx(lloyd(values, start))


@settings(max_examples=200)
@given(VALUES, st.sampled_from([1, 2, 4, 16]), st.sampled_from(["linear", "density", "random"]))
def test_centroids_are_means_and_never_worse_than_they_began(values, count, how):
    values = np.sort(np.array(values))
    start = initial_centroids(values, count, how)
    centroids = kmeans(values, start)

    def error(c):
        return ((values - c[nearest(values, c)]) ** 2).sum()

    assert np.all(np.diff(centroids) > 0) or centroids.size == 1 or len(set(values)) < count
    assert error(centroids) <= error(start) + 1e-9
    owner = nearest(values, centroids)
    for used in np.unique(owner):
        assert centroids[used] == pytest.approx(values[owner == used].mean())


@given(VALUES, st.integers(1, 5), st.sampled_from(["linear", "density", "random"]))
def test_zeros_stay_zero_and_the_codebook_is_small_sorted_and_used(values, bits, how):
    weight = torch.tensor(values).reshape(1, -1)
    indices, codebook = share_values(weight, bits, how)
    assert indices.shape == weight.shape
    assert torch.equal(indices == 0, weight == 0)
    assert len(codebook) <= min(2**bits, len(set(values) - {0.0}))
    assert torch.equal(indices.unique()[indices.unique() > 0], torch.arange(1, len(codebook) + 1))
    assert torch.all(codebook.diff() > 0)


def test_few_values_are_shared_without_loss():
    weight = torch.tensor([-2.0, 0.0, 0.5, 0.5, 3.0, 100.0])
    indices, codebook = share_values(weight, bits=2)
    assert torch.equal(SharedWeight(indices, codebook)(), weight)


def test_a_layer_without_weights_has_no_centroids():
    indices, codebook = share_values(torch.zeros(2, 3), bits=4)
    assert not indices.any()
    assert codebook.numel() == 0


def test_the_gradient_of_a_centroid_is_the_sum_over_its_weights(tiny_model, digits):
    shared, free = from_model(tiny_model), from_model(tiny_model)
    share(shared, {op.name: 3 for op in tiny_model.graph.layers})
    images, labels = torch.from_numpy(inputs(digits)), torch.from_numpy(digits[0].labels)
    for op in tiny_model.graph.layers:
        free.replace_weight(op.name, FreeWeight(shared.weight(op.name)()))
    for network in (shared, free):
        nn.functional.cross_entropy(network(images), labels).backward()
    for op in tiny_model.graph.layers:
        held, each = shared.weight(op.name), free.weight(op.name).values.grad
        sums = [each[held.indices == i + 1].sum() for i in range(len(held.codebook))]
        torch.testing.assert_close(held.codebook.grad, torch.stack(sums), rtol=1e-4, atol=1e-6)


def correlated(groups, outputs=16, channels=8):
    """A layer and images whose channels and neighbours say much the same."""
    random = np.random.default_rng(groups)
    layer = Conv((0,), "conv", outputs, (3, 3), groups=groups)
    head = Linear((3,), "head", 4)
    graph = Graph((channels, 8, 8), (layer, GlobalAvgPool((1,)), Flatten((2,)), head))
    weights = {
        name: Weights(Plain(random.normal(size=shape).astype(np.float32)), np.zeros(shape[0], np.float32))
        for name, shape in graph.weight_shapes().items()
    }
    module = Network(graph, {n: FreeWeight(torch.from_numpy(w.weight.data)) for n, w in weights.items()},
                     {n: torch.from_numpy(w.bias) for n, w in weights.items()})  # fmt: skip
    base = random.normal(1, 1, (24, 2, 10, 10))
    smooth = (base[..., :-2, :-2] + base[..., 1:-1, 1:-1] + base[..., 2:, 2:]) / 3
    images = np.einsum("nkhw,kc->nchw", smooth, random.normal(size=(2, channels)))
    return module, torch.from_numpy(images.astype(np.float32))


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_compensation_keeps_outputs_better_than_rounding(groups):
    def error(method, *images):
        network, calibration = correlated(groups)
        exact = network.apply_op(network.graph.ops[0], [calibration])
        method(network, *images, {"conv": 2})
        assert len(network.weight("conv").codebook) <= 4
        return float((network.apply_op(network.graph.ops[0], [calibration]) - exact).square().mean().detach())

    assert error(share_by_gptq, correlated(groups)[1]) < 0.5 * error(share)


# What is left of a float


FLOATS = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.integers(10, 32))
def test_rounding_keeps_the_upper_bits_of_the_nearest(values, bits):
    values = torch.tensor(values)
    kept = rounded(values, bits)
    assert not (kept.view(torch.int32) & (1 << 32 - bits) - 1).any()
    assert torch.equal(rounded(kept, bits), kept)
    step = torch.from_numpy(np.ldexp(np.float64(1), torch.frexp(values)[1].numpy() - 1 - (23 - (32 - bits))))
    assert torch.all((kept.double() - values.double()).abs() <= step / 2)


# Fine-tuning


def teachings(tiny_model, digits):
    pixels, preparation = digits
    return {
        "labels": Teaching(pixels, preparation, "labels"),
        "distill": Teaching(pixels, preparation, "distill", teacher_of(from_model(tiny_model))),
    }


@pytest.mark.parametrize("objective", ["labels", "distill"])
def test_fine_tuning_lowers_the_loss_and_repeats_for_a_seed(tiny_model, digits, objective):
    teaching = teachings(tiny_model, digits)[objective]
    how = Retraining(epochs=6, batch_size=32, lr=3e-3)

    def tuned(seed):
        network, losses = from_model(tiny_model), []
        share(network, {op.name: 2 for op in tiny_model.graph.layers})
        fine_tune(network, teaching, how, seed, losses.append)
        return losses, network

    losses, network = tuned(0)
    assert len(losses) == steps_of(how, len(digits[0])) == 12
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert all(isinstance(network.weight(op.name), SharedWeight) for op in network.graph.layers)
    assert tuned(0)[0] == losses
    assert tuned(1)[0] != losses


def test_a_loss_that_is_not_a_number_is_an_error(tiny_model, digits):
    with pytest.raises(TrainingError, match="lower the learning rate"):
        fine_tune(from_model(tiny_model), Teaching(*digits, "labels"), Retraining(epochs=4, lr=1e30))


def test_labels_teach_where_there_are_enough_of_them(digits):
    pixels = digits[0]
    assert choose_objective(pixels, classes=len(pixels) // IMAGES_PER_CLASS) == "labels"
    assert choose_objective(pixels, classes=10) == "distill"
    unlabelled = replace(pixels, labels=None)
    assert choose_objective(unlabelled, classes=1) == "distill"
    with pytest.raises(DataError, match="distillation"):
        Teaching(unlabelled, digits[1], "labels")


# From end to end, on networks of any kind


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        return self.head(x.mean((2, 3)))


def vgg():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 24), nn.ReLU(), nn.Dropout(), nn.Linear(24, 10),
    )  # fmt: skip


def depthwise():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8), nn.ReLU6(), nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def settle(module):
    """BatchNorm with statistics as if it had been trained."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


PRUNING, SHARING = Pruning(epochs=1, density=0.4, steps=2), Sharing(epochs=0.5, conv_bits=4, fc_bits=3)
QUICK = CompressionRecipe("deep-compression", pruning=PRUNING, sharing=SHARING)


@pytest.mark.parametrize("build", [vgg, Residual, depthwise])
@pytest.mark.parametrize("with_images", [True, False])
def test_my_own_network_is_squeezed_in_three_lines(build, with_images, digits, tmp_path):
    pixels, preparation = digits
    torch.manual_seed(0)
    module = settle(build())

    model = from_module(module, preparation)
    squeezed = compress(model, pixels if with_images else None, QUICK).model
    size = sqz.write(squeezed, tmp_path / "mine.sqz")

    images = inputs(digits)
    with torch.inference_mode():
        np.testing.assert_allclose(Runner(model)(images), module(torch.from_numpy(images)).numpy(), atol=1e-4)
    again = sqz.read(tmp_path / "mine.sqz")
    assert np.array_equal(Runner(again)(images), Runner(squeezed)(images))
    assert size == (tmp_path / "mine.sqz").stat().st_size
    assert size - len(squeezed.provenance["recipe"]) < 0.6 * model.float32_bytes
    for op in again.graph.layers:
        held = again.weights[op.name].weight
        assert isinstance(held, Shared)
        assert held.codebook.size <= (8 if isinstance(op, Linear) else 16)


def test_compression_that_was_stopped_goes_on_from_its_work_folder(tiny_model, digits, tmp_path, monkeypatch):
    def stop(stage, model):
        raise KeyboardInterrupt

    def taken(plan, first, *rest):
        steps.append(plan.steps - first)
        take_steps(plan, first, *rest)

    steps, take_steps = [], finetune.take_steps
    monkeypatch.setattr(finetune, "take_steps", taken)
    with pytest.raises(KeyboardInterrupt):
        compress(tiny_model, digits[0], QUICK, listener=Listener(stage=stop), work=tmp_path)
    assert min(steps) > 0
    pruned = len(steps)
    again = compress(tiny_model, digits[0], QUICK, work=tmp_path).data
    assert steps[pruned:-1] == [0] * pruned  # what was retrained is loaded
    assert steps[-1] > 0
    assert again == compress(tiny_model, digits[0], QUICK).data


def test_the_whole_pipeline_is_deterministic_and_leaves_its_input_alone(tiny_model, digits):
    before = sqz.encode(tiny_model)
    stages = {}

    def compressed(seed):
        listener = Listener(stage=stages.__setitem__)
        return compress(tiny_model, digits[0], replace(QUICK, seed=seed), listener=listener).data

    first = compressed(0)
    assert compressed(0) == first != compressed(1)
    assert sqz.encode(tiny_model) == before
    assert list(stages) == ["pruned", "shared"]
    assert all(isinstance(held.weight, Plain) for held in stages["pruned"].weights.values())
    assert stages["pruned"].density == pytest.approx(stages["shared"].density) == pytest.approx(0.4, abs=0.02)
    assert stages["shared"].labels == tiny_model.labels
    assert isinstance(stages["shared"], Model)


def test_compressing_twice_changes_no_zero(tiny_model, digits):
    once = compress(tiny_model, None, QUICK).model
    again = replace(QUICK, pruning=replace(PRUNING, density="auto"), sharing=replace(SHARING, conv_bits=3))
    twice = compress(once, digits[0], again).model
    for name, held in once.weights.items():
        assert np.array_equal(held.weight.indices == 0, twice.weights[name].weight.indices == 0)
        assert twice.weights[name].weight.codebook.size <= 8
