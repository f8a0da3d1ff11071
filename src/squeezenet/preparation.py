"""How an image becomes the input of a network. Training, the file and classification use the same `Preparation`.

    >>> Preparation.imagenet_caffe().crop
    227

Pixels are numbers from 0 to 255 and are not rescaled to [0, 1]: `(pixel - mean) / std`, per channel, in float32.

A `Size` is the number of pixels of both sides, or a pair (height, width), which is written as HEIGHTxWIDTH.

    >>> Preparation(size_of("48x192"), size_of("48x192")).shape, spelled((48, 192)), spelled(227)
    ((3, 48, 192), '48x192', '227')
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

Fit = Literal["stretch", "shorter"]
Channels = Literal["RGB", "BGR", "L"]
Size = int | tuple[int, int]


def size_of(text: str | int) -> Size:
    """The size that `spelled` writes. Raises `ValueError`."""
    match = re.fullmatch("([1-9][0-9]{0,8})(?:x([1-9][0-9]{0,8}))?", str(text), re.ASCII)
    if match is None:
        raise ValueError(f"{text}: a size is one number of pixels, or HEIGHTxWIDTH")
    height = int(match[1])
    width = int(match[2] or height)
    return height if height == width else (height, width)


def spelled(size: Size) -> str:
    """A size as people write it."""
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def sides_of(size: Size) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


@dataclass(frozen=True)
class Preparation:
    """Resize to `resize` pixels (bilinear, antialiased), cut the centre `crop`, order channels, normalise.

    `fit="stretch"` resizes to `resize`, whatever the aspect ratio was (as the paper does); `fit="shorter"` resizes to
    the smallest size that covers `resize` and keeps the aspect ratio: if `resize` is a square, this is the length of
    the shorter side. `mean` and `std` have one entry per channel, in the order of `channels`, on the scale 0 to 255.
    `resize` and `crop` are a pair (height, width) only if these differ; a text as "48x192" becomes a `Size`.
    """

    resize: Size
    crop: Size
    fit: Fit = "stretch"
    channels: Channels = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            size: Any = getattr(self, name)
            if isinstance(size, str):
                object.__setattr__(self, name, size_of(size))
            elif not isinstance(size, int):
                height, width = map(int, size)
                object.__setattr__(self, name, height if height == width else (height, width))
        count = len(self.channels)
        if len(self.mean) != count or len(self.std) != count:
            raise ValueError(f"{self.channels} needs {count} means and standard deviations")
        if not all(1 <= crop <= side for crop, side in zip(self.cropped, self.resized, strict=True)):
            raise ValueError(f"a crop of {spelled(self.crop)} does not fit into an image of {spelled(self.resize)}")
        if any(not s > 0 for s in self.std):
            raise ValueError("standard deviations must be positive")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the prepared image."""
        return len(self.channels), *self.cropped

    @property
    def resized(self) -> tuple[int, int]:
        """`resize` as (height, width)."""
        return sides_of(self.resize)

    @property
    def cropped(self) -> tuple[int, int]:
        """`crop` as (height, width)."""
        return sides_of(self.crop)

    @property
    def square(self) -> bool:
        """Whether height and width are equal, before and after cropping."""
        return isinstance(self.resize, int) and isinstance(self.crop, int)

    @property
    def bytes(self) -> int:
        """Bytes of the image after cropping, one per pixel and channel."""
        return prod(self.shape)

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
