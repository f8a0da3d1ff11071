"""Images made by hand, and their files."""

import io

import numpy as np
from PIL import Image

RANDOM = np.random.default_rng(0)


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    coarse = RANDOM.integers(0, 256, (max(height // 8, 1), max(width // 8, 1), channels), np.uint8)
    array = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]
    full = np.zeros((height, width, channels), np.uint8)
    full[: array.shape[0], : array.shape[1]] = array
    return Image.fromarray(full[..., 0] if channels == 1 else full, mode if channels == 1 else None).convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
