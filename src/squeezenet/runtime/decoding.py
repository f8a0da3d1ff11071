"""Decodes any image to upright pixels with 8 bits per channel, within a budget of memory and time.

>>> open_image("photo.jpg").mode                                # doctest: +SKIP
'RGB'

Where metadata is damaged, or too large for Pillow, the image is read without its metadata.
"""

import io
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from PIL import Image

from squeezenet.errors import ImageError, NoSuchImage
from squeezenet.files import open_regular
from squeezenet.limits import IMAGE_FILE, IMAGE_MEMORY, IMAGE_METADATA, IMAGE_PIXELS
from squeezenet.runtime.budget import loaded, rawmode
from squeezenet.runtime.upright import upright

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[np.uint8]"
)
"""A path, the bytes of a file, an open file, a Pillow image, or an array of pixels: uint8, (height, width) of grey
values or (height, width, 3 or 4) of RGB or RGBA."""

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
"""Formats that cameras, browsers and data sets produce. None of them runs another program, as EPS does."""

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
"""All suffixes, in lower case. In folders, archives and shards, only files with such a name are images."""

COPIES = 4
"""How many copies of an AVIF or WebP file are in memory while it is decoded."""


def open_image(source: ImageSource, most_bytes: int = IMAGE_FILE, most_pixels: int = IMAGE_PIXELS) -> Image.Image:
    """Decode an image upright, as RGB or (when it has no colour) L, 8 bits a channel.

    16-bit images keep their upper 8 bits, transparent images get a white background, animations give their first frame.
    JPEGs, and images that must be converted, are made smaller by a whole factor where they would exceed the budget of
    memory. Raises `ImageError`, which names the file; also for a file of more than `most_bytes`, and, before it is
    decoded, for one of more than `most_pixels`.
    """
    with _readable_errors(os.fsdecode(source) if isinstance(source, str | os.PathLike) else "image"):
        if isinstance(source, Image.Image):
            return _pixels(source)
        if _is_array(source):
            return upright(_from_array(source))
        with _opened(source, most_bytes) as file:
            try:
                return _decoded(file, most_pixels)
            except (ImageError, MemoryError, Image.DecompressionBombError):
                raise
            except Exception as error:  # a damaged file can raise anything in Pillow
                said = _said(error)
            # Not inside `except`: there, the traceback would keep the decoded pixels in memory.
            from squeezenet.runtime.metadata import without

            file.seek(0)
            if (bare := without(file, _kind(file.read(16)))) is not None:
                with suppress(Exception):
                    return _decoded(bare, most_pixels)
            raise ImageError(said)


def _decoded(file: IO[bytes], most_pixels: int) -> Image.Image:
    with _identified(file) as image:
        return _pixels(image, file, most_pixels)


def _pixels(image: Image.Image, file: IO[bytes] | None = None, most_pixels: int = IMAGE_PIXELS) -> Image.Image:
    if 0 in image.size:
        raise ImageError(f"an image of {image.width} x {image.height} has no pixels")
    how = rawmode(image)
    return upright(loaded(image, file, most_pixels), how)


# Sources


def _opened(source: Any, most_bytes: int) -> IO[bytes]:
    """`source` as an open file, at its start. Raises `ImageError` if it has more than `most_bytes`."""
    if isinstance(source, str | os.PathLike):
        file = open_regular(os.fspath(source))
        if (size := os.fstat(file.fileno()).st_size) > most_bytes:
            file.close()
            raise _too_large(size, most_bytes)
        return file
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif callable(getattr(source, "read", None)):
        data = _read(source, most_bytes)
    else:
        raise ImageError(
            f"{type(source).__name__} is not a type of image; pass a path, the bytes of a file, an open file, a Pillow "
            "image, or a NumPy array (height, width, 3) of uint8"
        )
    if len(data) > most_bytes:
        raise _too_large(len(data), most_bytes)
    return io.BytesIO(data)


