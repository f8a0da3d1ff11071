"""From an image file to the input of a network, the same for training, evaluation and every classification.

>>> from squeezenet.preparation import Preparation
>>> prepare(Image.new("RGB", (640, 480)), Preparation.imagenet_caffe()).shape
(3, 227, 227)

Arrays are for training and evaluation: what a classification in the C engine takes does not load NumPy.
"""

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from squeezenet.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from squeezenet.preparation import Preparation

MAX_PIXELS = 150_000_000
"""Pixels an image may have: 450 MB decoded, and below the size at which Pillow itself refuses."""

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
}
"""What a camera, a browser or a data set produces. Formats that run other programs (EPS) are never tried."""

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""How the names of images end, in lower case; in folders, archives and shards only such files are images."""


class Framing(NamedTuple):
    """What of a `Preparation` concerns an image as a whole, without its arithmetic on pixels."""

    resize: int
    crop: int
    fit: str
    channels: str


def open_image(source: str | Path | bytes | Image.Image) -> Image.Image:
    """Decode an image upright, as RGB or (when it has no colour) L, 8 bits a channel.

    `source` is a path, the bytes of a file, or a Pillow image. 16-bit images keep their upper 8 bits, transparent
    ones are laid on white, animations give their first frame. Raises `ImageError`.
    """
    name = "image" if isinstance(source, bytes | Image.Image) else str(source)
    with _readable_errors(name):
        if isinstance(source, Image.Image):
            return _eight_bit(source)
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_formats(name)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{name}: {image.width} x {image.height} pixels are over the limit of {MAX_PIXELS:,}; "
                    "scale the image down first"
                )
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # which copies only what must be turned
            return _eight_bit(image)


def cut(image: Image.Image, preparation: "Preparation | Framing") -> Image.Image:
    """Resize an image from `open_image` and cut its centre out: crop x crop pixels, RGB or L."""
    mode = "L" if preparation.channels == "L" else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    width, height = resized(image.size, preparation)
    crop = preparation.crop
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    # The crop is taken inside the resize: same pixels, and a 1 x 100,000 image costs no more than any other.
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, min((left + crop) * x, image.width), min((top + crop) * y, image.height))
    return _resize(image, crop, box)


def _resize(image: Image.Image, side: int, box: tuple[float, float, float, float]) -> Image.Image:
    """A box of an image as a square: bilinear, antialiased; rows first, then columns, with 8 bits in between.

    Two resizes, since Pillow 13 takes columns first where that is less work, which gives other pixels (by 1) than
    older ones. Each pass alone has the same bits in all of them: `benchmarks/pillow_bits.py`.
    """
    left, top, right, bottom = struct.unpack("4f", struct.pack("4f", *box))  # what Pillow makes of them anyway
    reach = max(1.0, (bottom - top) / side) + 1  # rows that the first and the last one of the result see, and one more
    first, last = max(0, int(top - reach)), min(image.height, int(bottom + reach) + 1)
    rows = image.resize((side, last - first), Image.Resampling.BILINEAR, box=(left, first, right, last))
    return rows.resize((side, side), Image.Resampling.BILINEAR, box=(0, top - first, side, bottom - first))


def pixels(image: Image.Image, preparation: "Preparation") -> "NDArray[np.uint8]":
    """Resize and cut the centre out of an image from `open_image`: (channels, crop, crop), 0 to 255."""
    return channels_first(cut(image, preparation), preparation)


def resized(size: tuple[int, int], preparation: "Preparation | Framing") -> tuple[int, int]:
    """(width, height) an image of `size` is scaled to before the crop."""
    if preparation.fit == "stretch":
        return preparation.resize, preparation.resize
    shorter = min(size)
    return size[0] * preparation.resize // shorter, size[1] * preparation.resize // shorter


def channels_first(image: Image.Image, preparation: "Preparation") -> "NDArray[np.uint8]":
    """Pixels of an image as (channels, height, width), in the preparation's channel order."""
    import numpy as np

    array = np.asarray(image)
    if preparation.channels == "L":
        return array[None]
    if preparation.channels == "BGR":
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def normalise(array: "NDArray[np.uint8]", preparation: "Preparation") -> "NDArray[np.float32]":
    """(pixel - mean) / std in float32; any number of images, channels third from last."""
    import numpy as np

    mean = np.asarray(preparation.mean, np.float32)[:, None, None]
    std = np.asarray(preparation.std, np.float32)[:, None, None]
    result = array.astype(np.float32)  # the only copy: images of a batch may be large
    result -= mean
    result /= std
    return result


def prepare(source: str | Path | bytes | Image.Image, preparation: "Preparation") -> "NDArray[np.float32]":
    """The input of a network: float32 (channels, crop, crop). Raises `ImageError`."""
    return normalise(pixels(open_image(source), preparation), preparation)


def _formats(name: str) -> list[str]:
    """All of them, that of the file's name first: then Pillow loads no code for the others."""
    extension = os.path.splitext(name)[1].lower()
    return sorted(FORMATS, key=lambda kind: extension not in FORMATS[kind])


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in ("RGB", "L"):
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("L" if image.mode in ("1", "LA") else "RGB")


class _Quiet:
    """Silences Pillow's warnings of large sizes and odd metadata: the limit here decides.

    `warnings.catch_warnings` alone is not made for threads: two that overlap would leave the process silent for ever.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.filters.__exit__(None, None, None)


_quiet = _Quiet()


@contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    try:
        with _quiet:
            yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not an image") from None
    except PermissionError:
        raise ImageError(f"{name}: may not be read") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {MAX_PIXELS:,} pixels; scale the image down first") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not an image that can be read ({', '.join(FORMATS)})") from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, struct.error, zlib.error) as error:
        raise ImageError(f"{name}: damaged image ({error})") from None
