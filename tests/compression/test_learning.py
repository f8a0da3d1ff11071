"""Integer networks that learn: steps, scales and features, from any teacher, and on after a stop."""

import argparse
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from squeezenet.compression import CompressionRecipe, Learning, compress
from squeezenet.compression.finetune import (
    NO_AUGMENTATION,
    Retraining,
    Teaching,
    answers_of,
    fine_tune,
    loss_of,
    teacher_of,
)
from squeezenet.compression.finetune import prepared as prepared_batch
from squeezenet.compression.squeeze import goals
from squeezenet.compression.squeeze.features import feature_loss
from squeezenet.compression.squeeze.learning import learn
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork
from squeezenet.compression.squeeze.prepared import Prepared, as_model, prepare
from squeezenet.compression.squeeze.rate import rate_gradient
from squeezenet.compression.squeeze.rounding import round_network
from squeezenet.compression.squeeze.to_size import round_to_size
from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation, draw
from squeezenet.fixed_point import Scale, step
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Add, Conv, Flatten, Graph, Linear, ReLU
from squeezenet.model import Model
from squeezenet.models.network import from_model
from squeezenet.runtime.run import runner
from squeezenet.training.surroundings import CPU
from support.integer_networks import NETWORKS, PREPARATION, coloured_noise, little_model, prepared, vgg


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return coloured_noise()


@pytest.fixture(scope="module", params=list(NETWORKS))
def model(request: pytest.FixtureRequest, pixels: Pixels) -> Model:
    return little_model(request.param, pixels)


def test_a_grid_that_grew_ships_as_it_was_trained(model: Model, pixels: Pixels) -> None:
    known = prepare(model, pixels)
    network = round_network(known.network, known.scales, known.hessians, multiplier=1e-6)
    network.dtype = torch.float32
    for op in network.graph.layers:
        network.weight(op.name).growth.data.fill_(3.4)
    network.growth.data.fill_(4.6)
    images = prepared(pixels)
    trained, shipped = network(torch.from_numpy(images)).detach().numpy(), runner(as_model(model, network))(images)
    assert np.abs(trained - shipped).max() < 0.05 * np.abs(shipped).max()
    before = round_network(known.network, known.scales, known.hessians, multiplier=1e-6)
    for op in network.graph.layers:
        now, then = network.weight(op.name), before.weight(op.name)
        assert torch.equal(now.exponents, then.exponents + 3)
        assert now.levels().abs().sum() < then.levels().abs().sum()
    moved = {now.exponent - then.exponent for now, then in zip(network.scales, before.scales, strict=True)}
    assert moved == {0, 5}
    assert network.scales[0] == before.scales[0]


def test_the_gradient_of_a_learned_step_is_that_of_a_step_which_is_not_rounded() -> None:
    """Esser et al. 2020, equation 3: what a coarser grid does to the weights it stands for, levels held."""
    torch.manual_seed(0)
    weight = GridWeight(torch.randn(4, 6) * 5, torch.zeros(4))
    x = torch.randn(6)
    unit = torch.ones((), requires_grad=True)  # the real step; the values are real weights
    real = weight.values.detach()
    levels = weight.levels()
    ((levels - real) * unit + real).mv(x).square().sum().backward()  # d(level * unit)/d(unit), less what values lose
    weight().mv(x).square().sum().backward()
    assert torch.isclose(weight.growth.grad, unit.grad * np.log(2) / 8, rtol=1e-5)
    assert torch.allclose(weight.values.grad, 2 * torch.outer(levels.mv(x), x), rtol=1e-5, atol=1e-5)


def test_coarser_activations_mean_the_same(model: Model, pixels: Pixels) -> None:
    known = prepare(model, pixels)
    network = round_network(known.network, known.scales, known.hessians, multiplier=1e-6)
    images = torch.from_numpy(prepared(pixels))
    with torch.no_grad():
        fine = network(images)
        network.growth.fill_(4.6)
        coarse = network(images)
    assert 0 < (coarse - fine).abs().max() < 0.5 * fine.std()


