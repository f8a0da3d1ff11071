"""From any file a camera or a data set may produce to pixels, and one clear line for those that cannot be read."""

import base64
import contextlib
import json
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from squeezenet.errors import ImageError
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise, open_image, pixels, prepare, resized
from support.pictures import encoded, picture


@pytest.mark.parametrize(
    ("kind", "mode", "options", "expected"),
    [
        ("JPEG", "RGB", {"quality": 95}, "RGB"),
        ("JPEG", "L", {}, "L"),
        ("JPEG", "CMYK", {}, "RGB"),
        ("PNG", "RGB", {}, "RGB"),
        ("PNG", "L", {}, "L"),
        ("WEBP", "RGB", {"lossless": True}, "RGB"),
        ("BMP", "RGB", {}, "RGB"),
        ("TIFF", "L", {}, "L"),
    ],
)
def test_formats_keep_their_pixels(kind, mode, options, expected):
    image = picture(40, 24).convert(mode)
    opened = open_image(encoded(image, kind, **options))
    assert opened.mode == expected
    assert opened.size == (40, 24)
    difference = np.abs(np.asarray(opened, int) - np.asarray(image.convert(expected), int)).mean()
    assert difference == 0 if kind != "JPEG" else difference < 30


def test_cmyk_jpeg_has_the_colours_it_shows():
    red = open_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.allclose(np.asarray(red).reshape(-1, 3).mean(0), (255, 0, 0), atol=12)


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    opened = open_image(encoded(Image.fromarray(ramp), "PNG"))
    assert opened.mode == "L"
    assert np.array_equal(np.asarray(opened), ramp >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(orientation):
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste("red", (0, 0, 8, 8))  # the upper left corner
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the operation that makes the file's pixels from upright ones
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    opened = open_image(encoded(stored, "PNG", exif=exif))
    assert opened.size == (32, 16)
    assert opened.getpixel((2, 2)) == (255, 0, 0)
    assert opened.getpixel((30, 14)) == (255, 255, 255)


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 4, 8))
    opened = open_image(encoded(image, "PNG"))
    assert opened.mode == "RGB"
    assert opened.getpixel((6, 4)) == (255, 255, 255)
    assert opened.getpixel((1, 4)) == (0, 0, 255)


def test_palette_and_bilevel_images():
    assert open_image(encoded(picture(16, 16).convert("P"), "PNG")).mode == "RGB"
    assert open_image(encoded(Image.new("1", (8, 8), 1), "PNG")).getpixel((0, 0)) == 255


def test_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    opened = open_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert opened.getpixel((4, 4)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 7)])
@pytest.mark.parametrize("fit", ["stretch", "shorter"])
@pytest.mark.parametrize(("resize", "crop"), [(40, (32, 32)), ((50, 20), (48, 20)), ((2, 700), (1, 700))])
def test_extreme_shapes(size, fit, resize, crop):
    image = Image.new("RGB", size, (10, 20, 30))
    result = prepare(encoded(image, "PNG"), Preparation(resize, crop, fit))
    assert result.shape == (3, *crop)
    assert np.array_equal(result.reshape(3, -1).T, np.tile(np.float32([10, 20, 30]), (crop[0] * crop[1], 1)))


def test_a_size_may_be_a_text():
    assert Preparation("48x192", "32x128") == Preparation((48, 192), (32, 128))
    with pytest.raises(ValueError, match="48x: a size is one number of pixels, or HEIGHTxWIDTH"):
        Preparation("48x", 32)


def test_ten_thousand_pixels_square():
    large = encoded(Image.new("1", (10_000, 10_000), 1), "PNG", compress_level=1)
    assert (prepare(large, Preparation(36, 32, channels="L", mean=(0.0,), std=(1.0,))) == 255).all()


def test_too_many_pixels_are_refused_before_they_are_decoded():
    header = encoded(Image.new("L", (1, 1)), "PNG")
    for width, height in [(12_250, 12_250), (60_000, 60_000)]:
        claimed = width.to_bytes(4, "big") + height.to_bytes(4, "big")
        chunk = b"IHDR" + claimed + header[24:29]
        forged = header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:]
        with pytest.raises(ImageError, match="150,000,000") as caught:
            open_image(forged)
        assert "\n" not in str(caught.value)