def _read(file: Any, most_bytes: int) -> bytes:
    if callable(seekable := getattr(file, "seekable", None)) and seekable():
        file.seek(0)
    data = bytearray()
    while len(data) <= most_bytes and (piece := file.read(most_bytes + 1 - len(data))):
        if not isinstance(piece, bytes):
            raise ImageError("the open file gives text; open it in binary mode: open(path, 'rb')")
        data += piece
    return bytes(data)


def _too_large(size: int, most: int) -> ImageError:
    return ImageError(f"a file of {size:,} bytes is over the limit of {most:,}; scale the image down first")


def _is_array(source: object) -> bool:
    numpy = sys.modules.get("numpy")  # a caller with an array has imported it
    return numpy is not None and isinstance(source, numpy.ndarray)


def _from_array(array: Any) -> Image.Image:
    shape = array.shape
    if array.dtype != "uint8" or len(shape) not in (2, 3) or 0 in shape or shape[2:] not in ((), (1,), (3,), (4,)):
        raise ImageError(
            f"an array {shape} of {array.dtype} is not an image; pass uint8 as (height, width) of grey values or "
            "(height, width, 3) of RGB"
        )
    return Image.fromarray(array[:, :, 0] if shape[2:] == (1,) else array)


# Formats


def _kind(head: bytes) -> str | None:
    """The format of a file whose first bytes are `head`."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM"):
        return "BMP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[:1] == b"P" and head[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6") and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1", b"msf1"):
        return "AVIF"
    return "DIB" if int.from_bytes(head[:4], "little") in (12, 40, 52, 56, 64, 108, 124) else None


def _identified(file: IO[bytes]) -> Any:
    """Pillow's image of a file; its pixels are not decoded yet."""
    file.seek(0)
    kind = _kind(file.read(16))
    if kind is None:
        raise ImageError(f"not an image that can be read ({', '.join(FORMATS)})")
    size = file.seek(0, os.SEEK_END)
    if kind in ("WEBP", "AVIF") and COPIES * size > IMAGE_MEMORY:
        raise ImageError(f"a {kind} of {size:,} bytes is over the limit of {IMAGE_MEMORY // COPIES:,}; save it smaller")
    if kind == "AVIF":
        from squeezenet.runtime.avif import as_still

        file.seek(0)
        file = io.BytesIO(as_still(file.read()))
    elif size > IMAGE_METADATA:
        from squeezenet.runtime.metadata import check_tags, is_large, without

        if kind == "TIFF":
            check_tags(file)
        elif is_large(file, kind):
            file = without(file, kind) or file
    file.seek(0)
    name = "WebP" if kind == "WEBP" else kind.capitalize()  # as Pillow spells it
    module = "Bmp" if kind == "DIB" else name  # only the module that the file needs is imported
    reader = getattr(import_module(f"PIL.{module}ImagePlugin"), f"{name}ImageFile")
    if kind == "JPEG":  # skip a slow search for dots per inch in EXIF
        reader = type(name, (reader,), {"_read_dpi_from_exif": lambda _: None})
    image = reader(file)
    if kind == "TIFF":
        from squeezenet.runtime.metadata import forget

        forget(image)
    return image


# Errors


class _Quiet:
    """Silences Pillow's warnings about large sizes and odd metadata: this package has its own limits.

    Warning filters belong to the whole process: the first thread that enters changes them, and the last one that
    leaves restores them.
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
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise NoSuchImage(f"{name}: no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not an image") from None
    except PermissionError:
        raise ImageError(f"{name}: may not be read") from None
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: more than {IMAGE_PIXELS:,} pixels; scale the image down first") from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it") from None
    except Exception as error:
        # An error from opening a file names the file; an error from Pillow does not.
        said = error.strerror if isinstance(error, OSError) and error.filename is not None else _said(error)
        raise ImageError(f"{name}: {said}") from None


def _said(error: Exception) -> str:
    return f"damaged image ({' '.join(str(error).split()) or type(error).__name__})"
