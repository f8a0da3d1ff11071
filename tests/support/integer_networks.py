"""What the tests of integer networks share."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from squeezenet.data import Pixels
from squeezenet.formats.state_dict import from_module
from squeezenet.model import Model
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise
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


def coloured_noise() -> Pixels:
    """Smooth coloured noise, and five classes that a network can tell apart."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 60)
    coarse = (
        random.uniform(0, 90, (60, 3, 3, 3)) + 40 * (labels[:, None, None, None] % 3) + 15 * labels[:, None, None, None]
    )
    images = np.clip(coarse.repeat(4, 2).repeat(4, 3) + random.normal(0, 8, (60, 3, SIDE, SIDE)), 0, 255)
    return Pixels(images.astype(np.uint8), labels.astype(np.int64), np.arange(60))


def little_model(name: str, pixels: Pixels) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NETWORKS[name]()
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


def prepared(pixels: Pixels) -> np.ndarray:
    return normalise(pixels.images, PREPARATION)
