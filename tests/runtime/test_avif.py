"""AVIF: ordinary files give the pixels that Pillow reads; whatever a file hides from its decoder is in the budget."""

import io
import random
import struct
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image, features

from squeezenet.errors import ImageError
from squeezenet.runtime.avif import as_still, frame_bytes
from squeezenet.runtime.image import open_image
from support.pictures import encoded, picture

pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def box(kind: bytes, *contents: bytes) -> bytes:
    whole = b"".join(contents)
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def find(file: bytes, kind: bytes) -> tuple[int, int]:
    """Where a box starts and ends, its head included."""
    at = file.index(kind) - 4
    return at, at + int.from_bytes(file[at : at + 4], "big")


def declaring(file: bytes, width: int, height: int) -> bytes:
    """The file with another size in its box `ispe`."""
    at = file.index(b"ispe") + 8
    return file[:at] + struct.pack(">II", width, height) + file[at + 8 :]


def av1_data(file: bytes) -> bytes:
    """Of a file with one item: what Pillow's encoder writes."""
    start, end = find(file, b"mdat")
    return file[start + 8 : end]


def avif(items: list[tuple[bytes, bytes]], size: tuple[int, int], cell: tuple[int, int], av1c: bytes) -> bytes:
    """A file of items, the first of which is the image; a grid is put together from the others."""
    count = len(items)
    kinds = [
        box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", n + 1, 0, kind), b"\0") for n, (kind, _) in enumerate(items)
    ]
    sizes = [box(b"ispe", bytes(4), struct.pack(">II", *pair)) for pair in (size, cell)]
    pixi = box(b"pixi", bytes(4), b"\3\x08\x08\x08")
    of = [
        struct.pack(">HB", n + 1, 2 if kind == b"grid" else 3)
        + (bytes([1, 4]) if kind == b"grid" else bytes([2 if n else 1, 4, 0x83]))
        for n, (kind, _) in enumerate(items)
    ]
    ipma = box(b"ipma", bytes(4), struct.pack(">I", count), *of)
    refs = b""
    if items[0][0] == b"grid":
        cells = range(2, count + 1)
        refs = box(b"iref", bytes(4), box(b"dimg", struct.pack(f">HH{len(cells)}H", 1, len(cells), *cells)))
    head = box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")

    def meta(offset: int) -> bytes:
        places = b""
        for number, (_, data) in enumerate(items):
            places += struct.pack(">HHHII", number + 1, 0, 1, offset, len(data))
            offset += len(data)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), b"\0\1"),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", count), places),
            box(b"iinf", bytes(4), struct.pack(">H", count), *kinds),
            refs,
            box(b"iprp", box(b"ipco", *sizes, av1c, pixi), ipma),
        )

    offset = len(head) + len(meta(0)) + 8
    return head + meta(offset) + box(b"mdat", *(data for _, data in items))


def grid(across: int, down: int, side: int, colour: str = "teal", declared: int = 0) -> bytes:
    file = encoded(Image.new("RGB", (side, side), colour), "AVIF", speed=10)
    start, end = find(file, b"av1C")
    canvas = bytes([0, 1, down - 1, across - 1]) + struct.pack(">II", across * side, down * side)
    items = [(b"grid", canvas), *[(b"av01", av1_data(file))] * (across * down)]
    return avif(items, (across * side, down * side), (declared or side,) * 2, file[start:end])


def animation(image: Image.Image) -> dict[str, object]:
    return {"save_all": True, "append_images": [image.rotate(180)] * 3}


