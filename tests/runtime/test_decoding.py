"""Strangers' images: pixels decide over metadata, memory and time follow what a file holds, and nothing waits."""

import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from squeezenet.errors import ImageError
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import SUFFIXES, cut, open_image, prepare
from squeezenet.runtime.metadata import Spliced
from squeezenet.runtime.upright import upright
from support.pictures import encoded, picture

UNWRITABLE = b"Exif\0\0II*\0" + struct.pack(
    "<IHHHIHHHHI4sI", 8, 2, 0x112, 3, 1, 6, 0, 282, 2, 3, b"72\0\0", 0
)  # turned by 90 degrees; the resolution, a fraction, is text


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *more: bytes, interlaced: int = 0) -> bytes:
    """A PNG whose pixels, filters included, are `rows`, over and over."""
    packer, packed = zlib.compressobj(9), bytearray()
    block = max(1, min(height, (1 << 20) // len(rows)))
    for _ in range(height // block):
        packed += packer.compress(rows * block)
    packed += packer.compress(rows * (height % block))
    packed += packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", bytes(packed)) + chunk(b"IEND", b"")


def inserted(file: bytes, *chunks: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    return file[:33] + b"".join(chunks) + file[33:]


# Metadata


def test_exif_that_cannot_be_written_turns_the_pixels():
    image = picture(32, 16)
    file = encoded(image, "JPEG", exif=UNWRITABLE)
    assert np.array_equal(open_image(file), open_image(encoded(image, "JPEG")).transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(open_image(encoded(image, "PNG", exif=UNWRITABLE)).rotate(90, expand=True), image)


BOMB = zlib.compress(bytes(3 << 20), 9)


@pytest.mark.parametrize(
    "metadata",
    [
        [chunk(b"zTXt", b"Comment\0\0" + BOMB)],
        [chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB)],
        [chunk(b"iCCP", b"icc\0\0" + BOMB)],
        [chunk(b"iCCP", b"icc\0\5" + BOMB)],
        [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20)))] * 70,
        [chunk(b"tEXt", b"Comment\0good")[:-1] + b"?"],
        [chunk(b"pHYs", b"")],
        [chunk(b"gAMA", b"")],
        [chunk(b"cHRM", b"1")],
        [chunk(b"acTL", b"")],
    ],
    ids=["zTXt", "iTXt", "iCCP", "method", "many", "checksum", "pHYs", "gAMA", "cHRM", "acTL"],
)
def test_chunks_that_pillow_refuses_leave_the_pixels(metadata):
    image = picture(20, 10)
    turned = Image.Exif()
    turned[0x0112] = 3
    for file in (encoded(image, "PNG"), encoded(image.rotate(180), "PNG", exif=turned)):
        assert np.array_equal(open_image(inserted(file, *metadata)), image)


def test_damaged_pixels_stay_damaged():
    file = encoded(picture(64, 64), "PNG")
    with pytest.raises(ImageError, match="damaged"):
        open_image(inserted(file[:-40], chunk(b"zTXt", b"Comment\0\0" + BOMB)))


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(data)) + data


@pytest.mark.parametrize(
    "large",
    [
        [segment(0xE1, b"Exif\0\0" + bytes(60_000))] * 9,
        [segment(0xE1, UNWRITABLE), *[segment(0xE5, bytes(60_000))] * 9],
        [b"\xff" * 5, segment(0xE1, UNWRITABLE), *[segment(0xED, bytes(60_000)), b"junk\xff\0"] * 9],
    ],
    ids=["EXIF", "applications", "junk"],
)
def test_large_metadata_of_a_jpeg_is_left_out(large):
    image = picture(40, 30)
    file = encoded(image, "JPEG")
    upright = open_image(file)
    turned = UNWRITABLE in b"".join(large)
    expected = upright.transpose(Image.Transpose.ROTATE_270) if turned else upright
    assert np.array_equal(open_image(file[:2] + b"".join(large) + file[2:]), expected)


