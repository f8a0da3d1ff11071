"""How much memory the decoder of an AVIF file needs, computed from the file's boxes and the headers of its AV1 data.

>>> frame_bytes(open("photo.avif", "rb").read())                # doctest: +SKIP
7200000

An AVIF file declares the size of its image in a box (`ispe`). The frames in its AV1 data can be of any other size: the
decoder decodes them as they are, then scales them to the declared size.

Layout of boxes: ISO/IEC 14496-12 and 23008-12; of AV1 data: "AV1 Bitstream & Decoding Process Specification", 5.3 (OBU)
and 5.5 (sequence header).
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from squeezenet.errors import ImageError
from squeezenet.limits import AVIF_PARTS

FRAME_BYTES = (4, 8, 8)
"""Most bytes that decoding needs for each pixel of a frame, for each profile of AV1: 4:2:0 with 10 bits, 4:4:4 with
10 bits, 4:4:4 with 12 bits. Three quarters of these bytes hold the pixels."""
SEQUENCE_HEADER_BYTES = 1_000
"""The size of the frames lies within so many first bytes of a sequence header, even with 32 operating points."""
SEQUENCE_HEADER, FRAME_HEADER, FRAME = 1, 3, 6
"""Types of OBUs ("open bitstream units", the pieces of AV1 data): the first one declares the size of frames, the others
begin a frame."""


class Box(NamedTuple):
    """The kind of a box, and where its contents lie in the file."""

    kind: bytes
    start: int
    end: int


class Item(NamedTuple):
    """An item of the file that has pixels: "av01" is AV1 data, "grid" is an image that consists of other items."""

    kind: bytes
    data: bytes


def as_still(data: bytes) -> bytes:
    """The same file without EXIF, with a brand (file type) for which Pillow reads the still image, not the animation.

    EXIF is not needed: other boxes of an AVIF hold its orientation.
    """
    meta = _meta(data)
    kind = b"avif" if data[8:12] == b"avis" else data[8:12]
    boxes = data[meta.start : meta.end].replace(b"Exif", b"none")
    rest = memoryview(data)
    return b"".join((rest[:8], kind, rest[12 : meta.start], boxes, rest[meta.end :]))


def frame_bytes(data: bytes) -> int:
    """Bytes that the decoder needs for all frames of the still image. Raises `ImageError` if the file is damaged."""
    parts = iter(range(AVIF_PARTS))
    try:
        return sum(_grid(item.data) if item.kind == b"grid" else _frames(item.data, parts) for item in _items(data))
    except IndexError:
        raise ImageError("damaged image (an AVIF whose headers end too early)") from None


# Boxes


def _meta(data: bytes) -> Box:
    """The box that describes the still image. Decoders use the first one of this kind."""
    found = next((box for box in _boxes(data, 0, len(data)) if box.kind == b"meta"), None)
    if found is None:
        raise ImageError("an AVIF without a still image; save the image again")
    return found


def _boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """The boxes between two positions of the file."""
    for _ in range(AVIF_PARTS):
        if at + 8 > end:
            return
        size, kind, head = _number(data, at, 4), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = _number(data, at + 8, 8), 16
        if size == 0:
            size = end - at
        if size < head or at + size > end:
            raise ImageError("damaged image (a box of an AVIF that reaches over its end)")
        yield Box(kind, at + head, at + size)
        at += size
    raise _too_many()


def _items(data: bytes) -> Iterator[Item]:
    """The items that have pixels."""
    meta = _meta(data)
    kinds: dict[int, bytes] = {}
    locations: list[Box] = []
    idat = Box(b"", 0, 0)
    for box in _boxes(data, meta.start + 4, meta.end):
        if box.kind == b"iinf":
            count = 2 if data[box.start] == 0 else 4
            entries = [_kind(data, entry) for entry in _boxes(data, box.start + 4 + count, box.end)]
            kinds.update(entry for entry in entries if entry[1] in (b"av01", b"grid"))
        elif box.kind == b"iloc":
            locations.append(box)
        elif box.kind == b"idat":
            idat = box
    left = 2 * len(data)  # bytes that all items together may have; items can overlap
    for number, method, extents in chain.from_iterable(_extents(data, box) for box in locations):
        if number not in kinds:
            continue
        if method > 1:
            raise ImageError("an AVIF whose items lie in other items; save the image again")
        whole = memoryview(data)[idat.start : idat.end] if method else memoryview(data)
        pieces = []
        for start, size in extents:
            pieces.append(whole[start : start + size] if size else whole[start:])
            left -= len(pieces[-1])
            if left < 0:
                raise ImageError("an AVIF whose items hold more than the file; save the image again")
        yield Item(kinds[number], b"".join(pieces))


def _kind(data: bytes, entry: Box) -> tuple[int, bytes]:
    """Number and kind of an item, from its box `infe`."""
    at, width = entry.start + 4, 2 if data[entry.start] == 2 else 4
    return _number(data, at, width), data[at + width + 2 : at + width + 6]


def _extents(data: bytes, iloc: Box) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """For each item: its number, where its extents lie (0: in the file, 1: in `idat`), their starts and sizes."""
    fields = _Fields(data[iloc.start : iloc.end])
    version = fields.bits(8)
    fields.bits(24)
    offset, length, base, index = (8 * fields.bits(4) for _ in range(4))
    parts = 0
    for _ in range(fields.bits(32 if version == 2 else 16)):
        number = fields.bits(32 if version == 2 else 16)
        method = fields.bits(16) & 15 if version else 0
        fields.bits(16)  # data_reference_index: in which file the data is; only this file is read
        first, extents = fields.bits(base), []
        for _ in range(fields.bits(16)):
            fields.bits(index if version else 0)
            extents.append((first + fields.bits(offset), fields.bits(length)))
        parts += 1 + len(extents)
        if parts > AVIF_PARTS:
            raise _too_many()
        yield number, method, extents


def _grid(data: bytes) -> int:
    """Bytes of the whole image of a grid."""
    width = 4 if data[1] & 1 else 2
    return FRAME_BYTES[-1] * _number(data, 4, width) * _number(data, 4 + width, width)


# AV1


def _frames(data: bytes, parts: Iterator[int]) -> int:
    """Bytes of all frames in AV1 data. `parts` limits the number of OBUs of all items together."""
    at = total = frame = 0
    for _ in parts:
        if at >= len(data):
            return total
        head = data[at]
        at += 2 if head & 4 else 1  # the flag says that a second byte follows
        size = len(data) - at
        if head & 2:
            size, at = _leb128(data, at)
        kind = head >> 3 & 15
        if kind == SEQUENCE_HEADER:
            frame = max(frame, _largest_frame(data[at : at + min(size, SEQUENCE_HEADER_BYTES)]))
        elif kind in (FRAME_HEADER, FRAME):
            if not frame:
                raise ImageError("damaged image (an AVIF with a frame of no size)")
            total += frame
        at += size
    raise _too_many()


def _leb128(data: bytes, at: int) -> tuple[int, int]:
    """A number with 7 bits in each byte, least significant first, and the position after it."""
    value = 0
    for i in range(8):
        value |= (data[at + i] & 127) << 7 * i
        if data[at + i] < 128:
            return value, at + i + 1
    raise ImageError("damaged image (an AVIF with a size of more than 8 bytes)")


def _largest_frame(data: bytes) -> int:
    """Bytes of the largest frame that may follow a sequence header.

    A frame can declare its own size, with the number of bits that the header gives, except in a reduced still picture.
    """
    fields = _Fields(data)
    profile = fields.bits(3)
    fields.bits(1)  # still_picture
    if profile >= len(FRAME_BYTES):
        raise ImageError("damaged image (an AVIF of an unknown profile)")
    if reduced := fields.bits(1):  # reduced_still_picture_header
        fields.bits(5)  # seq_level_idx
    else:
        _skip_timing(fields)
    width, height = 1 + fields.bits(4), 1 + fields.bits(4)
    pixels = (1 + fields.bits(width)) * (1 + fields.bits(height)) if reduced else 1 << width + height
    return FRAME_BYTES[profile] * pixels


def _skip_timing(fields: "_Fields") -> None:
    """Skip timing_info, decoder_model_info and the operating points of a sequence header."""
    delay = 0
    if fields.bits(1):  # timing_info_present_flag
        fields.bits(64)
        if fields.bits(1):  # equal_picture_interval
            zeros = 0
            while not fields.bits(1):
                zeros += 1
            fields.bits(zeros if zeros < 32 else 0)
        if fields.bits(1):  # decoder_model_info_present_flag
            delay = 1 + fields.bits(5)
            fields.bits(42)
    display = fields.bits(1)  # initial_display_delay_present_flag
    for _ in range(1 + fields.bits(5)):
        fields.bits(12)  # operating_point_idc
        if fields.bits(5) > 7:  # seq_level_idx
            fields.bits(1)
        if delay and fields.bits(1):
            fields.bits(2 * delay + 1)
        if display and fields.bits(1):
            fields.bits(4)


class _Fields:
    """Reads numbers of any count of bits. Raises `IndexError` at the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self._at = data, 0

    def bits(self, count: int) -> int:
        first, end = self._at >> 3, self._at + count
        if end > 8 * len(self.data):
            raise IndexError
        self._at = end
        whole = int.from_bytes(self.data[first : (end + 7) >> 3], "big")
        return whole >> (-end & 7) & (1 << count) - 1


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + width], "big")


def _too_many() -> ImageError:
    return ImageError(f"an AVIF of more than {AVIF_PARTS:,} parts; save the image again")