def test_the_gradient_of_a_learned_scale_is_that_of_a_scale_which_is_not_rounded() -> None:
    """What is rounded or cut off grows with its scale; the rest only counts in fewer steps (Esser et al. 2020)."""
    torch.manual_seed(0)
    graph = Graph((2, 1, 1), (Conv((0,), "a", 5, (1, 1)), ReLU((1,)), Add((2, 2)), Flatten((3,)), Linear((4,), "b", 3)))
    scales = (Scale(0, 128), Scale(0), Scale(0), Scale(12), Scale(12), Scale(-64, wide=True))
    weights = {
        "a": GridWeight(torch.tensor([[40.0, 3], [5, -2], [90, 1], [2, 2], [-9, -9]]).view(5, 2, 1, 1), torch.zeros(5)),
        "b": GridWeight(torch.randint(-9, 9, (3, 5)).float(), torch.full((3,), -64)),
    }
    biases = {"a": torch.tensor([0.25, 7.4, -3.3, 0.2, 0.1]), "b": torch.zeros(3)}
    network = IntegerNetwork(graph, scales, weights, biases)
    network.dtype = torch.float32
    network.growth.requires_grad_(True)
    x = torch.tensor([[3.0, 2.0], [-1.0, 9.0]]).view(2, 2, 1, 1)
    network(x).square().sum().backward()
    assert network.scales == scales

    first, second = (torch.tensor(step(exponent), requires_grad=True) for exponent in (0, 12))

    def whole(y: torch.Tensor) -> torch.Tensor:  # straight through, as far as nothing is cut off
        q = (y + 0.5).floor().clamp(0, 255)
        return q + torch.where((y >= -0.5) & (y <= 255.5), y - y.detach(), 0)

    sums = x.flatten(1) @ weights["a"].values.detach().flatten(1).T + biases["a"]
    made = whole(sums / first) * first
    added = whole((made + made) / second) * second
    (added @ weights["b"].values.detach().T * step(-64)).square().sum().backward()
    slopes = network.growth.grad[[network._group[1], network._group[3]]]
    wanted = torch.stack([first.grad, second.grad * second.detach()]) * np.log(2) / 8
    assert torch.allclose(slopes, wanted, rtol=0.01)  # the roots have 16 bits
    assert (slopes != 0).all()


def test_growth_that_no_shift_can_follow_is_undone(model: Model, pixels: Pixels) -> None:
    known = prepare(model, pixels)
    for growth in (1e4, -1e4):
        network = round_network(known.network, known.scales, known.hessians, multiplier=1e-6)
        for op in network.graph.layers:
            network.weight(op.name).growth.data.fill_(growth)
        network.growth.data.fill_(growth)
        network.keep_within_reach()
        as_model(model, network)  # checks it


def test_features_count_the_nats_that_their_errors_stand_for(model: Model, pixels: Pixels) -> None:
    known = prepare(model, pixels)
    network = round_network(known.network, known.scales, known.hessians, multiplier=1e-5)
    importance = {name: hessian.importance for name, hessian in known.hessians.items()}
    mine: dict[str, torch.Tensor] = {}
    given: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        network(known.images[:4], mine)
        known.network(known.images[:4], given)
    total = 0.0
    for index, op in enumerate(network.graph.ops):
        if isinstance(op, Conv | Linear):
            scale = network.scales[index + 1]
            wanted = given[op.name].double().numpy()
            if not scale.wide:
                wanted = np.clip(
                    wanted, -scale.zero * scale.step, ((510 if scale.nine_bit else 255) - scale.zero) * scale.step
                )
            error = mine[op.name].double().numpy() * scale.step - wanted
            places = error.size / error.shape[1]
            total += importance[op.name] / 2 * (error**2).sum() / places
    found = float(feature_loss(network, mine, given, importance))
    assert found == pytest.approx(total / len(network.graph.layers), rel=1e-4)
    assert found > 0


