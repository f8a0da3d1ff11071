"""Pixels of training images by the fastest way there is.

    >>> from PIL import Image
    >>> training_pixels(Image.new("RGB", (640, 480)), Preparation(32, 32)).shape
    (3, 32, 32)

JPEGs without surprises are decoded by simplejpeg (libjpeg-turbo, the library that Pillow uses, without its copies),
all else by Pillow; PyTorch resizes. Pixels are within 2 of `runtime.image.pixels`, in less than half of the time.
JPEGs of four times the size that is needed are decoded at a half of theirs or less, which moves pixels by a little
more. docs/adr/0006
"""

import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from squeezenet.data.examples import ImageSource
from squeezenet.files import read_regular
from squeezenet.limits import IMAGE_FILE
from squeezenet.preparation import Preparation
from squeezenet.runtime import image
from squeezenet.runtime.upright import orientation

try:
    import simplejpeg
except ImportError:  # training works without it, slower
    simplejpeg = None

SPARE = 2
"""Decoding leaves at least so many times the pixels a side that are needed: enough for the resize to choose from."""
LONGEST = 4
"""Sides of an image in this ratio or less; of longer ones most would be resized only to be cut away."""

MOST_PIXELS = 30_000_000
"""Pixels of images that are decoded and resized as a whole; of larger ones `runtime.image` knows how to save memory."""
SCANS = 100
"""Scans of a JPEG, each of which takes its own work; a progressive photograph has ten."""

_START_OF_SCAN = b"\xff\xda"
_APP1, _SCAN = 0xE1, 0xDA  # of JPEG: metadata, and where the pixels begin


def training_pixels(source: ImageSource, preparation: Preparation) -> NDArray[np.uint8]:
    """As `runtime.image.pixels` of `open_image`, faster: (channels, crop, crop). Raises `ImageError`."""
    fast = None if simplejpeg is None else _jpeg(source, preparation)
    if fast is None:
        opened = image.open_image(source)
        if _long(opened.width, opened.height) or opened.width * opened.height > MOST_PIXELS:
            return image.pixels(opened, preparation)
        fast = opened.size, _array(opened, preparation)
    size, array = fast
    wide, high = image.resized(size, preparation)
    pixels = torch.from_numpy(array)[None].permute(0, 3, 1, 2)  # (1, C, H, W), channels last: two thirds faster so
    if pixels.shape[2:] != (high, wide):
        pixels = F.interpolate(pixels, (high, wide), mode="bilinear", antialias=True)
    crop = preparation.crop
    top, left = round((high - crop) / 2), round((wide - crop) / 2)
    return pixels[0, :, top : top + crop, left : left + crop].numpy()


def _jpeg(source: ImageSource, preparation: Preparation) -> tuple[tuple[int, int], NDArray[np.uint8]] | None:
    """(width, height) and pixels, or a fraction of them, of a JPEG that is whole, upright, in the colours asked for."""
    try:
        data = read_regular(source, IMAGE_FILE) if isinstance(source, Path) else source
    except OSError:
        return None  # whoever opens it next says what is wrong
    if not isinstance(data, bytes) or not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        grey = preparation.channels == "L"
        if colours not in (("Gray",) if grey else ("Gray", "YCbCr", "RGB")) or not _plain(data, width, height):
            return None
        wide, high = image.resized((width, height), preparation)
        layout = "GRAY" if grey else preparation.channels
        # By less than a half, libjpeg's reduced sizes save no time.
        array = simplejpeg.decode_jpeg(data, layout, min_height=SPARE * high, min_width=SPARE * wide, min_factor=2)
    except ValueError:  # damaged: Pillow decides whether it can be read, as it does for evaluation
        return None
    return (width, height), array


def _array(opened: Image.Image, preparation: Preparation) -> NDArray[np.uint8]:
    """(height, width, channels), in the preparation's order of channels."""
    array = np.array(opened.convert("L" if preparation.channels == "L" else "RGB"))
    if preparation.channels == "BGR":
        array = np.ascontiguousarray(array[:, :, ::-1])
    return array.reshape(opened.height, opened.width, -1)


def _long(width: int, height: int) -> bool:
    return max(height, width) > LONGEST * min(height, width)


def _plain(data: bytes, width: int, height: int) -> bool:
    """Whether an image is of a usual size and not to be turned."""
    if height * width > MOST_PIXELS or _long(width, height) or data.count(_START_OF_SCAN) > SCANS:
        return False
    if not _has_metadata(data):
        return True
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            return orientation(opened.info) == 1
    except Exception:  # metadata can be wrong in more ways than Pillow has errors for
        return False


def _has_metadata(data: bytes) -> bool:
    """Whether there is a segment APP1, where EXIF and XMP tell how the camera was held."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        if data[at + 1] == _APP1:
            return True
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 4 > len(data) or data[at] != 0xFF  # segments that do not lead to the pixels may hide anything
