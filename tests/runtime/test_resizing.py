"""The engine resizes images to the same bits as Pillow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from squeezenet.runtime import image as module
from squeezenet.runtime.image import Framing, cut, cut_by_pillow

pytestmark = pytest.mark.skipif(not module.HAS_ENGINE, reason="the C engine was not built here")


def picture(width: int, height: int, mode: str, seed: int) -> Image.Image:
    """Noise; for odd seeds only black and white, whose sums are the largest."""
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 256, (height, width, 3) if mode == "RGB" else (height, width), np.uint8)
    return Image.fromarray(np.where(array > 127, 255, 0).astype(np.uint8) if seed % 2 else array)


@st.composite
def framings(draw: st.DrawFn) -> Framing:
    resize = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    crop = draw(st.integers(1, resize[0])), draw(st.integers(1, resize[1]))
    return Framing(resize, crop, draw(st.sampled_from(["stretch", "shorter"])), draw(st.sampled_from(["RGB", "L"])))


@settings(max_examples=150, deadline=None)
@given(
    framings(),
    st.integers(1, 700),
    st.integers(1, 700),
    st.sampled_from(["RGB", "L"]),
    st.integers(0, 2**32 - 1),
)
def test_the_engine_has_pillows_bits(framing: Framing, width: int, height: int, mode: str, seed: int) -> None:
    image = picture(width, height, mode, seed)
    assert cut(image, framing).tobytes() == cut_by_pillow(image, framing).tobytes()


@pytest.mark.parametrize("size", [(70_001, 3), (2, 90_000), (40_000, 17), (32_769, 1), (1, 65_537), (32_768, 5)])
@pytest.mark.parametrize("framing", [(256, 227, "stretch"), (256, 224, "shorter"), (1, 1, "stretch")])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_very_long_images_are_averaged_as_by_pillow(size: tuple[int, int], framing: tuple[int, int, str], mode: str):
    resize, crop, fit = framing
    image = picture(*size, mode, sum(size))
    for channels in ("RGB", "L"):
        asked = Framing((resize, resize), (crop, crop), fit, channels)
        assert cut(image, asked).tobytes() == cut_by_pillow(image, asked).tobytes()


def test_three_bytes_a_pixel_are_as_good_as_four() -> None:
    image, asked = picture(301, 203, "RGB", 0), Framing((97, 64), (91, 60), "stretch", "RGB")
    found = module._engine.resize(
        asked.resized, asked.cropped, False, False, *image.size, 3, lambda part: image.crop(part).tobytes()
    )
    assert found == cut_by_pillow(image, asked).tobytes()


def test_errors_are_pythons() -> None:
    def broken(part: tuple[int, int, int, int]) -> bytes:
        raise OSError("gone")

    size = (8, 8), (8, 8), False, False
    with pytest.raises(OSError, match="gone"):
        module._engine.resize(*size, 100, 100, 4, broken)
    with pytest.raises(ValueError, match="not the bytes"):
        module._engine.resize(*size, 100, 100, 4, lambda part: b"")
    for impossible in ((0, 100, 4), (100, 0, 4), (100, 100, 2), (2**31, 100, 4)):
        with pytest.raises(ValueError, match="cannot be resized"):
            module._engine.resize(*size, *impossible, lambda part: b"")
    with pytest.raises(ValueError, match="cannot be resized"):
        module._engine.resize((8, 8), (9, 8), False, False, 100, 100, 4, lambda part: b"")
