"""Removes metadata from image files, if the metadata is damaged, or so large that it would take too much memory.

>>> file = io.BytesIO(b"\\x89PNG\\r\\n\\x1a\\n" + b"\\0\\0\\0\\1tEXt?....")
>>> without(file, "PNG").read()
b'\\x89PNG\\r\\n\\x1a\\n'
"""

import io
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, Literal, NamedTuple

from squeezenet.errors import ImageError
from squeezenet.limits import IMAGE_METADATA, TIFF_PIECES, TIFF_TAGS

PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks of a PNG that its pixels depend on."""
EXIF_BYTES = 1 << 17
"""Most bytes of EXIF that are kept (two segments of a JPEG). EXIF is kept because it has the orientation."""
PARTS = 200_000
"""Most chunks of a PNG, or segments of a JPEG."""
JUNK = 65_536
"""Most bytes between the segments of a JPEG. Pillow reads these bytes one by one."""
BELOW = (34665, 34853, 40965)
"""TIFF tags that point to more tags: EXIF, GPS, interoperability."""
PACKED = (1, 2, 7)
"""Types of TIFF tags that Pillow keeps as bytes; values of all others become Python numbers."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value, for each type of TIFF tags."""


class Part(NamedTuple):
    """Where a chunk or segment lies in the file, and whether it is EXIF or other metadata."""

    start: int
    end: int
    exif: bool
    other: bool


def is_large(file: IO[bytes], kind: str) -> bool:
    """Whether a PNG or JPEG has more than `IMAGE_METADATA` bytes of metadata."""
    if kind not in ("PNG", "JPEG"):
        return False
    return sum(part.end - part.start for part in _parts(file, kind) if part.other or part.exif) > IMAGE_METADATA


def without(file: IO[bytes], kind: str | None) -> IO[bytes] | None:
    """A PNG or JPEG without metadata except EXIF, which has the orientation. None if nothing was removed."""
    if kind not in ("PNG", "JPEG"):
        return None
    ranges, exif, left_out = [(0, 8 if kind == "PNG" else 2)], 0, False
    for part in _parts(file, kind):
        exif += part.exif * (part.end - part.start)
        if part.other or (part.exif and exif > EXIF_BYTES):
            left_out = True
        elif ranges[-1][1] == part.start:
            ranges[-1] = ranges[-1][0], part.end
        else:
            ranges.append((part.start, part.end))
    return io.BufferedReader(Spliced(file, ranges)) if left_out else None


def _parts(file: IO[bytes], kind: str) -> Iterator[Part]:
    for count, part in enumerate(_chunks(file) if kind == "PNG" else _segments(file)):
        if count == PARTS:
            raise ImageError(f"the file is cut into more than {PARTS:,} pieces; save the image again")
        yield part


def _chunks(file: IO[bytes]) -> Iterator[Part]:
    at, size = 8, file.seek(0, os.SEEK_END)
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        end = min(size, at + 12 + int.from_bytes(head[:4], "big"))
        exif = head[4:] == b"eXIf"
        yield Part(at, end, exif, not exif and head[4:] not in PIXEL_CHUNKS)
        at = end


def _segments(file: IO[bytes]) -> Iterator[Part]:
    """Segments up to the first scan, then the rest as one part; bytes between segments belong to the next segment."""
    at, size = 2, file.seek(0, os.SEEK_END)
    start, junk = at, 0
    while at + 4 <= size:
        file.seek(at)
        head = file.read(4)
        if head[0] != 0xFF or head[1] in (0x00, 0x01, 0xFF) or 0xD0 <= head[1] <= 0xD8:  # no segment begins here
            at += 1 if head[0] != 0xFF or head[1] == 0xFF else 2
            junk += 1
            if junk > JUNK:
                raise ImageError(f"damaged image (more than {JUNK:,} bytes between its segments)")
            continue
        if head[1] in (0xD9, 0xDA):
            break
        at = min(size, at + 2 + max(2, int.from_bytes(head[2:], "big")))
        exif = head[1] == 0xE1
        adobe = head[1] == 0xEE  # this segment says how the colours are coded
        yield Part(start, at, exif, not exif and not adobe and (0xE0 <= head[1] <= 0xEF or head[1] == 0xFE))
        start = at
    yield Part(start, size, False, False)


def check_tags(file: IO[bytes]) -> None:
    """Raise `ImageError` if the tags of a TIFF would take too much memory: Pillow reads all of them."""
    file.seek(0)
    head = file.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in head[2:4]
    width, entry = (8, 20) if big else (4, 12)
    file.seek(int.from_bytes(head[8:16] if big else head[4:8], order))
    count = int.from_bytes(file.read(8 if big else 2), order)
    total = 0
    for _ in range(count):
        if len(tag := file.read(entry)) < entry:
            return
        kind = int.from_bytes(tag[2:4], order)
        values = int.from_bytes(tag[4 : 4 + width], order)
        total += values * SIZES.get(kind, 0)
        if count > 1 << 16 or total > TIFF_TAGS or (values > TIFF_PIECES and kind not in PACKED):
            raise ImageError(f"tags of more than {TIFF_TAGS:,} bytes or {TIFF_PIECES:,} values; save the image again")


def forget(tiff: Any) -> None:
    """Make Pillow read only the orientation of a TIFF that is not decoded yet, not the EXIF that it points to."""
    with suppress(Exception):  # if the XMP is a number, Pillow raises
        tiff.getexif()
    exif = tiff.getexif()
    for tag in BELOW:
        if tag in exif:
            del exif[tag]
    if not isinstance(tiff.info.get("xmp", b""), bytes | str):
        del tiff.info["xmp"]


class Spliced(io.RawIOBase):
    """Ranges of a file, one after the other, as a file."""

    def __init__(self, file: IO[bytes], ranges: list[tuple[int, int]]) -> None:
        self._file, self._ranges, self._at = file, ranges, 0
        self._starts = [0]
        for start, end in ranges:
            self._starts.append(self._starts[-1] + end - start)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._starts[-1]}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        index = bisect_right(self._starts, self._at) - 1
        if index == len(self._ranges):
            return 0
        start, end = self._ranges[index]
        into = self._at - self._starts[index]
        self._file.seek(start + into)
        piece = self._file.read(min(len(buffer), end - start - into))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