@pytest.mark.parametrize("kind", [b"tEXt", b"iCCP", b"teST", b"eXIf"])
def test_large_metadata_of_a_png_is_left_out(kind):
    file = encoded(picture(40, 30), "PNG", exif=UNWRITABLE) if kind != b"eXIf" else encoded(picture(30, 40), "PNG")
    with_it = inserted(file, chunk(kind, b"a\0\0" + bytes(300_000)))
    assert np.array_equal(open_image(with_it), open_image(file))
    assert open_image(with_it).size == (30, 40)


@pytest.mark.parametrize("seed", range(3))
def test_a_spliced_file_is_its_ranges(seed):
    random = np.random.default_rng(seed)
    data = random.bytes(400)
    cuts = np.sort(random.choice(400, 8, replace=False)).tolist()
    ranges = [(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
    whole, spliced = (
        io.BytesIO(b"".join(data[a:b] for a, b in ranges)),
        io.BufferedReader(Spliced(io.BytesIO(data), ranges)),
    )
    for _ in range(200):
        size, whence = int(random.integers(-1, 60)), int(random.integers(0, 3))
        offset = int(random.integers(0, 300)) if whence == 0 else int(random.integers(-20, 20))
        if whence == 2 or whole.tell() + offset >= 0:
            assert spliced.seek(offset, whence) == whole.seek(offset, whence)
        assert spliced.read(size) == whole.read(size)
        assert spliced.tell() == whole.tell()


@pytest.mark.parametrize("value", [(4, 1, 7), (5, 1, 8), (12, 1, 8), (1, 3, 7)])
def test_tags_of_the_wrong_type_leave_the_pixels(value):
    kind, count, held = value
    file = tiff_file({700: (kind, count, held)}, bytes(16))
    assert open_image(file).size == (4, 4)


@pytest.mark.parametrize(
    "tags",
    [
        {282: (5, 300_000, 8)}, {258: (3, 300_000, 8)}, {273: (4, 300_000, 8), 279: (4, 300_000, 8)},
        {50_000 + i: (7, 2_000_000, 8) for i in range(40)},
    ],
    ids=["fractions", "bits", "offsets", "blobs"],
)  # fmt: skip
def test_tags_that_would_take_memory_are_refused(tags):
    with pytest.raises(ImageError, match="tags of more than"):
        open_image(tiff_file(tags, bytes(2_000_000)))


def tiff_file(tags: dict[int, tuple[int, int, int]], data: bytes) -> bytes:
    """Grey, 4 x 4, uncompressed; `data` lies at byte 8, and the pixels in it."""
    usual = {256: (4, 1, 4), 257: (4, 1, 4), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8)}
    usual |= {277: (3, 1, 1), 278: (4, 1, 4), 279: (4, 1, 16)}
    entries = b"".join(struct.pack("<HHII", tag, *value) for tag, value in sorted((usual | tags).items()))
    return (
        b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(usual | tags)) + entries + bytes(4)
    )


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED])
@pytest.mark.parametrize("data", [b"Exif\0\0II*\0", b"MPF\0II*\0\x08\0\0\0\xff\xff", b"Photoshop 3.0\0008BIM\4"])
def test_damaged_segments_leave_the_pixels(marker, data):
    file = encoded(picture(40, 30), "JPEG")
    assert np.array_equal(open_image(file[:2] + segment(marker, data) + file[2:]), open_image(file))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("where", ["JPEG", "PNG", "WEBP", "TIFF", "XMP"])
