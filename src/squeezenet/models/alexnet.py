"""AlexNet as the paper counts it: two groups, local response normalisation, 60,965,224 parameters.

    >>> sum(p.numel() for p in AlexNet().parameters())
    60965224

Krizhevsky et al. 2012 in Caffe's `bvlc_alexnet` form: normalisation before pooling. torchvision's `alexnet` is
another network: `AlexNetOneTower`, after "One weird trick" (arXiv 1404.5997).
"""

import torch
from torch import Tensor, nn


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers. (N, in_channels, 227, 227) -> (N, classes) logits.

    `input_size` 32 or 64 gives conv1 and its pooling the stride that small images need; everything else is the same,
    except that fc6 reads what is left of the image.
    """

    def __init__(self, classes: int = 1000, in_channels: int = 3, input_size: int = 227) -> None:
        super().__init__()
        kernel, stride, padding = {227: (11, 4, 0), 64: (5, 2, 2), 32: (3, 1, 1)}[input_size]
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 96, kernel, stride, padding),  # conv1: (N, 96, 55, 55)
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            nn.MaxPool2d(3, 2),  # (N, 96, 27, 27)
            nn.Conv2d(96, 256, 5, padding=2, groups=2),  # conv2: (N, 256, 27, 27)
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            nn.MaxPool2d(3, 2),  # (N, 256, 13, 13)
            nn.Conv2d(256, 384, 3, padding=1),  # conv3
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),  # conv4
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),  # conv5
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),  # (N, 256, 6, 6)
        )
        side = {227: 6, 64: 3, 32: 3}[input_size]
        self.classifier = nn.Sequential(
            nn.Linear(256 * side * side, 4096),  # fc6
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),  # fc7
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, classes),  # fc8
        )
        self.initialise()

    def initialise(self) -> None:
        """Gaussians of 0.01 (0.005 for fc6 and fc7); biases 0, or 1 in conv2, conv4, conv5, fc6, fc7."""
        layers = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for number, layer in enumerate(layers, 1):
            nn.init.normal_(layer.weight, std=0.005 if number in (6, 7) else 0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, 1.0 if number in (2, 4, 5, 6, 7) else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return logits


class AlexNetOneTower(nn.Module):
    """torchvision's `alexnet`, key for key: no groups, no normalisation, 61,100,840 parameters.

    (N, in_channels, 224, 224) -> (N, classes) logits. At that size the adaptive pooling changes nothing and is not in
    the graph.
    """

    def __init__(self, classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, 4, 2),  # (N, 64, 55, 55)
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),  # (N, 64, 27, 27)
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),  # (N, 192, 13, 13)
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),  # (N, 256, 6, 6)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return logits
