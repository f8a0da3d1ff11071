"""Converts pixels to what a network reads: 8 bits per channel, RGB or L, on a white background, upright.

>>> upright(Image.new("RGBA", (640, 480))).getpixel((0, 0))
(255, 255, 255)

Of all metadata only the orientation in EXIF or XMP is read.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from PIL import Image

from squeezenet.errors import ImageError
from squeezenet.limits import IMAGE_MEMORY
from squeezenet.runtime.budget import ORIENTATION, canvas

ONE_PIECE = 16_000_000
"""Most pixels that are converted at once. Larger images are converted in bands of rows, which needs less memory."""
BAND = 1_000_000
"""Pixels of a band."""

TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns pixels upright, for each orientation but 1, which is upright."""
SIDEWAYS = tuple(TURNED[orientation] for orientation in (5, 6, 7, 8))
"""The transpositions that turn rows into columns."""
GREY_LEVELS = {"1": 255, "L;2": 85, "L;4": 17}
"""Pillow's name of a pixel format of 1, 2 or 4 bits -> the factor that converts its grey values to 8 bits."""


def upright(
    image: Image.Image, rawmode: str = "", memory: int = IMAGE_MEMORY, one_piece: int = ONE_PIECE, band: int = BAND
) -> Image.Image:
    """`image`, whose pixels are loaded, with 8 bits per channel and turned upright as its metadata says.

    `rawmode` is Pillow's name for the pixel format of the file. Image and result together take at most `memory`
    bytes: where they would take more, the result is smaller by a whole factor. Images of more than `one_piece` pixels
    are converted in bands of `band` pixels.
    """
    turn = TURNED.get(orientation(image.info))
    key = _key(image, rawmode)
    if turn is None and key is None and image.mode in ("RGB", "L"):
        return image
    width, height = image.size
    mode = "L" if image.mode in ("1", "L") or image.mode.startswith("I") else "RGB"
    room = max(memory - canvas(image.mode, width, height), memory // 8)
    factor = 1
    while canvas(mode, width // factor, height // factor) > room and factor < min(width, height):
        factor += 1
    if width * height <= one_piece and factor == 1:
        whole = _eight_bit(image, key)
        return whole if turn is None else whole.transpose(turn)
    size = -(-width // factor), -(-height // factor)
    result = Image.new(mode, size[::-1] if turn in SIDEWAYS else size, None)
    rows = max(1, band // width // factor) * factor
    for top in range(0, height, rows):
        part = _eight_bit(image.crop((0, top, width, min(top + rows, height))), key)
        part = part.reduce(factor) if factor > 1 else part
        above = top // factor
        below = size[1] - above - part.height
        result.paste(part if turn is None else part.transpose(turn), _corner(turn, above, below))
    return result


def _corner(turn: Image.Transpose | None, above: int, below: int) -> tuple[int, int]:
    """The (left, top) of a band in the turned image. `above`, `below`: rows of the image before and after the band."""
    first = above if turn in (None, TURNED[2], TURNED[5], TURNED[8]) else below
    return (first, 0) if turn in SIDEWAYS else (0, first)


Key: TypeAlias = "int | bytes | tuple[int, ...] | None"
"""What a PNG (`tRNS`) or GIF declares transparent: a grey value or an index, the alpha of all indices, or a colour."""


def _key(image: Image.Image, rawmode: str) -> Key:
    """The transparent value, converted from the number of bits in the file to that of the pixels of `image`."""
    key: Any = image.info.get("transparency")
    if isinstance(key, int) and rawmode in GREY_LEVELS:
        return key * GREY_LEVELS[rawmode]
    if isinstance(key, tuple) and rawmode == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key if isinstance(key, int | bytes | tuple) else None


def _eight_bit(image: Image.Image, key: Key) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        grey = image.convert("I").point(lambda value: value / 256).convert("L")
        if isinstance(key, int) and mode != "I":
            data = image.tobytes()
            low, high = (1, 0) if mode == "I;16B" else (0, 1)
            same = [
                Image.frombytes("L", image.size, data[at::2]).point([255 * (level == byte) for level in range(256)])
                for at, byte in ((low, key & 255), (high, key >> 8))
            ]
            grey.paste(255, mask=Image.composite(same[0], same[1], same[1]))
        return grey
    if mode == "F":
        raise ImageError("floating-point pixels have no agreed range; save the image with 8 or 16 bits")
    if mode in ("1", "L"):
        grey = image.convert("L") if mode == "1" else image
        return grey.point([255 if level == key else level for level in range(256)]) if isinstance(key, int) else grey
    if mode == "RGB":
        if not isinstance(key, tuple):
            return image
        keyed = image.copy()
        keyed.info["transparency"] = key
        return Image.composite(
            image, Image.new("RGB", image.size, (255, 255, 255)), keyed.convert("RGBA").getchannel("A")
        )
    if mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return image.convert("RGB")
    if mode == "P":
        return _palette_on_white(image).convert("RGB")
    return _on_white(image)


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _palette_on_white(image: Image.Image) -> Image.Image:
    """An image with a palette, on white: only the 256 colours are converted, not all pixels."""
    every = image.resize((256, 1), Image.Resampling.NEAREST)  # resizing keeps the palette and its transparency
    every.putdata(range(256))
    image = image.copy()
    image.info.pop("transparency", None)
    image.putpalette(_on_white(every).tobytes())
    return image


def orientation(info: Mapping[Any, Any]) -> int:
    """The orientation (1 to 8) in EXIF, or in XMP if EXIF has none; 1 is upright."""
    exif = info.get("exif")
    if exif is None and isinstance(text := info.get("Raw profile type exif"), str):
        with suppress(ValueError):
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
    found = _of_exif(exif) if isinstance(exif, bytes) else None
    return _of_xmp(info) if found is None else found


def _of_exif(data: bytes) -> int | None:
    start = 0
    while data.startswith(b"Exif\0\0", start):
        start += 6
    order: Any = {b"II": "little", b"MM": "big"}.get(data[start : start + 2])
    if order is None:
        return None
    at = start + int.from_bytes(data[start + 4 : start + 8], order)
    for first in range(at + 2, at + 2 + 12 * int.from_bytes(data[at : at + 2], order), 12):
        entry = data[first : first + 12]
        if len(entry) < 12:
            return None
        tag, kind, count = (int.from_bytes(entry[i:j], order) for i, j in ((0, 2), (2, 4), (4, 8)))
        if tag == ORIENTATION and count == 1 and kind in (1, 3, 4):
            return int.from_bytes(entry[8 : 8 + {1: 1, 3: 2, 4: 4}[kind]], order)
    return None


def _of_xmp(info: Mapping[Any, Any]) -> int:
    text = _bytes(info.get("XML:com.adobe.xmp") or info.get("xmp"))
    found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', text) if text else None
    return int(found[1]) if found else 1


def _bytes(value: object) -> bytes:
    """XMP as bytes: Pillow gives text or bytes. Other types give b""."""
    if isinstance(value, str):
        return value.encode(errors="replace")
    return value if isinstance(value, bytes) else b""