@pytest.mark.parametrize("orientation", [1, 5, 6, 8, 9])
def test_the_orientation_is_the_one_that_pillow_reads(order, kind, where, orientation):
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    tiff = (
        (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IHHHI", 8, 1, 0x112, kind, 1) + value + bytes(4)
    )
    image = picture(32, 16)
    options = (
        {"exif": b"Exif\0\0" + tiff} if where != "XMP" else {"xmp": f'<x tiff:Orientation="{orientation}">'.encode()}
    )
    if where == "TIFF":
        options = {"tiffinfo": {0x112: orientation}}
    file = encoded(image, "JPEG" if where == "XMP" else where, **options)
    with Image.open(io.BytesIO(file)) as opened:
        assert np.array_equal(open_image(file), ImageOps.exif_transpose(opened))


def test_a_pillow_image_is_read_like_its_file(tmp_path):
    file = encoded(picture(64, 48), "JPEG", exif=UNWRITABLE)
    (tmp_path / "a.jpg").write_bytes(file)
    expected = np.asarray(open_image(file))
    for source in (tmp_path / "a.jpg", str(tmp_path / "a.jpg"), Image.open(io.BytesIO(file)), io.BytesIO(file)):
        assert np.array_equal(open_image(source), expected)
    given = Image.open(io.BytesIO(file))
    given.load()
    assert np.array_equal(open_image(given), expected)
    assert given.size == (64, 48)
    with pytest.raises(ImageError, match="image: damaged"):
        open_image(Image.open(io.BytesIO(encoded(picture(400, 400), "JPEG", quality=95)[:3000])))


# Transparency


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_greys_become_white(depth):
    levels = [1, 0] if depth == 1 else [3, 1, 2, 0]
    values = "".join(f"{level:0{depth}b}" for level in levels)
    rows = b"\0" + int(values.ljust(-(-len(values) // 8) * 8, "0"), 2).to_bytes(-(-len(values) // 8), "big")
    opened = open_image(png(len(levels), 1, depth, 0, rows, chunk(b"tRNS", struct.pack(">H", levels[1]))))
    plain = open_image(png(len(levels), 1, depth, 0, rows))
    expected = np.array(plain)
    expected[0, 1] = 255
    assert np.array_equal(opened, expected)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_becomes_white(depth):
    colours = [(10, 20, 30), (10, 20, 31), (200, 100, 0)]
    scale = 1 if depth == 8 else 257
    code = ">B" if depth == 8 else ">H"
    rows = b"\0" + b"".join(struct.pack(code, value * scale) for colour in colours for value in colour)
    key = chunk(b"tRNS", struct.pack(">HHH", *(value * scale for value in colours[0])))
    opened = open_image(png(3, 1, depth, 2, rows, key))
    assert np.array_equal(opened, [[(255, 255, 255), *colours[1:]]])


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("transparency", [0, 3, bytes([0, 90, 255, 1]), bytes(16)])
def test_transparent_palettes_are_laid_on_white(kind, transparency):
    if kind == "GIF" and not isinstance(transparency, int):
        pytest.skip("GIF makes one index transparent")
    image = Image.effect_noise((20, 20), 90).quantize(16)
    file = encoded(image, kind, transparency=transparency)
    with Image.open(io.BytesIO(file)) as opened:
        layer = opened.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    assert np.array_equal(open_image(file), Image.alpha_composite(white, layer).convert("RGB"))


# Bands


MODES = ["1", "L", "RGB", "RGBA", "LA", "P", "I;16", "CMYK"]


def pillow_image(mode: str, size: tuple[int, int]) -> Image.Image:
    image = picture(*size)
    return image.convert("L").convert("I").convert(mode) if mode == "I;16" else image.convert(mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(37, 53), (100, 7), (1, 300), (300, 1)])
def test_bands_give_the_pixels_of_the_whole(mode, size):
    for orientation in range(1, 9):
        image = pillow_image(mode, size)
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.info["exif"] = exif.tobytes()
        whole = open_image(image)
        bands = upright(image, one_piece=0, band=210)
        assert (bands.size, bands.mode) == (whole.size, whole.mode)
        assert np.array_equal(bands, whole)


@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_what_does_not_fit_comes_smaller_by_a_whole_factor(orientation):
    image = pillow_image("RGBA", (76, 106))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    whole = open_image(image)
    assert np.array_equal(upright(image, memory=76 * 106 * 6, band=800), whole.reduce(2))


@pytest.mark.parametrize("size", [(97, 301), (640, 480), (1, 700), (31, 17)])
@pytest.mark.parametrize("fit", ["stretch", "shorter"])
def test_grey_is_resized_as_grey(size, fit):
    grey = picture(*size, mode="L")
    preparation = Preparation(72, 64, fit)
    assert np.array_equal(cut(grey, preparation), cut(grey.convert("RGB"), preparation))


# Budgets


def bmp_rle(width: int, height: int, data: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(data), 0, 0, 54 + 1024) + head + bytes(1024) + data


def tiff(width: int, height: int, *more: tuple[int, int]) -> bytes:
    """Grey, LZW, of one byte."""
    tags = {256: width, 257: height, 258: 8, 259: 5, 262: 1, 273: 8, 277: 1, 278: height, 279: 1, **dict(more)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 10) + b"\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)


def scanned(side: int, times: int, mode: str = "L") -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    file = encoded(Image.new(mode, (side, side), 128), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:-2] + file[last:-2] * times + file[-2:]


HEADS = {
    "PPM": (lambda: b"P6\n99999 99999\n255\n", "150,000,000"),
    "RGBA": (lambda: png(20_000, 5_000, 8, 6, b"\0"), "280 MB"),
    "a column": (lambda: png(1, 149_000_000, 8, 0, b"\0\1"), "280 MB"),
    "WebP": (lambda: encoded(Image.new("RGB", (4500, 4500)), "WEBP", lossless=True, method=0), "280 MB"),
    "scans": (lambda: scanned(1000, 1500), "scans"),
    "RLE": (lambda: bmp_rle(150_000, 900, b"\0\0" * 900), "5,000,000"),
    "a tile": (lambda: tiff(10, 10, (322, 1 << 16), (323, 1 << 15)), "280 MB"),
    "junk": (lambda: b"\xff\xd8" + b"\xff" * 300_000, "damaged"),
    "pieces": (lambda: b"\xff\xd8" + b"\xff\xe5\0\2" * 200_001, "pieces"),
    "tiles": (lambda: tiff(10_000, 10_000, (322, 1), (323, 1)), "strips or tiles"),
    "strips": (lambda: tiff(1, 1_000_000, (278, 1)), "strips or tiles"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_too_much_is_refused_in_one_line(kind):
    make, said = HEADS[kind]
    file = make()
    with pytest.raises(ImageError, match=said) as caught:
        open_image(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["WebP", "a tile", "scans"])
def test_pillow_images_that_are_not_decoded_yet_are_refused_likewise(kind):
    make, said = HEADS[kind]
    file = make()
    with pytest.raises(ImageError, match=said):
        open_image(Image.open(io.BytesIO(file)))


def test_large_files_are_refused(tmp_path):
    file = encoded(picture(40, 40), "PNG")
    (tmp_path / "a.png").write_bytes(file)
    for source in (tmp_path / "a.png", file, io.BytesIO(file)):
        with pytest.raises(ImageError, match="bytes is over the limit"):
            open_image(source, most_bytes=len(file) - 1)


PEAK = """
import resource, sys
from pathlib import Path
from squeezenet.runtime.image import Framing, cut, open_image
start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
cut(open_image(sys.argv[1]), Framing((256, 256), (227, 227), sys.argv[2], "RGB"))
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(peak, resource.getrusage(resource.RUSAGE_SELF).ru_utime - start)
"""
LARGE = {
    "a column": lambda: png(1, 10_000_000, 8, 0, b"\0\x80"),
    "a row": lambda: png(6_000_000, 1, 8, 0, b"\0" + bytes(6_000_000)),
    "a transparent bit": lambda: png(12_200, 12_200, 1, 0, b"\0" + bytes(1525), chunk(b"tRNS", b"\0\0")),
    "a transparent index": lambda: png(
        12_200, 12_200, 1, 3, b"\0" + bytes(1525), chunk(b"PLTE", b"123456"), chunk(b"tRNS", b"\0\x80")
    ),
    "interlaced": lambda: png(8_000, 8_000, 1, 0, b"\0" + bytes(2000), interlaced=1),
    "a photograph": lambda: encoded(Image.new("RGB", (12_000, 9_000), "teal"), "JPEG"),
    "CMYK": lambda: encoded(Image.new("CMYK", (9_000, 9_000)), "JPEG"),
    "progressive": lambda: encoded(Image.new("RGB", (6_000, 6_000), "teal"), "JPEG", progressive=True),
    "turned": lambda: encoded(Image.new("RGB", (7_000, 7_000)), "PNG", exif=UNWRITABLE, compress_level=1),
}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("fit", ["stretch", "shorter"])
def test_large_images_take_little_memory(kind, fit, tmp_path):
    if sys.platform != "linux":
        pytest.skip("counts kilobytes as Linux does")
    if fit == "shorter" and "column" not in kind and "row" not in kind:
        pytest.skip("the shape makes no difference")
    (tmp_path / "image").write_bytes(LARGE[kind]())
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path / "image", fit], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kilobytes, seconds = map(float, done.stdout.split())
    assert kilobytes < 390_000
    assert seconds < 10  # one or two, where nothing else runs


# Sources


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_read_and_none_decides(suffix, tmp_path):
    kinds = {
        ".avif": "AVIF",
        ".webp": "WEBP",
        ".gif": "GIF",
        ".bmp": "BMP",
        ".dib": "DIB",
        ".tif": "TIFF",
        ".tiff": "TIFF",
    }
    kind = kinds.get(suffix, "PNG" if "png" in suffix else "PPM" if suffix[2:] in ("pm", "bm", "gm", "nm") else "JPEG")
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    for name in (f"a{suffix}", f"a{suffix.upper()}", "a", "a.jpg"):
        path = tmp_path / name
        path.write_bytes(encoded(Image.new("RGB", (16, 12), (200, 40, 40)), kind))
        assert open_image(path).size == (16, 12)


@pytest.mark.parametrize(
    "wrap", [bytes, bytearray, memoryview, io.BytesIO, lambda data: memoryview(data + data)[::1][: len(data)]]
)
def test_anything_that_holds_a_file(wrap):
    file = encoded(picture(30, 20), "PNG")
    assert np.array_equal(open_image(wrap(file)), open_image(file))


def test_open_files_are_read_from_their_start(tmp_path):
    file = encoded(picture(30, 20), "PNG")
    (tmp_path / "a.png").write_bytes(file)
    with (tmp_path / "a.png").open("rb") as opened, tempfile.SpooledTemporaryFile() as spooled:
        spooled.write(file)
        opened.read()
        for source in (opened, spooled, opened):
            assert np.array_equal(open_image(source), open_image(file))
    with (tmp_path / "a.png").open(encoding="latin-1") as text, pytest.raises(ImageError, match="binary mode"):
        open_image(text)


def test_arrays_are_pixels():
    rgb = np.random.default_rng(0).integers(0, 256, (12, 20, 4), np.uint8)
    assert np.array_equal(open_image(rgb[:, :, :3]), rgb[:, :, :3])
    assert np.array_equal(open_image(rgb[:, :, 0]), rgb[:, :, 0])
    assert np.array_equal(open_image(rgb[:, :, 3:]), rgb[:, :, 3])
    assert np.array_equal(
        open_image(np.dstack([rgb[:, :, :3], np.zeros((12, 20), np.uint8)])), np.full((12, 20, 3), 255)
    )
    preparation = Preparation(16, 16)
    assert np.array_equal(prepare(rgb[:, :, :3], preparation), prepare(Image.fromarray(rgb[:, :, :3]), preparation))


@pytest.mark.parametrize(
    "source",
    [
        np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint16),
        np.zeros(8, np.uint8),
        np.zeros((0, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8), np.zeros((8, 8), bool), 7, None, object(), 1.5,
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_in_a_sentence(source):
    with pytest.raises(ImageError, match="pass ") as caught:
        open_image(source)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_pipes_and_devices_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero"), Path("/dev/tty")):
        if path.exists():
            with pytest.raises(ImageError, match=path.name):
                open_image(path)
