"""SqueezeNet (arXiv 1602.07360): Fire modules, the whole network, both bypasses, and the metaparameters of section 5.

    >>> sum(p.numel() for p in SqueezeNet().parameters())
    1248424

The keys of the state dict are torchvision's, so its published weights of `squeezenet1_0` and `squeezenet1_1` load.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from squeezenet.architectures import Bypass, Metaparameters, Norm


@dataclass(frozen=True)
class _Stem:
    conv1: tuple[int, int, int, int]  # filters at base_e = 128, kernel, stride, padding
    pools: tuple[int, ...]  # a 3x3/2 max-pool follows these layers: 1 = conv1, 2 = fire2, ...


STEMS: dict[str, _Stem] = {
    "v1.0": _Stem((96, 7, 2, 0), (1, 4, 8)),
    "v1.1": _Stem((64, 3, 2, 0), (1, 3, 5)),  # the authors' second release: 2.4x less computation
    # Small images keep more resolution, so that fire9 still has 4x4 positions.
    "32": _Stem((64, 3, 1, 1), (1, 4, 8)),
    "32 v1.1": _Stem((64, 3, 1, 1), (1, 3, 5)),
    "32 late": _Stem((64, 3, 1, 1), (3, 5, 8)),  # fire2 and fire3 see all pixels: more work, fewer parameters needed
    "64": _Stem((64, 3, 2, 1), (1, 4, 8)),
    "64 v1.1": _Stem((64, 3, 2, 1), (1, 3, 5)),
}


def _activation(channels: int, norm: Norm) -> nn.Module:
    """The modules after a convolution. Without normalisation they have no weights, and the keys are torchvision's."""
    relu = nn.ReLU(inplace=True)
    return relu if norm == "none" else nn.Sequential(nn.BatchNorm2d(channels), relu)


class Fire(nn.Module):
    """Squeeze with 1x1 filters, expand with 1x1 and 3x3 filters, concatenate (section 3.2).

    (N, in, H, W) -> (N, e1x1 + e3x3, H, W). `bypass="simple"` adds the input to the output, which must have
    as many channels; `"complex"` adds a 1x1 convolution of the input (section 6).
    """

    def __init__(
        self, in_channels: int, s1x1: int, e1x1: int, e3x3: int, bypass: Bypass = "none", norm: Norm = "none"
    ) -> None:
        super().__init__()
        if bypass == "simple" and in_channels != e1x1 + e3x3:
            raise ValueError(f"a simple bypass needs {in_channels} channels out, not {e1x1 + e3x3}")
        biased = norm == "none"
        self.squeeze = nn.Conv2d(in_channels, s1x1, 1, bias=biased)
        self.squeeze_activation = _activation(s1x1, norm)
        self.expand1x1 = nn.Conv2d(s1x1, e1x1, 1, bias=biased)
        self.expand1x1_activation = _activation(e1x1, norm)
        self.expand3x3 = nn.Conv2d(s1x1, e3x3, 3, padding=1, bias=biased)
        self.expand3x3_activation = _activation(e3x3, norm)
        self.has_bypass = bypass != "none"
        self.bypass = nn.Conv2d(in_channels, e1x1 + e3x3, 1) if bypass == "complex" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        s = self.squeeze_activation(self.squeeze(x))  # (N, s1x1, H, W)
        e1 = self.expand1x1_activation(self.expand1x1(s))
        e3 = self.expand3x3_activation(self.expand3x3(s))
        expanded = torch.cat([e1, e3], 1)
        return expanded + self.bypass(x) if self.has_bypass else expanded


class SqueezeNet(nn.Module):
    """conv1, eight Fire modules with three max-pools between them, conv10, global average pool (table 1).

    (N, 3, H, W) -> (N, classes) logits.
    """

    def __init__(self, meta: Metaparameters | None = None) -> None:
        super().__init__()
        self.meta = meta = meta or Metaparameters()
        stem = STEMS[meta.stem]
        filters, kernel, stride, padding = stem.conv1
        # The stem is as wide in proportion: 96 (64) filters belong to base_e = 128.
        filters = max(round(filters * meta.base_e / 128), 4)
        features: list[nn.Module] = [
            nn.Conv2d(meta.in_channels, filters, kernel, stride, padding, bias=meta.norm == "none"),
            _activation(filters, meta.norm),  # v1.0: (N, 96, 111, 111)
        ]
        pool: dict[str, Any] = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
        if 1 in stem.pools:
            features.append(nn.MaxPool2d(**pool))  # (N, 96, 55, 55)
        channels = filters
        for i, (s1x1, e1x1, e3x3) in enumerate(meta.fire_widths()):
            features.append(Fire(channels, s1x1, e1x1, e3x3, self._bypass(channels, e1x1 + e3x3), meta.norm))
            channels = e1x1 + e3x3
            if i + 2 in stem.pools and i + 1 < meta.fires:
                features.append(nn.MaxPool2d(**pool))  # (N, 256, 27, 27) after fire4, (N, 512, 13, 13) after fire8
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(
            nn.Dropout(meta.dropout),
            nn.Conv2d(channels, meta.classes, 1),  # conv10: (N, 1000, 13, 13)
            # The paper's ReLU on logits is of no use with normalisation, and can make a class always 0.
            nn.ReLU(inplace=True) if meta.norm == "none" else nn.Identity(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.initialise()

    def _bypass(self, channels_in: int, channels_out: int) -> Bypass:
        """Table 3: an identity if input and output have as many channels; "complex" has a convolution elsewhere."""
        if self.meta.bypass == "none":
            return "none"
        if channels_in == channels_out:
            return "simple"
        return "complex" if self.meta.bypass == "complex" else "none"

    def initialise(self) -> None:
        """Xavier everywhere, a gaussian of 0.01 for conv10, zero biases (the released prototxts)."""
        conv10 = self.classifier[1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if module is conv10:
                    nn.init.normal_(module.weight, std=0.01)
                else:
                    # Caffe's "xavier": uniform within sqrt(3 / fan_in); PyTorch's own averages fan in and fan out.
                    nn.init.kaiming_uniform_(module.weight, nonlinearity="linear")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)
