"""Turns an image into the input of a network: one function for training, evaluation and classification.

>>> from squeezenet.preparation import Preparation
>>> prepare(Image.new("RGB", (640, 480)), Preparation.imagenet_caffe()).shape
(3, 227, 227)

A classification in the C engine does not import NumPy: only functions that return arrays do.
"""

import struct
from math import ceil
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from PIL import Image

from squeezenet.limits import IMAGE_AREA, IMAGE_SIDE
from squeezenet.runtime.decoding import FORMATS, SUFFIXES, ImageSource, open_image

try:
    from squeezenet import _engine
except ImportError:  # there was no compiler
    HAS_ENGINE = False
else:
    HAS_ENGINE = True

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezenet.preparation import Preparation

__all__ = [
    "FORMATS",
    "SUFFIXES",
    "Framing",
    "ImageSource",
    "cut",
    "normalise",
    "open_image",
    "pixels",
    "prepare",
    "resized",
]

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


class Framing(NamedTuple):
    """The part of a `Preparation` that comes before normalising: resizing, cropping and the order of channels."""

    resized: tuple[int, int]  # (height, width), as `cropped`
    cropped: tuple[int, int]
    fit: str
    channels: str


def cut(image: Image.Image, preparation: "Preparation | Framing") -> Image.Image:
    """The centre of an image from `open_image`, resized and cropped, RGB or L."""
    if not HAS_ENGINE:
        return cut_by_pillow(image, preparation)
    tall, wide = preparation.cropped
    return Image.frombytes("L" if preparation.channels == "L" else "RGB", (wide, tall), cut_bytes(image, preparation))


def cut_bytes(image: Image.Image, preparation: "Preparation | Framing") -> bytes:
    """The pixels of `cut`, from top to bottom, in the order R G B. They are resized in the engine."""
    raw, samples = ("L", 1) if image.mode == "L" else ("RGBX", 4)  # as Pillow stores them: copied, not converted
    return _engine.resize(
        preparation.resized, preparation.cropped, preparation.fit == "shorter", preparation.channels == "L",
        image.width, image.height, samples, lambda part: image.crop(part).tobytes("raw", raw),
    )  # fmt: skip


def cut_by_pillow(image: Image.Image, preparation: "Preparation | Framing") -> Image.Image:
    """The same pixels as from `cut`, for where there is no engine."""
    if preparation.channels == "L" and image.mode != "L":
        image = image.convert("L")
    width, height = resized(image.size, preparation)
    tall, wide = preparation.cropped
    left, top = round((width - wide) / 2), round((height - tall) / 2)
    # Crop and resize in one step: the pixels are the same, and very long images do not need more memory.
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, min((left + wide) * x, image.width), min((top + tall) * y, image.height))
    part = _resize(*_shortened(image, wide, tall, box), wide, tall)
    return part if preparation.channels == "L" else part.convert("RGB")  # conversion last: same pixels


def _shortened(image: Image.Image, wide: int, tall: int, box: Box) -> tuple[Image.Image, Box]:
    """The image and the box. Sides that are too long for the memory of resizing are first reduced by averaging."""
    left, top, right, bottom = box
    across = max(1, ceil((right - left) / max(2 * wide, min(IMAGE_SIDE, IMAGE_AREA // tall))))
    down = max(1, ceil((bottom - top) / max(2 * tall, min(IMAGE_SIDE, IMAGE_AREA // wide))))
    if across == down == 1:
        return image, box
    x, y = int(left), int(top)
    image = image.reduce((across, down), (x, y, ceil(right), ceil(bottom)))
    return image, (
        (left - x) / across,
        (top - y) / down,
        min((right - x) / across, image.width),
        min((bottom - y) / down, image.height),
    )


def _resize(image: Image.Image, box: Box, wide: int, tall: int) -> Image.Image:
    """A box of an image, resized (bilinear, antialiased): rows first, rounded to 8 bits, then columns.

    Each pass is one call of Pillow. In one call for both, Pillow 13 may begin with columns, and some pixels differ by 1
    from older versions. Each pass alone gives the same bits in all versions (`benchmarks/pillow_bits.py`).
    """
    left, top, right, bottom = struct.unpack("4f", struct.pack("4f", *box))  # Pillow rounds the box to float32, too
    reach = max(1.0, (bottom - top) / tall) + 1  # rows that one row of the result depends on, and one more
    first, last = max(0, int(top - reach)), min(image.height, int(bottom + reach) + 1)
    rows = image.resize((wide, last - first), Image.Resampling.BILINEAR, box=(left, first, right, last))
    return rows.resize((wide, tall), Image.Resampling.BILINEAR, box=(0, top - first, wide, bottom - first))


def pixels(image: Image.Image, preparation: "Preparation") -> "NDArray[np.uint8]":
    """The centre of an image from `open_image`: (channels, height, width), 0 to 255, in the preparation's order."""
    import numpy as np

    array = np.asarray(cut(image, preparation))
    if preparation.channels == "L":
        return array[None]
    if preparation.channels == "BGR":
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def resized(size: tuple[int, int], preparation: "Preparation | Framing") -> tuple[int, int]:
    """The (width, height) to which an image of `size` is resized before the crop."""
    (width, height), (tall, wide) = size, preparation.resized
    if preparation.fit == "stretch":
        return wide, tall
    if tall * width >= wide * height:  # the factor that makes the image `tall` makes it wide enough
        return width * tall // height, tall
    return wide, height * wide // width


def normalise(array: "NDArray[np.uint8]", preparation: "Preparation") -> "NDArray[np.float32]":
    """(pixel - mean) / std in float32; any number of images, channels third from last."""
    import numpy as np

    mean = np.asarray(preparation.mean, np.float32)[:, None, None]
    std = np.asarray(preparation.std, np.float32)[:, None, None]
    result = array.astype(np.float32)  # no other copy is made, since a batch can be large
    result -= mean
    result /= std
    return result


def prepare(source: ImageSource, preparation: "Preparation") -> "NDArray[np.float32]":
    """The input of a network: float32 (channels, height, width). Raises `ImageError`."""
    return normalise(pixels(open_image(source), preparation), preparation)
