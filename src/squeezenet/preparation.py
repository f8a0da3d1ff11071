"""How an image becomes the input of a network. Training, the file and classification use the same `Preparation`.

    >>> Preparation.imagenet_caffe().crop
    227

Pixels are numbers from 0 to 255 and are not rescaled to [0, 1]: `(pixel - mean) / std`, per channel, in float32.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Fit = Literal["stretch", "shorter"]
Channels = Literal["RGB", "BGR", "L"]


@dataclass(frozen=True)
class Preparation:
    """Resize to `resize` pixels (bilinear, antialiased), cut the centre `crop` square, order channels, normalise.

    `fit="stretch"` resizes to `resize` x `resize`, whatever the aspect ratio was (as the paper does);
    `fit="shorter"` resizes the shorter side to `resize` and keeps the aspect ratio. `mean` and `std` have one entry per
    channel, in the order of `channels`, on the scale 0 to 255.
    """

    resize: int
    crop: int
    fit: Fit = "stretch"
    channels: Channels = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        count = len(self.channels)
        if len(self.mean) != count or len(self.std) != count:
            raise ValueError(f"{self.channels} needs {count} means and standard deviations")
        if not 1 <= self.crop <= self.resize:
            raise ValueError(f"a crop of {self.crop} does not fit into an image of {self.resize}")
        if any(not s > 0 for s in self.std):
            raise ValueError("standard deviations must be positive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the prepared image."""
        return len(self.channels), self.crop, self.crop

    @property
    def bytes(self) -> int:
        """Bytes of the image after cropping, one per pixel and channel."""
        return len(self.channels) * self.crop**2

    def to_dict(self) -> dict[str, Any]:
        """A dictionary for JSON; `from_dict` reads it."""
        return asdict(self)

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> "Preparation":
        """The preparation that `to_dict` wrote. Raises `ValueError` or `TypeError` for anything else."""
        return Preparation(**{**saved, "mean": tuple(saved["mean"]), "std": tuple(saved["std"])})

    @staticmethod
    def imagenet_caffe() -> "Preparation":
        """The preparation of the paper (released prototxts): 256 x 256, stretched, centre 227, BGR, mean subtracted."""
        return Preparation(256, 227, "stretch", "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))

    @staticmethod
    def imagenet_torchvision() -> "Preparation":
        """What torchvision's published ImageNet weights expect: shorter side 256, centre 224, RGB."""
        return Preparation(256, 224, "shorter", "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