ORDINARY = {
    "4:2:0": (picture(48, 36), {}),
    "odd": (picture(1, 3), {}),
    "wide": (picture(1500, 20), {}),
    "4:4:4": (picture(97, 51), {"subsampling": "4:4:4"}),
    "4:2:2": (picture(64, 64), {"subsampling": "4:2:2"}),
    "lossless": (picture(33, 47), {"quality": 100, "subsampling": "4:4:4"}),
    "grey": (picture(40, 30).convert("L"), {}),
    "alpha": (picture(40, 30).convert("RGBA"), {}),
    "transparent": (Image.new("RGBA", (65, 30), (200, 40, 10, 90)), {"subsampling": "4:4:4"}),
    "tiles": (picture(200, 150), {"tile_rows": 1, "tile_cols": 1}),
    "turned": (picture(40, 30), {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}),
    "animated": (picture(48, 36), animation(picture(48, 36))),
    "animated, transparent": (picture(48, 36).convert("RGBA"), animation(picture(48, 36).convert("RGBA"))),
    "large": (picture(2100, 1400), {"speed": 10}),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_files_have_the_pixels_that_pillow_reads(kind):
    image, options = ORDINARY[kind]
    file = encoded(image, "AVIF", **options)
    theirs = Image.open(io.BytesIO(file))
    theirs.load()
    theirs.info.clear()
    turned = Image.Transpose.ROTATE_270
    theirs = theirs.transpose(turned) if kind == "turned" else theirs
    assert np.array_equal(open_image(file), open_image(theirs))
    assert np.array_equal(open_image(file), open_image(Image.open(io.BytesIO(file))))
    assert frame_bytes(file) >= 4 * image.width * image.height


@pytest.mark.parametrize("after", [b"trailing text", bytes(9), box(b"meta", bytes(4)), b"\0\0\0\0mdat"])
def test_what_follows_the_image_does_not_matter(after):
    file = encoded(picture(48, 36), "AVIF")
    assert np.array_equal(open_image(file + after), open_image(file))
    assert frame_bytes(file + after) == frame_bytes(file)


@pytest.mark.parametrize(("across", "down"), [(1, 2), (3, 2)])
def test_a_grid_is_put_together(across, down):
    file = grid(across, down, 64)
    assert open_image(file).size == (64 * across, 64 * down)
    assert frame_bytes(file) == (4 + 8) * 64 * 64 * across * down


@lru_cache
def hidden(side: int, subsampling: str = "4:2:0") -> bytes:
    """A file that declares 64 x 64 pixels and holds a frame of side x side."""
    image = Image.new("RGB", (side, side))
    return declaring(encoded(image, "AVIF", speed=10, subsampling=subsampling), 64, 64)


def largest() -> bytes:
    """The same with a frame as large as libavif decodes: all 28 bits of its width and height are set."""
    file = hidden(8_300)
    at = find(file, b"mdat")[0] + 8
    at += 4 if file[at] == 0x12 else 2  # after a temporal delimiter and the head of the sequence header
    head = int.from_bytes(file[at : at + 6], "big")
    assert head >> 2 & (1 << 28) - 1 == 8_299 << 14 | 8_299
    return file[:at] + (head | (1 << 28) - 1 << 2).to_bytes(6, "big") + file[at + 6 :]


def repeated(times: int) -> bytes:
    """A file with that many frames in its one image."""
    file = encoded(Image.new("RGB", (2000, 2000)), "AVIF", speed=10)
    start, end = find(file, b"av1C")
    return avif([(b"av01", av1_data(file) * times)], (2000, 2000), (2000, 2000), file[start:end])


def holding(data: bytes) -> bytes:
    """A file with an image of 64 x 64 whose AV1 data begin with these."""
    file = encoded(Image.new("RGB", (64, 64)), "AVIF")
    start, end = find(file, b"av1C")
    return avif([(b"av01", data + av1_data(file))], (64, 64), (64, 64), file[start:end])


HOSTILE = {
    "a hidden frame": (largest, "1073 MB"),
    "a hidden frame of 4:4:4": (lambda: hidden(6_000, "4:4:4"), "288 MB"),
    "a hidden frame beside its image": (lambda: declaring(hidden(8_300), 3_000, 3_000), "280 MB"),
    "many frames": (lambda: repeated(20), "320 MB"),
    "a grid": (lambda: grid(16, 16, 400), "MB"),
    "a grid of hidden frames": (lambda: grid(2, 2, 4400, declared=64), "MB"),
    "a cut header": (lambda: holding(b"\x0a\x05\0"), "too early"),
    "no header": (lambda: holding(b"\x32\x01\0"), "no size"),
    "units": (lambda: holding(b"\x12\0" * 30_000), "20,000 parts"),
    "no still image": (lambda: box(b"ftyp", b"avis", bytes(4), b"avisavif") + box(b"moov"), "still image"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_before_they_are_decoded(kind):
    make, said = HOSTILE[kind]
    file = make()
    for source in (file, io.BytesIO(file)):
        with pytest.raises(ImageError, match=said) as caught:
            open_image(source)
        assert "\n" not in str(caught.value)


def test_a_frame_of_an_animation_may_be_of_any_size_that_its_bits_hold():
    image = picture(33, 33)
    still, animated = (encoded(image, "AVIF", **more) for more in ({}, animation(image)))
    assert frame_bytes(still) == 4 * 33 * 33
    assert frame_bytes(animated) == 4 * 64 * 64


def test_only_the_still_image_of_an_animation_is_asked_for():
    """The frames of its track are not looked at, and may be of any size."""
    file = encoded(picture(48, 36), "AVIF", **animation(picture(48, 36)))
    assert Image.open(io.BytesIO(file)).n_frames == 4
    assert Image.open(io.BytesIO(as_still(file))).n_frames == 1


def test_damaged_files_are_refused_or_read():
    rng = random.Random(0)
    image = picture(20, 30)
    files = [encoded(image, "AVIF", **more) for more in ({}, animation(image))] + [grid(2, 1, 64)]
    refused = 0
    for file in files:
        damaged = [file[:length] for length in range(12, min(len(file), 700))]
        for _ in range(700):
            bytes_ = bytearray(file)
            bytes_[rng.randrange(12, min(len(file), 700))] = rng.randrange(256)
            damaged.append(bytes(bytes_))
        for one in damaged:
            try:
                assert frame_bytes(as_still(one)) >= 0
            except ImageError:
                refused += 1
    assert refused > 700


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
def test_the_largest_hidden_frame_that_is_let_through_takes_little_memory(tmp_path):
    (tmp_path / "a.avif").write_bytes(hidden(8_300))
    code = "import sys; from squeezenet.runtime.image import open_image; open_image(sys.argv[1])\n"
    code += "print([line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line][0])"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.avif"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 390_000
