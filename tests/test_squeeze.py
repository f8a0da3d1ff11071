"""Integer networks: what they compute, how they are made, and that a file of the wanted size comes out."""

import signal
from binascii import crc32
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from squeezenet import sqz
from squeezenet.compression.finetune import NO_AUGMENTATION, Teaching, teacher_of
from squeezenet.compression.squeeze import Learning, Squeezing, squeeze
from squeezenet.compression.squeeze.features import feature_loss
from squeezenet.compression.squeeze.learning import learn
from squeezenet.compression.squeeze.network import GridWeight, IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.rounding import round_network
from squeezenet.compression.squeeze.to_size import Prepared, as_model, prepare, round_to_size
from squeezenet.data import Pixels
from squeezenet.errors import BadGraph, FormatError, ModelError, UsageError
from squeezenet.fixed_point import ROOTS, Scale, factor, fraction, requantise, step
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, ReLU
from squeezenet.model import Grid, Model
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.run import NUMPY, runner
from squeezenet.training.start import scale_start

SIDE = 12
PREPARATION = Preparation(SIDE, SIDE, "stretch", "RGB", (120.0, 110.0, 100.0), (60.0, 60.0, 62.0))


def conv(inside: int, out: int, kernel: int = 3, **options: int) -> nn.Sequential:
    layer = nn.Conv2d(inside, out, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(out), nn.ReLU())


class Residual(nn.Module):
    """A stem, a residual block whose sum is of two signed values, a mean over all positions, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = conv(3, 8), conv(8, 8)
        self.outer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.side = nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.outer(self.inner(x)) + self.side(x))
        return self.last(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


def squeezenet() -> nn.Module:
    return create_seeded("squeezenet_32", 0, base_e=16, incr_e=8, sr=0.5, fires=3, classes=5, bypass="complex")


def vgg() -> nn.Module:
    head = [nn.Flatten(), nn.Linear(16 * 9, 12), nn.ReLU(), nn.Linear(12, 5)]
    return nn.Sequential(conv(3, 8), nn.MaxPool2d(2), conv(8, 16), nn.AvgPool2d(2), *head)


def depthwise() -> nn.Module:
    thin = nn.Sequential(nn.Conv2d(16, 12, 1, bias=False), nn.BatchNorm2d(12))  # no ReLU: signed
    body = [conv(3, 8, stride=2), conv(8, 8, groups=8), conv(8, 16, 1), thin, nn.ReLU6(), nn.Conv2d(12, 5, 1)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "squeezenet": squeezenet, "vgg": vgg, "residual": Residual, "depthwise": depthwise,
}  # fmt: skip


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """Smooth coloured noise, and five classes that a network can tell apart."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 60)
    coarse = (
        random.uniform(0, 90, (60, 3, 3, 3)) + 40 * (labels[:, None, None, None] % 3) + 15 * labels[:, None, None, None]
    )
    images = np.clip(coarse.repeat(4, 2).repeat(4, 3) + random.normal(0, 8, (60, 3, SIDE, SIDE)), 0, 255)
    return Pixels(images.astype(np.uint8), labels.astype(np.int64), np.arange(60))


@pytest.fixture(scope="module", params=list(NETWORKS))
def model(request: pytest.FixtureRequest, pixels: Pixels) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NETWORKS[request.param]()
        for layer in module.modules():  # statistics that are not the identity
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
        scale_start(module, torch.from_numpy(prepared(pixels)))
        last = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
        last.weight.data *= 10  # answers that differ from image to image
    return from_module(module.eval(), PREPARATION, tuple("abcde"), {})


@pytest.fixture(scope="module")
def rounded(model: Model, pixels: Pixels) -> Model:
    return squeeze(model, pixels, Squeezing(max_bytes=model.float32_bytes, learning=Learning(epochs=0)))


def prepared(pixels: Pixels) -> np.ndarray:
    return normalise(pixels.images, PREPARATION)


