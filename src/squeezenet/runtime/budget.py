"""Computes from the headers of an image how much memory its decoding needs, and refuses images over the limits.

>>> canvas("RGB", 1000, 1000)
4008000
"""

import os
from typing import IO, Any

from PIL import Image

from squeezenet.errors import ImageError
from squeezenet.limits import IMAGE_MEMORY, IMAGE_PIXELS, JPEG_SCANS, PYTHON_PIXELS, TIFF_PIECES

PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a pixel in Pillow's memory, by mode; 4 for all other modes."""
PYTHON_DECODERS = {"bmp_rle": 3.0, "ppm": 9.0, "ppm_plain": 9.0}
"""Pillow's slow decoders, which are written in Python -> bytes per pixel that they need in addition to the image."""
DECODER_BYTES = {"WEBP": 12.5, "AVIF": 16.0, **PYTHON_DECODERS}
"""Bytes per pixel that a decoder needs in addition to the image: the largest number measured for any kind of file."""
AVIF_FRAME_BYTES = 8
"""Of the 16 bytes per pixel of AVIF, 8 are for frames of the declared size. The others hold the RGBA pixels twice."""
ROW_BYTES = 36
"""Bytes per pixel of one row: two rows of 16-bit RGBA in a decoder, and a row that is converted."""
ORIENTATION = 0x0112
"""The EXIF tag of the orientation: how to turn the pixels upright."""


def loaded(image: Image.Image, file: IO[bytes] | None = None, most_pixels: int = IMAGE_PIXELS) -> Image.Image:
    """`image` with its pixels loaded. Raises `ImageError` if loading them would exceed a limit.

    `file` is the open file of the image, if it is known: then a large JPEG is decoded at a fraction of its size.
    """
    tiles = getattr(image, "tile", ())
    undecoded_webp = image.format == "WEBP" and getattr(image, "fp", None) is not None  # a WebP has no tiles
    if not tiles and not undecoded_webp:  # a Pillow image whose pixels are loaded
        image.load()
        return image
    width, height = image.size
    if width * height > most_pixels:
        raise ImageError(f"{width} x {height} pixels are over the limit of {most_pixels:,}; scale the image down first")
    held = _held(image, tiles, file)
    factor = 1
    if file is not None and image.format == "JPEG":
        while factor < 8 and held + canvas(image.mode, width // factor, height // factor) > IMAGE_MEMORY:
            factor *= 2  # libjpeg can decode at 1/2, 1/4 or 1/8 of the size
    if (needed := held + canvas(image.mode, width // factor, height // factor)) > IMAGE_MEMORY:
        raise ImageError(
            f"decoding {width} x {height} pixels takes {needed // 1_000_000} MB, over the limit of "
            f"{IMAGE_MEMORY // 1_000_000} MB; scale the image down first"
        )
    if factor > 1:
        image.draft(None, (width // factor, height // factor))
    image.load()
    return image


def canvas(mode: str, width: int, height: int) -> int:
    """Bytes of an image in Pillow's memory: rows padded to multiples of 4 bytes, and a pointer to each row."""
    return height * (8 + (width * PIXEL_BYTES.get(mode, 4) + 3) // 4 * 4)


def _held(image: Any, tiles: Any, file: IO[bytes] | None) -> int:
    """Bytes that decoding needs in addition to the image. Raises `ImageError` if it would take too long."""
    width, height = image.size
    name = tiles[0][0] if tiles else image.format
    if name in PYTHON_DECODERS and width * height > PYTHON_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels are over the limit of {PYTHON_PIXELS:,} for this kind of file; "
            "save the image as PNG first"
        )
    held: int = ROW_BYTES * width + int(DECODER_BYTES.get(name, DECODER_BYTES.get(image.format, 0)) * width * height)
    if file is not None and image.format in ("WEBP", "AVIF"):
        held += 2 * file.seek(0, os.SEEK_END)  # the file itself, in memory twice
    if image.format == "AVIF" and image.fp is not None:
        held += _of_avif(image)
    if image.format in ("JPEG", "MPO"):
        held += _of_jpeg(image)
    if image.format == "TIFF":
        held += _of_tiff(image, len(tiles))
    return held


def _of_avif(image: Any) -> int:
    """Bytes by which the frames of an AVIF are larger than frames of the declared size."""
    from squeezenet.runtime.avif import frame_bytes

    image.fp.seek(0)
    frames = frame_bytes(image.fp.read())
    if frames > IMAGE_MEMORY:
        raise ImageError(
            f"decoding its frames takes {frames // 1_000_000} MB, over the limit of {IMAGE_MEMORY // 1_000_000} MB; "
            "save the image smaller"
        )
    width, height = image.size
    beyond: int = max(0, frames - AVIF_FRAME_BYTES * width * height)
    return beyond


def _of_jpeg(image: Any) -> int:
    """Bytes of the coefficients of a JPEG with several scans, which are all in memory at once; otherwise 0."""
    file, layers = image.fp, image.layer
    at = file.tell()
    file.seek(max(0, at - 8 - 2 * len(layers)))
    if file.read(at - file.tell())[:5] == bytes([0xFF, 0xDA, 0, 6 + 2 * len(layers), len(layers)]) and not (
        image.info.get("progressive")
    ):
        return 0
    file.seek(0)
    scans, end = 0, b""
    while piece := file.read(1 << 20):
        scans += (end + piece).count(b"\xff\xda")
        end = piece[-1:]
    file.seek(at)
    pixels: int = image.width * image.height
    if scans * pixels > JPEG_SCANS:
        raise ImageError(
            f"{scans} scans of {image.width} x {image.height} pixels are over the limit of {JPEG_SCANS:,} pixels; "
            "save the image again"
        )
    sampled = [horizontal * vertical for _, horizontal, vertical, _ in layers]
    largest = max(h for _, h, _, _ in layers) * max(v for _, _, v, _ in layers)
    coefficients: int = pixels * sum(sampled) // max(1, largest)
    return 2 * coefficients


def _of_tiff(image: Any, tiles: int) -> int:
    """Bytes of the strips or tiles of a TIFF, and of the copy that Pillow makes if it turns the image."""
    tags = image.tag_v2
    width, height = image.size

    def number(tag: int, usual: int) -> int:
        value = tags.get(tag, usual)
        return value if isinstance(value, int) else usual

    bits = tags.get(258, 8)
    sample = number(277, 1) * max(bits if isinstance(bits, tuple) else (bits,)) // 8 + 1
    across, down = number(322, width), number(323, min(number(278, height), height))
    pieces: int = -(-width // max(1, across)) * -(-height // max(1, down)) * (sample if number(284, 1) == 2 else 1)
    if max(pieces, tiles) > TIFF_PIECES:
        raise ImageError(f"{max(pieces, tiles):,} strips or tiles are over the limit of {TIFF_PIECES:,}")
    piece: int = across * down * (sample + (10 if image.info.get("compression") in ("jpeg", "tiff_jpeg") else 0))
    turned = number(ORIENTATION, 1) != 1 or "tiff:Orientation" in str(image.info.get("xmp"))
    copy = canvas(image.mode, width, height) if turned else 0
    return piece + 100 * pieces + copy


def rawmode(image: Image.Image) -> str:
    """Pillow's name for how the file holds the pixels of an image that is not decoded yet; "" if that is not known."""
    tiles: Any = getattr(image, "tile", ())
    if not tiles:
        return ""
    how = tiles[0][3]
    return str(how[0] if isinstance(how, tuple) and how else how)
