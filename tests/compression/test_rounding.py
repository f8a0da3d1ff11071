"""Rounding: levels against an exhaustive search, and layers that make up for the layers before them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from squeezenet import sqz
from squeezenet.compression.squeeze import gptaq, rounding, to_size, trimming
from squeezenet.compression.squeeze.hessian import (
    DAMPING,
    DAMPING_SYNTHETIC,
    Block,
    LayerHessian,
    _block,
    hessians_of,
    inputs_of,
)
from squeezenet.compression.squeeze.network import GridWeight
from squeezenet.compression.squeeze.prepared import Prepared, as_model, prepare
from squeezenet.compression.squeeze.ranges import calibrate
from squeezenet.compression.squeeze.rate import level_bits
from squeezenet.compression.squeeze.rounding import round_network
from squeezenet.compression.squeeze.trimming import trimmed
from squeezenet.data import Pixels
from squeezenet.errors import ModelError
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Conv
from squeezenet.model import Model
from squeezenet.models.network import Network, from_model, to_weights
from squeezenet.preparation import Preparation

COSTS = np.array([0.1, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.0])


@pytest.fixture
def block() -> Block:
    samples = np.random.default_rng(0).normal(size=(40, 9)) @ np.random.default_rng(1).normal(size=(9, 9))
    covariance = samples.T @ samples / 40
    order = np.argsort(-np.diag(covariance))
    covariance = covariance[np.ix_(order, order)]
    return Block(order, covariance, np.linalg.cholesky(np.linalg.inv(covariance)).T)


def cost(levels: np.ndarray, wanted: np.ndarray, block: Block) -> np.ndarray:
    error = (levels - wanted)[:, block.order]
    return np.einsum("oi,ij,oj->o", error, block.covariance, error) + COSTS[np.abs(levels).astype(int)].sum(1)


def slope_of(levels: np.ndarray, wanted: np.ndarray, block: Block) -> np.ndarray:
    return block.covariance @ (levels - wanted)[:, block.order].T


def test_another_look_finds_the_best_level_of_each_input(block: Block) -> None:
    wanted = np.random.default_rng(2).normal(size=(5, 9)) * 3
    first = rounding._round(wanted, np.ones(5), block, COSTS)
    found, values = rounding._descend(first, slope_of(first, wanted, block), np.ones(5), block, COSTS)
    steps = rounding._within(values, found)

    expected = first.copy()
    for i in block.order:
        tried = []
        for level in range(-7, 8):
            expected[:, i] = level
            tried.append(cost(expected, wanted, block))
        expected[:, i] = np.argmin(tried, axis=0) - 7
    assert np.array_equal(found, expected)
    assert (cost(found, wanted, block) <= cost(first, wanted, block)).all()
    assert np.array_equal(np.where(np.abs(steps) < 0.6, 0, np.rint(steps)), found)


@pytest.mark.skipif(not rounding.HAS_ENGINE, reason="the C engine was not built here")
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (9, 3), (100, 7), (200, 33)])
def test_the_engine_rounds_to_the_same_bits(inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(inputs)
    samples = random.normal(size=(2 * inputs, inputs))
    block = _block(samples.T @ samples, 0.01)
    wanted = random.normal(size=(outputs, inputs)) * 4
    wanted[0] *= 30  # beyond the largest level
    gain = random.uniform(0.01, 1, outputs) / inputs

    def rounded() -> tuple[np.ndarray, ...]:
        levels = rounding._round(wanted, gain, block, COSTS)
        slope = np.ascontiguousarray(slope_of(levels, wanted, block))
        return levels, *rounding._descend(levels, slope, gain, block, COSTS)

    fast = rounded()
    monkeypatch.setattr(rounding, "HAS_ENGINE", False)
    assert [each.tobytes() for each in fast] == [each.tobytes() for each in rounded()]
    assert fast[0].any()


@pytest.mark.skipif(not rounding.HAS_ENGINE, reason="the C engine was not built here")
@pytest.mark.parametrize("wrong", range(8))
def test_the_engine_refuses_buffers_of_another_size(wrong: int) -> None:
    buffers = [np.zeros(4), *(np.zeros(6) for _ in range(3)), np.zeros(8), *(np.zeros(6) for _ in range(3))]
    rounding.round_inputs(2, *buffers)
    buffers[wrong] = np.zeros(0)
    with pytest.raises(ValueError, match="not those of some inputs of a block"):
        rounding.round_inputs(2, *buffers)


def test_rounding_again_finds_the_best_level_of_each_input_in_turn(block: Block) -> None:
    """By the formula: the divergence of a change, with the slope that the values of the weight tell, and the bits."""
    random = np.random.default_rng(3)
    levels = np.rint(random.normal(size=(5, 9)) * 1.5)
    values = torch.from_numpy(levels + random.uniform(-0.35, 0.35, levels.shape)).float()
    hessian = LayerHessian(2.0, 1.0, ((block,),), np.zeros((1, 9)))
    found = rounding.round_again(GridWeight(values, torch.full((5,), -8)), hessian, multiplier=0.3)

    costs = 0.3 * level_bits(torch.from_numpy(levels)).double().numpy()
    slope = np.diag(block.covariance) * (levels - values.double().numpy())[:, block.order]
    expected = levels.copy()
    for i in block.order:
        tried = []
        for level in range(-7, 8):
            expected[:, i] = level
            change = (expected - levels)[:, block.order]
            form = np.einsum("oi,ij,oj->o", change, block.covariance, change) + 2 * (change * slope).sum(1)
            tried.append(0.25 * form + costs[abs(level)])
        expected[:, i] = np.argmin(tried, axis=0) - 7
    assert (expected != levels).any()
    assert np.array_equal(found.levels().numpy(), expected)


class Deep(nn.Module):
    """Four convolutions, of which one has groups."""

    def __init__(self) -> None:
        super().__init__()
        body = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=2, stride=2), nn.ReLU(), nn.Conv2d(12, 16, 1)]
        self.body = nn.Sequential(*body, nn.ReLU(), nn.Conv2d(16, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.fixture(scope="module")
def network() -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Deep().eval()
        module.body[-3].weight.data *= 20  # answers that differ
    preparation = Preparation(14, 14, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    return from_model(from_module(module, preparation, tuple("abcdef"), {})).eval()


def images(seed: int, count: int = 48) -> torch.Tensor:
    """Smooth noise, so that neighbours say much about each other."""
    return F.avg_pool2d(torch.randn(count, 3, 18, 18, generator=torch.Generator().manual_seed(seed)), 5, 1) * 5


def test_layers_make_up_for_the_layers_before_them(network: Network) -> None:
    seen, unseen, multiplier = images(1), images(2), 3e-3
    hessians = hessians_of(network, seen)
    whole = rounding.round_network(network, calibrate(network, seen), hessians, multiplier)

    def error() -> float:
        with torch.no_grad():
            return float((whole(unseen) - network(unseen)).square().mean())

    alone = error()
    gptaq.compensate(whole, network, seen, hessians, multiplier)
    assert error() < 0.7 * alone


def test_more_images_are_believed_more(network: Network) -> None:
    seen, unseen, multiplier = images(1, 300), images(2, 300), 3e-5
    hessians, scales = hessians_of(network, seen), calibrate(network, seen)

    def error(ridge_images: int) -> float:
        whole = rounding.round_network(network, scales, hessians, multiplier)
        gptaq.compensate(whole, network, seen, hessians, multiplier, ridge_images=ridge_images)
        with torch.no_grad():
            return float((whole(unseen) - network(unseen)).square().mean())

    assert error(gptaq.RIDGE_IMAGES) < error(10**6)


def test_rounding_learns_from_as_many_images_as_are_asked_for(network: Network) -> None:
    preparation = Preparation(14, 14, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    many = np.random.default_rng(0).integers(0, 255, (500, 3, 14, 14), np.uint8)
    pixels = Pixels(many, None, np.arange(500))
    model = Model(network.graph, to_weights(network), preparation, tuple("abcdef"), {})
    plain, more = (prepare(model, pixels, count=count) for count in (128, 500))
    assert (len(plain.images), len(more.images)) == (96, 192)
    assert plain.hessians["body.0"].importance != more.hessians["body.0"].importance


@pytest.fixture(scope="module")
def known(network: Network) -> tuple[Model, Prepared]:
    preparation = Preparation(14, 14, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    many = np.random.default_rng(0).integers(0, 255, (96, 3, 14, 14), np.uint8)
    model = Model(network.graph, to_weights(network), preparation, tuple("abcdef"), {})
    return model, prepare(model, Pixels(many, None, np.arange(96)))


def test_a_size_gives_the_same_network_after_other_sizes_and_with_less_work(
    known: tuple[Model, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prepared = known
    calls: list[float] = []

    def counted(*given: object) -> object:
        calls.append(1)
        return round_network(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(to_size, "round_network", counted)
    sizes = [len(sqz.encode(model)) // share for share in (5, 5, 7)]
    fresh = [replace(prepared, tried={}) for _ in sizes]
    alone = [to_size.round_to_size(model, each, size)[0] for each, size in zip(fresh, sizes, strict=True)]
    most = len(calls)
    shared = replace(prepared, tried={})
    found = [to_size.round_to_size(model, shared, size)[0] for size in sizes]
    assert [sqz.encode(as_model(model, each)) for each in found] == [
        sqz.encode(as_model(model, each)) for each in alone
    ]
    assert len(calls) - most < most


def test_a_file_that_is_too_large_is_rounded_again(known: tuple[Model, Prepared]) -> None:
    model, prepared = known
    network = round_network(prepared.network, prepared.scales, prepared.hessians, 1e-7)
    _, data = trimmed(model, network, prepared, 10**6)
    assert data == sqz.encode(as_model(model, network))
    for share in (0.99, 0.9, 0.7):
        goal = round(share * len(data))
        smaller, written = trimmed(model, network, prepared, goal)
        assert 0.95 * goal < len(written) <= goal
        assert sqz.encode(smaller) == written
    empty, written = trimmed(model, network, prepared, 10)
    assert not any(held.weight.levels.any() for held in empty.weights.values())


def test_rounding_again_keeps_the_means_of_outputs(known: tuple[Model, Prepared]) -> None:
    _, prepared = known
    network = round_network(prepared.network, prepared.scales, prepared.hessians, 1e-7)
    again = trimming._again(network, prepared, 1e-3)
    first, x = network.graph.layers[0], prepared.images
    changed = (again.weight(first.name).levels() - network.weight(first.name).levels()).abs().max()
    means = [(n.sums(first, n.enter(x)).float() * n.factor(first).view(-1, 1, 1)).mean((0, 2, 3)) + n.bias(first.name)
             for n in (network, again)]  # fmt: skip
    assert changed >= 1
    assert torch.allclose(*means, atol=0.02)


def test_means_are_kept_also_behind_the_last_relu() -> None:
    """With the means before the ReLU alone, those behind it are off by up to 0.16."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.ReLU())
        module = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        body[2].weight.data.normal_(std=2)
    preparation = Preparation(14, 14, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    network = from_model(from_module(module, preparation, tuple("abcdef"), {})).eval()
    seen = images(1)
    hessians = hessians_of(network, seen)
    whole = rounding.round_network(network, calibrate(network, seen), hessians, 1e-4)
    gptaq.compensate(whole, network, seen, hessians, 1e-4)
    with torch.no_grad():
        wanted, found = network(seen), whole(seen)
    assert (found - wanted).square().mean() > 0.03 * wanted.var()  # it is coarse
    assert (found - wanted).mean(0).abs().max() < 0.05 < 0.1 * wanted.mean(0).max()


def test_weights_adapt_to_changed_inputs_as_ridge_regression_does(network: Network) -> None:
    op = network.graph.layers[1]
    assert isinstance(op, Conv)
    assert op.groups == 2
    weight = network.weight(op.name)().detach()
    generator = torch.Generator().manual_seed(3)
    exact = list(torch.rand(16, 8, 9, 9, generator=generator).split(8))
    changed = [x + 0.3 * torch.rand(x.shape, generator=generator) for x in exact]
    adapted = gptaq._adapted(op, weight, exact, changed)
    for group in range(2):
        was, now = (
            torch.cat([inputs_of(op, x)[:, group] for x in xs]).permute(1, 0, 2).flatten(1).double()
            for xs in (exact, changed)
        )
        was, now = was - was.mean(1, keepdim=True), now - now.mean(1, keepdim=True)
        before, after = (w.reshape(2, 6, -1)[group].double() for w in (weight, adapted))
        pull = now.square().sum() / now.numel()
        slope = (after @ now - before @ was) @ now.T / now.shape[1] + pull * (after - before)
        assert float(slope.abs().max()) < 1e-6
        assert float((after @ now - before @ was).square().mean()) < float((before @ (now - was)).square().mean())


def test_unchanged_inputs_leave_weights_as_they_are(network: Network) -> None:
    op = network.graph.layers[0]
    weight, x = network.weight(op.name)().detach(), [images(4)]
    assert torch.equal(gptaq._adapted(op, weight, x, x), weight)


def test_inputs_that_hardly_vary_have_a_hessian() -> None:
    """Float32 hides their variance: without a floor, rounding made some covariances negative."""
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module[0].weight.data *= 1e-6
    module[0].bias.data.uniform_(0.5, 1.5)
    preparation = Preparation(14, 14, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    network = from_model(from_module(module.eval(), preparation, tuple("abcdef"), {})).eval()
    for found in hessians_of(network, images(3)).values():
        assert np.isfinite(found.importance)
        assert (found.residual_variance > 0).all()


def test_a_network_that_gives_every_image_the_same_logits_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module[0].bias.data.fill_(-1e6)
    preparation = Preparation(14, 14, "stretch", "RGB", (0.0,) * 3, (1.0,) * 3)
    with pytest.raises(ModelError, match="the same logits"):
        prepare(from_module(module.eval(), preparation, tuple("abcdef"), {}), None)


def test_damping_leaves_the_importance_of_layers(network: Network) -> None:
    x = images(5)
    real, synthetic = (hessians_of(network, x, damping) for damping in (DAMPING, DAMPING_SYNTHETIC))
    for name, found in real.items():
        assert synthetic[name].importance < found.importance
        ratio = (synthetic[name].importance * synthetic[name].residual_variance) / (
            found.importance * found.residual_variance
        )
        assert np.log(ratio).mean() == pytest.approx(0, abs=1e-9)


def test_thin_positions_are_some_of_all(network: Network) -> None:
    op = network.graph.layers[0]
    x = images(6)[:2]
    every, some = inputs_of(op, x), inputs_of(op, x, 40)
    assert 20 <= some.shape[3] <= 60
    columns = {tuple(column.tolist()) for column in every[0, 0].T}
    assert all(tuple(column.tolist()) in columns for column in some[0, 0].T)


def test_the_size_of_a_large_network_is_estimated_from_some_outputs(
    known: tuple[Model, Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, prepared = known
    multiplier = 2.0 ** to_size._first(prepared)
    network = round_network(prepared.network, prepared.scales, prepared.hessians, multiplier)
    exact = prepared.size.of(network.to_weights())
    assert to_size._estimated_size(prepared, multiplier, 1) == exact
    assert to_size._estimated_size(prepared, multiplier, 2) == pytest.approx(exact, rel=0.1)
    assert to_size._start(prepared, exact) == to_size._first(prepared)
    monkeypatch.setattr(to_size, "SAMPLED", 300)
    goal = 0.9 * exact
    size = to_size._estimated_size(prepared, 2.0 ** to_size._start(prepared, goal), 3)
    assert size == pytest.approx(goal, rel=0.08)
