"""A small VGG (Simonyan and Zisserman, 1409.1556) with batch normalisation, for images of 32 x 32.

    >>> sum(p.numel() for p in Vgg(classes=10).parameters())
    1973186

Seven wide layers of 3x3 filters learn more per epoch than the eighteen narrow ones of a SqueezeNet of the same cost.
The widths are those of cifar10-airbench (Jordan 2024, 2404.00498).

    >>> sum(p.numel() for p in VggBypass(classes=10).parameters())
    3190850

With more epochs a deeper network learns more: three convolutions per stage, and a bypass around the last two.
"""

import torch
from torch import Tensor, nn

STEM = 24
FIRST = 64


class Vgg(nn.Module):
    """A stem, three stages of two convolutions and a max-pool each, and the maximum over all positions.

    (N, in_channels, 32, 32) -> (N, classes) logits.
    """

    def __init__(self, classes: int = 10, in_channels: int = 3, width: int = 256) -> None:
        super().__init__()
        layers = _convolution(in_channels, STEM)  # (N, 24, 32, 32)
        channels = STEM
        for out in (FIRST, width, width):
            layers += [
                *_convolution(channels, out),
                nn.MaxPool2d(2),  # (N, 64, 16, 16), (N, width, 8, 8), (N, width, 4, 4)
                *_convolution(out, out),
            ]
            channels = out
        self.features = nn.Sequential(*layers, nn.MaxPool2d(4))  # (N, width, 1, 1)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class VggBypass(nn.Module):
    """As `Vgg`, with a third convolution per stage and a bypass around the last two.

    (N, in_channels, 32, 32) -> (N, classes) logits. `widths` are those of the three stages.
    """

    def __init__(
        self, classes: int = 10, in_channels: int = 3, widths: tuple[int, int, int] = (FIRST, 256, 256)
    ) -> None:
        super().__init__()
        channels = (STEM, *widths)
        stages = [Stage(before, out) for before, out in zip(channels, widths, strict=False)]
        self.features = nn.Sequential(*_convolution(in_channels, STEM), *stages, nn.MaxPool2d(4))
        self.classifier = nn.Conv2d(widths[-1], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class Stage(nn.Module):
    """A convolution, a max-pool, two convolutions with a bypass: (N, in, H, W) -> (N, out, H / 2, W / 2)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(*_convolution(channels, out), nn.MaxPool2d(2))
        self.inner = nn.Sequential(*_convolution(out, out), *_convolution(out, out)[:-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.relu(self.inner(x) + x)


def _convolution(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