def by_the_book(model: Model, image: np.ndarray) -> list[float]:
    """docs/FORMAT.md, "Integer networks", with loops and Python's own integers."""
    scales, shapes = model.scales, model.graph.shapes()
    first = scales[0]
    constant = np.float32(step(-first.exponent))
    x0 = [[[min(max(int(np.rint(p * constant)), -first.zero), 255 - first.zero) for p in r] for r in c] for c in image]
    values = [np.array(x0, object)]

    def clip(n: int, scale: Scale) -> int:
        low, high = (-(2**24) + 1, 2**24 - 1) if scale.wide else (-scale.zero, 255 - scale.zero)
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
                drop = scale.exponent - scales[op.inputs[0]].exponent - int(held.weight.exponents[c])
                octaves, eighths = divmod(-drop, 8)
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


def test_a_grid_that_grew_ships_as_it_was_trained(model: Model, pixels: Pixels) -> None:
    known = prepare(model, pixels)
    network = round_network(known.network, known.scales, known.curvature, trade=1e-6)
    network.dtype = torch.float32
    for op in network.graph.layers:
        network.weight(op.name).growth.data.fill_(3.4)
    network.growth.data.fill_(4.6)
    images = prepared(pixels)
    trained, shipped = network(torch.from_numpy(images)).detach().numpy(), runner(as_model(model, network))(images)
    assert np.abs(trained - shipped).max() < 0.05 * np.abs(shipped).max()
    before = round_network(known.network, known.scales, known.curvature, trade=1e-6)
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
    network = round_network(known.network, known.scales, known.curvature, trade=1e-6)
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
        network = round_network(known.network, known.scales, known.curvature, trade=1e-6)
        for op in network.graph.layers:
            network.weight(op.name).growth.data.fill_(growth)
        network.growth.data.fill_(growth)
        network.keep_within_reach()
        as_model(model, network)  # checks it


def test_features_count_the_nats_that_their_errors_stand_for(model: Model, pixels: Pixels) -> None:
    known = prepare(model, pixels)
    network = round_network(known.network, known.scales, known.curvature, trade=1e-5)
    importance = {name: curvature.importance for name, curvature in known.curvature.items()}
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
                wanted = np.clip(wanted, -scale.zero * scale.step, (255 - scale.zero) * scale.step)
            error = mine[op.name].double().numpy() * scale.step - wanted
            places = error.size / error.shape[1]
            total += importance[op.name] / 2 * (error**2).sum() / places
    found = float(feature_loss(network, mine, given, importance))
    assert found == pytest.approx(total / len(network.graph.layers), rel=1e-4)
    assert found > 0


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
        squeezed = squeeze(model, pixels, Squeezing(max_bytes=goal, learning=learning))
        assert 0.7 * goal < len(sqz.encode(squeezed)) <= goal