def test_another_teacher_is_imitated(pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    model = from_module(vgg().eval(), PREPARATION, tuple("abcde"), {})
    learning = Learning(epochs=8, batch_size=18, lr=0.003)
    preferred = []
    for wanted in (1, 3):
        asked = []

        def teacher(x: torch.Tensor, wanted: int = wanted, asked: list[int] = asked) -> torch.Tensor:
            asked.append(len(x))
            return 9 * torch.eye(5, device=x.device)[wanted].expand(len(x), -1)

        loaded = argparse.Namespace(answer=teacher)
        monkeypatch.setattr("squeezenet.compression.squeeze.goals.load_teacher", lambda *about, it=loaded: it)
        recipe = CompressionRecipe(max_bytes=model.float32_bytes // 3, teacher="another", learning=learning)
        squeezed = compress(model, pixels, recipe).model
        assert sum(asked) > 8 * 54  # learned from; others are judged by
        preferred.append(runner(squeezed)(prepared(pixels)).mean(0))
    assert preferred[0][1] > preferred[1][1]
    assert preferred[0][3] < preferred[1][3]


def test_a_step_of_learning_stays_on_its_device(model: Model, pixels: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without memory stand for those of a GPU: an operation that also got one of the CPU is refused."""
    known, device = prepare(model, pixels), torch.device("meta")
    network = round_network(known.network, known.scales, known.hessians, multiplier=1e-6)
    network.growth.requires_grad_(True)
    none = [0] * len(network.growth)
    monkeypatch.setattr(IntegerNetwork, "_whole_growth", lambda network: none)  # there is nothing to read there
    network.on(device)
    assert network.dtype == torch.float32
    how = Augmentation(pad=2, rotate=3, light=0.1, erase=3)
    teaching = Teaching(pixels, PREPARATION, "both", teacher_of(known.network).to(device), how, device)
    optimizer = torch.optim.Adam(network.parameters())
    chosen = torch.arange(4)
    images = prepared_batch(teaching, chosen, draw(4, torch.Generator().manual_seed(0)))
    seen: dict[str, torch.Tensor] = {}
    loss_of(network(images, seen), teaching, chosen, answers_of(teaching, images)).backward()
    for op in network.graph.layers:
        steps = network.weight(op.name).steps()
        steps.backward(0.1 * rate_gradient(steps.detach(), torch.empty(128, device=device)))
        assert seen[op.name].device == device
    optimizer.step()
    assert all(p.device == device and p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_sums_are_exact_on_every_device(model: Model, pixels: Pixels, device: str) -> None:
    known = prepare(model, pixels)
    network = round_network(known.network, known.scales, known.hessians, multiplier=1e-9).on(torch.device(device))
    largest = 0.0
    network.dtype = torch.float32
    values = [network.enter(known.images.to(device))]
    with torch.no_grad():
        for op in network.graph.ops:
            operands = [values[i] for i in op.inputs]
            if isinstance(op, Conv | Linear):
                x, weight = operands[0].double().cpu(), network.weight(op.name)().double().cpu()
                if isinstance(op, Linear):
                    wanted = F.linear(x, weight)
                else:
                    wanted = F.conv2d(x, weight, None, op.stride, op.padding, groups=op.groups)
                assert torch.equal(network.sums(op, operands[0]).double().cpu(), wanted)
                largest = max(largest, float(wanted.abs().max()))
            values.append(network.apply_op(op, operands))
    assert largest > 2048  # more than TF32 and bfloat16 can hold


def test_squeezing_learns_on_the_gpu_where_there_is_one(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    module = "squeezenet.compression.run"
    monkeypatch.setattr(f"{module}.squeeze", lambda model, pixels, recipe, device, *rest: seen.append(device))
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        compress(model, None, CompressionRecipe())
    assert seen == [torch.device("cpu"), torch.device("cuda")]


@pytest.mark.parametrize("how", [{}, {"step_lr": 0.02}, {"features": 1.0}], ids=["answers", "steps", "features"])
def test_learning_brings_back_what_was_lost(model: Model, pixels: Pixels, how: dict[str, float]) -> None:
    known = prepare(model, pixels)
    network, _ = round_to_size(model, known, 500 + model.float32_bytes / 6)
    for op in network.graph.layers:
        values = network.weight(op.name).values.data
        values[torch.rand(values.shape, generator=torch.Generator().manual_seed(0)) < 0.2] = 0
    teaching = Teaching(pixels, PREPARATION, "distill", teacher_of(known.network), NO_AUGMENTATION)

    def divergence(net: nn.Module) -> float:
        with torch.no_grad():
            x = known.images
            p, q = known.network(x).log_softmax(1), net(x).log_softmax(1)
            return float((p.exp() * (p - q)).sum(1).mean())

    before = divergence(network)
    importance = {name: hessian.importance for name, hessian in known.hessians.items()}
    learning = Learning(epochs=15, batch_size=20, lr=0.05, **how)
    learn(network, teaching, learning, goal_bits=1e9, multiplier=0.0, importance=importance)
    assert divergence(network) < 0.8 * before


class Stop(Exception):
    """Ends a run from its callback."""


def test_fine_tuning_stays_on_its_device_and_does_not_wait_for_the_loss(model: Model, pixels: Pixels) -> None:
    """Tensors without memory stand for those of a GPU: who reads the loss of a step, or leaves the device, fails."""
    network, taken = from_model(model), []
    augmentation, device = Augmentation(pad=2, rotate=3), torch.device("meta")
    teaching = Teaching(pixels, PREPARATION, "both", teacher_of(network).to(device), augmentation, device)

    def tick(loss: float) -> None:
        taken.append(loss)
        if len(taken) == 5:
            raise Stop

    with pytest.raises(Stop):
        fine_tune(network, teaching, Retraining(epochs=10), tick=tick)
    assert all(p.device == device and p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_fine_tuning_that_was_stopped_goes_on(model: Model, pixels: Pixels, tmp_path: Path, device: str) -> None:
    teaching = Teaching(pixels, PREPARATION, "labels", None, Augmentation(pad=2, rotate=3), torch.device(device))
    how = Retraining(epochs=3, batch_size=11, lr=1e-3)

    def tuned(
        seed: int = 0, tick: Callable[[float], object] = lambda loss: None, folder: Path | None = None
    ) -> dict[str, torch.Tensor]:
        network = from_model(model)
        fine_tune(network, teaching, how, seed, tick, folder)
        assert {p.device.type for p in network.parameters()} == {"cpu"}
        return network.state_dict()

    losses: list[float] = []

    def stop(loss: float) -> None:
        losses.append(loss)
        if len(losses) == 8:
            signal.raise_signal(signal.SIGTERM)

    whole = tuned()
    with pytest.raises(KeyboardInterrupt, match="interrupted after step 9 of 16; the same command goes on from there"):
        tuned(tick=stop, folder=tmp_path)
    again = tuned(tick=losses.append, folder=tmp_path)
    assert len(losses) == 8 + 16 - 9  # the step that was interrupted was finished, and taken once
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    other = tuned(seed=1, folder=tmp_path)  # what is left there is of no use
    assert all(torch.equal(other[name], tensor) for name, tensor in tuned(seed=1).items())


def test_learning_that_was_stopped_goes_on(model: Model, pixels: Pixels, tmp_path) -> None:
    known = prepare(model, pixels)
    teaching = Teaching(pixels, PREPARATION, "distill", teacher_of(known.network), NO_AUGMENTATION)
    learning = Learning(epochs=6, batch_size=20, step_lr=0.01)

    def fresh() -> IntegerNetwork:
        return round_network(known.network, known.scales, known.hessians, multiplier=1e-4)

    whole, parts = fresh(), fresh()
    learn(whole, teaching, learning, 5000.0, 1e-4)

    told: list[float] = []

    def stop(done: float, loss: float, bits: float) -> None:
        told.append(done)
        if len(told) == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        learn(parts, teaching, learning, 5000.0, 1e-4, stop, tmp_path)
    again = fresh()
    learn(again, teaching, learning, 5000.0, 1e-4, checkpoints=tmp_path)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    other, alone = fresh(), fresh()  # to another size: what is left there is of no use
    learn(other, teaching, learning, 4000.0, 1e-4, checkpoints=tmp_path)
    learn(alone, teaching, learning, 4000.0, 1e-4)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_a_search_for_the_smallest_that_was_stopped_goes_on(pixels: Pixels, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = vgg().eval()
    model = from_module(module, PREPARATION, tuple("abcde"), {})
    sizes: list[float] = []

    def round_and_count(model: Model, known: Prepared, size: float, tick: object) -> tuple[IntegerNetwork, float]:
        """Once, not until the size is met: what is too much is trimmed away."""
        sizes.append(size)
        return round_network(known.network, known.scales, known.hessians, multiplier=1e-9), 0.0

    def agreement(tried: Model, data: bytes) -> float:
        return 100.0 if not data or len(data) > model.float32_bytes / 13 else 0.0

    def stopped(tried: Model, data: bytes) -> float:
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return agreement(tried, data)

    squeeze = partial(goals.squeeze, model, pixels, device=CPU, rounding=round_and_count)
    recipe = CompressionRecipe(max_loss=20.0)
    whole = squeeze(recipe, judge=agreement)
    all_sizes = set(sizes)
    sizes.clear()
    with pytest.raises(KeyboardInterrupt):
        squeeze(recipe, judge=stopped, work=tmp_path)
    done = set(sizes)
    sizes.clear()
    again = squeeze(recipe, judge=agreement, work=tmp_path)
    assert again.data == whole.data
    assert len(done) == 2
    assert set(sizes) == all_sizes - done
    sizes.clear()
    squeeze(replace(recipe, seed=1), judge=agreement, work=tmp_path)
    assert len(sizes) > 0  # what another run left is not taken