@pytest.fixture
def unreadable(tmp_path):
    (tmp_path / "text.jpg").write_text("this is not a photograph\n")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(encoded(picture(64, 64), "JPEG")[:400])
    (tmp_path / "cut.png").write_bytes(encoded(picture(64, 64), "PNG")[:150])
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "drawing.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text.jpg", "not an image"), ("empty.png", "not an image"), ("cut.jpg", "damaged"), ("cut.png", "damaged"),
        ("folder.jpg", "folder"), ("none.jpg", "no such file"), ("drawing.eps", "not an image"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why_in_one_line(unreadable, name, said):
    with pytest.raises(ImageError, match=said) as caught:
        open_image(unreadable / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_floating_point_pixels_are_refused():
    with pytest.raises(ImageError, match="floating-point"):
        open_image(Image.new("F", (4, 4)))


@settings(deadline=None, max_examples=60)
@given(data=st.binary(max_size=200), cut=st.integers(0, 300), flip=st.integers(0, 300))
def test_damage_gives_an_image_or_an_image_error(data, cut, flip):
    good = bytearray(encoded(Image.new("RGB", (24, 24), "teal"), "PNG"))
    good[flip % len(good)] ^= 0x55
    for attack in (data, bytes(good), bytes(good[:cut]) + data):
        with contextlib.suppress(ImageError):
            assert open_image(attack).mode in ("RGB", "L")


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    crop=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    more=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    square=st.booleans(),
    fit=st.sampled_from(["stretch", "shorter"]),
)
def test_crop_inside_the_resize_equals_resize_then_crop(size, crop, more, square, fit):
    tall, wide = (crop[0], crop[0]) if square else crop
    preparation = Preparation((tall + more[0], wide + more[0 if square else 1]), (tall, wide), fit)
    assert preparation.square or not square
    image = picture(*size)
    width, height = resized(image.size, preparation)
    left, top = round((width - wide) / 2), round((height - tall) / 2)
    explicit = image.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + wide, top + tall))
    difference = pixels(image, preparation).astype(int) - np.asarray(explicit).transpose(2, 0, 1)
    assert np.abs(difference).max() <= 2  # both passes round, and a pixel in a thousand images lies between twice


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    sides=st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_the_smallest_size_that_covers(size, sides):
    """Of all sizes with the aspect ratio of the image, rounded down along one side only."""
    width, height = resized(size, Preparation(sides, sides, "shorter"))
    assert height >= sides[0]
    assert width >= sides[1]
    assert height == sides[0] or width == sides[1]
    assert width in (sides[1], size[0] * height // size[1])
    assert height in (sides[0], size[1] * width // size[0])
    if sides[0] == sides[1]:
        assert (width, height) == tuple(side * sides[0] // min(size) for side in size)


def test_the_papers_protocol_is_resize_then_crop_exactly():
    image = picture(500, 333)
    explicit = image.resize((256, 256), Image.Resampling.BILINEAR).crop((14, 14, 241, 241))
    difference = pixels(image, Preparation(256, 227)).astype(int) - np.asarray(explicit).transpose(2, 0, 1)
    assert np.count_nonzero(difference) == 0


def test_channel_order_and_normalisation():
    preparation = Preparation(8, 8, "stretch", "BGR", (10.0, 20.0, 30.0), (2.0, 4.0, 8.0))
    result = prepare(Image.new("RGB", (8, 8), (100, 60, 50)), preparation)
    assert result[:, 0, 0].tolist() == [(50 - 10) / 2, (60 - 20) / 4, (100 - 30) / 8]
    assert result.dtype == np.float32
    batch = np.stack([pixels(Image.new("RGB", (8, 8), (100, 60, 50)), preparation)] * 2)
    assert np.array_equal(normalise(batch, preparation)[1], result)


def test_preparation_survives_json():
    oblong = Preparation((48, 200), (48, 192), "shorter")
    for preparation in (Preparation.imagenet_caffe(), Preparation.imagenet_torchvision(), oblong):
        assert Preparation.from_dict(json.loads(json.dumps(preparation.to_dict()))) == preparation


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    data = encoded(picture(64, 64), "JPEG")
    threads = [threading.Thread(target=lambda: [open_image(data) for _ in range(40)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


# The same bits with every version of Pillow


def generated(width: int, height: int, mode: str) -> Image.Image:
    """Pixels of a linear congruential generator."""
    state, bytes_ = width * 31 + height, bytearray()
    for _ in range(width * height * len(mode)):
        state = (1103515245 * state + 12345) & 0x7FFFFFFF
        bytes_.append(state >> 16 & 255)
    return Image.frombytes(mode, (width, height), bytes(bytes_))


def test_golden_pixels() -> None:
    """If this fails, Pillow resizes in another way than when models were trained (see benchmarks/pillow_bits.py)."""
    checksum = 0
    for size in ((160, 120), (97, 301), (1, 700), (64, 64), (31, 17)):
        for mode in ("RGB", "L"):
            for fit in ("stretch", "shorter"):
                preparation = Preparation(72, 64, fit, mode, (0.0,) * len(mode), (1.0,) * len(mode))
                checksum = zlib.crc32(pixels(generated(*size, mode), preparation).tobytes(), checksum)
    assert checksum == GOLDEN_PIXELS


def test_golden_jpeg() -> None:
    """Likewise of the library that decodes JPEGs."""
    assert zlib.crc32(open_image(base64.b64decode(JPEG)).tobytes()) == 0x31D68D10


GOLDEN_PIXELS = 0xA79E2696
JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5a"
    "YVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAAR"
    "CAAUABgDASIAAhEBAxEB/8QAGAABAAMBAAAAAAAAAAAAAAAAAAIFBgP/xAAqEAABAQYADwAAAAAAAAAAAAAAEQIDBAYSEwEUFSFCRFFSU4GC"
    "oaLC0f/EABcBAQEBAQAAAAAAAAAAAAAAAAYFAQL/xAAlEQAABQIEBwAAAAAAAAAAAAAAAQIDBCGxBTRRgRUxQVJhkdH/2gAMAwEAAhEDEQA/"
    "AJneG0uRX3W97sXUuOXcVjF9mqmlM6Iq7DJ0JxthSzMulxMfkpmtnHboateVK+dBAF9k6E4Xlh+gPifwGT3J9n8GHNDKmtdHsAM8Vyi9rkO8"
    "OzKd7GNCAAaFI//Z"
)