def test_another_teacher_is_imitated(pixels: Pixels) -> None:
    model = from_module(vgg().eval(), PREPARATION, tuple("abcde"), {})
    learning = Learning(epochs=4, batch_size=20, lr=0.05)
    preferred = []
    for wanted in (1, 3):
        asked = []

        def teacher(x: torch.Tensor, wanted: int = wanted, asked: list[int] = asked) -> torch.Tensor:
            asked.append(len(x))
            return 9 * torch.eye(5)[wanted].expand(len(x), -1)

        squeezed = squeeze(model, pixels, Squeezing(model.float32_bytes // 3, learning=learning, teacher=teacher))
        assert sum(asked) == 4 * len(pixels)
        preferred.append(runner(squeezed)(prepared(pixels)).mean(0))
    assert preferred[0][1] > preferred[1][1]
    assert preferred[0][3] < preferred[1][3]


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
    importance = {name: curvature.importance for name, curvature in known.curvature.items()}
    learning = Learning(epochs=15, batch_size=20, lr=0.05, **how)
    learn(network, teaching, learning, goal_bits=1e9, trade=0.0, importance=importance)
    assert divergence(network) < 0.8 * before


def test_without_images_it_is_calibrated_on_made_up_ones(model: Model, pixels: Pixels) -> None:
    squeezed = squeeze(model, None, Squeezing(max_bytes=500 + model.float32_bytes // 4))
    images = prepared(pixels)
    exact, whole = runner(model)(images), runner(squeezed)(images)
    assert np.corrcoef(exact.ravel(), whole.ravel())[0, 1] > 0.9


def test_learning_that_was_stopped_goes_on(model: Model, pixels: Pixels, tmp_path) -> None:
    known = prepare(model, pixels)
    teaching = Teaching(pixels, PREPARATION, "distill", teacher_of(known.network), NO_AUGMENTATION)
    learning = Learning(epochs=6, batch_size=20, step_lr=0.01)

    def fresh() -> IntegerNetwork:
        return round_network(known.network, known.scales, known.curvature, trade=1e-4)

    whole, parts = fresh(), fresh()
    learn(whole, teaching, learning, 5000.0, 1e-4)

    def stop(progress: object) -> None:
        if progress.step == 7:
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


def test_a_search_for_the_smallest_that_was_stopped_goes_on(
    pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = vgg().eval()
    model = from_module(module, PREPARATION, tuple("abcde"), {})
    sizes: list[float] = []

    def round_and_count(model: Model, known: Prepared, size: float) -> tuple[IntegerNetwork, float]:
        """Once, not until the size is met: what is too much is trimmed away."""
        sizes.append(size)
        return round_network(known.network, known.scales, known.curvature, trade=1e-9), 0.0

    def agreement(tried: Model) -> float:
        return 100.0 if len(sqz.encode(tried)) > model.float32_bytes / 12 else 0.0

    def stopped(tried: Model) -> float:
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return agreement(tried)

    monkeypatch.setattr("squeezenet.compression.squeeze.pipeline.round_to_size", round_and_count)
    settings = Squeezing(max_loss=20.0)
    whole = squeeze(model, pixels, settings, agreement)
    all_sizes = set(sizes)
    sizes.clear()
    with pytest.raises(KeyboardInterrupt):
        squeeze(model, pixels, settings, stopped, work=tmp_path)
    done = set(sizes)
    sizes.clear()
    again = squeeze(model, pixels, settings, agreement, work=tmp_path)
    assert sqz.encode(again) == sqz.encode(whole)
    assert len(done) == 2
    assert set(sizes) == all_sizes - done
    sizes.clear()
    squeeze(model, pixels, replace(settings, seed=1), agreement, work=tmp_path)
    assert len(sizes) > 0  # what another run left is not taken


def test_what_has_no_integer_form_is_refused_by_name(pixels: Pixels) -> None:
    module = nn.Sequential(conv(3, 8), nn.LocalResponseNorm(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    with pytest.raises(BadGraph, match="local response normalisation"):
        squeeze(from_module(module.eval(), PREPARATION, tuple("abcde"), {}), pixels, Squeezing())


def test_impossible_sizes_are_refused(model: Model, pixels: Pixels) -> None:
    with pytest.raises(UsageError, match="allow more"):
        squeeze(model, pixels, Squeezing(max_bytes=50))
    with pytest.raises(UsageError, match="max-loss"):
        squeeze(model, None, Squeezing(max_loss=0.5))


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
        _kept.append(sqz.encode(squeeze(model, None, Squeezing(max_bytes=model.float32_bytes // 6))))
    return _kept[0]


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-80, 200), st.integers(-(2**22), 2**22))
def test_requantising_is_a_product_to_nearest(total: int, drop: int, bias: int) -> None:
    found = int(requantise(np.array([total]), drop, bias)[0])
    exact = total * 2 ** (-drop / 8) + bias / 16
    assert abs(found - exact) <= 0.5 + abs(total) * 2 ** (-drop / 8) * 2**-15
    multiplier, shift = factor(drop)
    assert 2**15 <= multiplier < 2**16
    assert 5 <= shift <= 40
