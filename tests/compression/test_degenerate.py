"""Networks of which a part does nothing, or far more than the rest: they are written, and answer as before."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from squeezenet.compression import CompressionRecipe, compress
from squeezenet.data import Pixels
from squeezenet.formats.state_dict import from_module
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner

SIDE = 12
PREPARATION = Preparation(SIDE, SIDE, "stretch", "RGB", (120.0,) * 3, (60.0,) * 3)


class Residual(nn.Module):
    """A stem, a residual block, a mean over all positions, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.last = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.last(torch.relu(x + self.outer(torch.relu(self.inner(x)))).mean((2, 3)))


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    random = np.random.default_rng(0)
    coarse = random.uniform(0, 255, (64, 3, 3, 3)).repeat(4, 2).repeat(4, 3)
    images = np.clip(coarse + random.normal(0, 8, coarse.shape), 0, 255).astype(np.uint8)
    return Pixels(images, None, np.arange(64))


def correlation(module: nn.Module, pixels: Pixels) -> float:
    """That of the logits of the network and of the same as integers, both less their means."""
    model = from_module(module.eval(), PREPARATION, tuple("abcde"), {})
    squeezed = compress(model, pixels, CompressionRecipe(max_bytes=600 + model.float32_bytes // 4))
    images = (pixels.images.astype(np.float32) - 120) / 60
    exact, found = (logits - logits.mean(0) for logits in (runner(model)(images), runner(squeezed.model)(images)))
    return float((exact * found).sum() / np.sqrt((exact**2).sum() * (found**2).sum()))


def dead_branch(module: Residual) -> None:
    """As `zero_init_residual` leaves it; values that are always 0 have no scale of their own."""
    module.outer.weight.data.zero_()
    module.outer.bias.data.zero_()


def dead_layer(module: Residual) -> None:
    module.inner.bias.data.fill_(-1e4)


def cancelled_sum(module: Residual) -> None:
    """The sum is a ten thousandth of its summands, which have eight bits: it is written, no more."""
    for layer in (module.inner, module.outer):
        layer.bias.data.zero_()
    module.inner.weight.data.copy_(torch.eye(8)[:, :, None, None])
    module.outer.weight.data.copy_(-0.9999 * torch.eye(8)[:, :, None, None])
    module.last.weight.data *= 1e4


def cancelled_bias(module: Residual) -> None:
    """The inputs of the last layer, which hardly vary, cancel a bias that is a thousand times the logits."""
    module.stem.bias.data += 3
    module.last.weight.data -= 300
    module.last.bias.data += 300 * 8 * 3.5


@pytest.mark.parametrize(
    ("harm", "least"), [(dead_branch, 0.98), (dead_layer, 0.98), (cancelled_bias, 0.98), (cancelled_sum, -1)]
)
def test_what_is_dead_or_cancelled_is_written_and_answers_as_before(
    harm: Callable[[Residual], None], least: float, pixels: Pixels
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Residual()
        module.stem.weight.data *= 20
        module.last.weight.data *= 5
    harm(module)
    assert correlation(module, pixels) > least


def test_a_network_that_is_sure_of_every_image_is_squeezed(pixels: Pixels) -> None:
    """All probabilities are 0 or 1, so the Fisher information is 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Residual()
        module.stem.weight.data *= 20
        module.last.bias.data[0] += 1e3
    assert correlation(module, pixels) > 0.9


def test_a_network_smaller_than_its_names_is_squeezed_without_a_goal() -> None:
    body = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    names = tuple(f"a class with a long name {i}" for i in range(5))
    model = from_module(body.eval(), PREPARATION, names, {})
    assert len(compress(model, None, CompressionRecipe()).data) > model.float32_bytes


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)], ids=["group", "instance"])
def test_a_normalisation_of_the_whole_image_survives(norm: nn.Module, pixels: Pixels) -> None:
    """Its mean, its variance and the root of this are 8-bit values, too."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    assert correlation(nn.Sequential(*layers, nn.Linear(8, 5)), pixels) > 0.95
