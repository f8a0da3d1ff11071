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
    """The part of a `Preparation` that Pillow carries out: resizing, cropping and the order of channels."""

    resize: int
    crop: int
    fit: str
    channels: str


def cut(image: Image.Image, preparation: "Preparation | Framing") -> Image.Image:
    """The centre of an image from `open_image`, resized and cropped to crop x crop pixels, RGB or L."""
    if preparation.channels == "L" and image.mode != "L":
        image = image.convert("L")
    width, height = resized(image.size, preparation)
    crop = preparation.crop
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    # Crop and resize in one step: the pixels are the same, and very long images do not need more memory.
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, min((left + crop) * x, image.width), min((top + crop) * y, image.height))
    square = _resize(*_shortened(image, crop, box), crop)
    return square if preparation.channels == "L" else square.convert("RGB")  # conversion last: same pixels


def _shortened(image: Image.Image, side: int, box: Box) -> tuple[Image.Image, Box]:
    """The image and the box. Sides that are too long for the memory of resizing are first reduced by averaging."""
    longest = max(2 * side, min(IMAGE_SIDE, IMAGE_AREA // side))
    left, top, right, bottom = box
    across, down = (max(1, ceil(length / longest)) for length in (right - left, bottom - top))
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


def _resize(image: Image.Image, box: Box, side: int) -> Image.Image:
    """A box of an image, resized to a square (bilinear, antialiased): rows first, rounded to 8 bits, then columns.

    Each pass is one call of Pillow. In one call for both, Pillow 13 may begin with columns, and some pixels differ by 1
    from older versions. Each pass alone gives the same bits in all versions (`benchmarks/pillow_bits.py`).
    """
    left, top, right, bottom = struct.unpack("4f", struct.pack("4f", *box))  # Pillow rounds the box to float32, too
    reach = max(1.0, (bottom - top) / side) + 1  # rows that one row of the result depends on, and one more
    first, last = max(0, int(top - reach)), min(image.height, int(bottom + reach) + 1)
    rows = image.resize((side, last - first), Image.Resampling.BILINEAR, box=(left, first, right, last))
    return rows.resize((side, side), Image.Resampling.BILINEAR, box=(0, top - first, side, bottom - first))


def pixels(image: Image.Image, preparation: "Preparation") -> "NDArray[np.uint8]":
    """The centre of an image from `open_image`: (channels, crop, crop) from 0 to 255, in the preparation's order."""
    import numpy as np

    array = np.asarray(cut(image, preparation))
    if preparation.channels == "L":
        return array[None]
    if preparation.channels == "BGR":
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def resized(size: tuple[int, int], preparation: "Preparation | Framing") -> tuple[int, int]:
    """The (width, height) to which an image of `size` is resized before the crop."""
    if preparation.fit == "stretch":
        return preparation.resize, preparation.resize
    shorter = min(size)
    return size[0] * preparation.resize // shorter, size[1] * preparation.resize // shorter


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
    """The input of a network: float32 (channels, crop, crop). Raises `ImageError`."""
    return normalise(pixels(open_image(source), preparation), preparation)
