"""Pixels of training images, decoded as fast as possible.

    >>> from PIL import Image
    >>> training_pixels(Image.new("RGB", (640, 480)), Preparation(32, 32)).shape
    (3, 32, 32)

simplejpeg decodes usual JPEGs (with libjpeg-turbo, as Pillow does, but without copies), and Pillow all other images;
PyTorch resizes. Pixel values differ by at most 2 from `runtime.image.pixels`, and take less than half of the time. A
JPEG of four times the needed size or more is decoded at half its size or less, which changes pixels a little more.
docs/adr/0006
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
"""A JPEG that is decoded at a smaller size still has at least `SPARE` times the needed side, for a good resize."""
LONGEST = 4
"""Largest ratio of the sides; of a longer image, most pixels would be resized and then cut off."""

MOST_PIXELS = 30_000_000
"""Largest image, in pixels, that is decoded and resized as a whole; `runtime.image` saves memory for larger ones."""
SCANS = 100
"""Most scans of a JPEG; each takes time. A progressive photograph has ten."""

_START_OF_SCAN = b"\xff\xda"
_APP1, _SCAN = 0xE1, 0xDA  # markers of JPEG: metadata, start of the pixels


def training_pixels(source: ImageSource, preparation: Preparation) -> NDArray[np.uint8]:
    """(channels, height, width): nearly `runtime.image.pixels` of the opened image, but faster. Raises `ImageError`."""
    fast = None if simplejpeg is None else _jpeg(source, preparation)
    if fast is None:
        opened = image.open_image(source)
        if _long(opened.width, opened.height) or opened.width * opened.height > MOST_PIXELS:
            return image.pixels(opened, preparation)
        fast = opened.size, _array(opened, preparation)
    size, array = fast
    wide, high = image.resized(size, preparation)
    pixels = torch.from_numpy(array)[None].permute(0, 3, 1, 2)  # (1, C, H, W), channels last: two thirds faster
    if pixels.shape[2:] != (high, wide):
        pixels = F.interpolate(pixels, (high, wide), mode="bilinear", antialias=True)
    height, width = preparation.cropped
    top, left = round((high - height) / 2), round((wide - width) / 2)
    return pixels[0, :, top : top + height, left : left + width].numpy()


def _jpeg(source: ImageSource, preparation: Preparation) -> tuple[tuple[int, int], NDArray[np.uint8]] | None:
    """(width, height) and pixels, perhaps at a smaller size, of a usual JPEG; None for all other images."""
    try:
        data = read_regular(source, IMAGE_FILE) if isinstance(source, Path) else source
    except OSError:
        return None  # the next reader reports the error
    if not isinstance(data, bytes) or not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        grey = preparation.channels == "L"
        if colours not in (("Gray",) if grey else ("Gray", "YCbCr", "RGB")) or not _plain(data, width, height):
            return None
        wide, high = image.resized((width, height), preparation)
        layout = "GRAY" if grey else preparation.channels
        # Sizes between half and full save libjpeg no time.
        array = simplejpeg.decode_jpeg(data, layout, min_height=SPARE * high, min_width=SPARE * wide, min_factor=2)
    except ValueError:  # damaged: Pillow decides whether it can be read, as in evaluation
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
    """Whether a JPEG has a usual size and need not be rotated."""
    if height * width > MOST_PIXELS or _long(width, height) or data.count(_START_OF_SCAN) > SCANS:
        return False
    if not _has_metadata(data):
        return True
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            return orientation(opened.info) == 1
    except Exception:  # Pillow raises many kinds of errors for wrong metadata
        return False


def _has_metadata(data: bytes) -> bool:
    """Whether there is a segment APP1: EXIF and XMP, which may say how to rotate the image."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        if data[at + 1] == _APP1:
            return True
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 4 > len(data) or data[at] != 0xFF  # damaged segments may hide metadata
