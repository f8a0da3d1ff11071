"""Files of images that tell classes apart by their colour."""

import numpy as np
from PIL import Image


def photograph(folder, colour, number):
    """An image that is mostly of one colour, of its own size and noise."""
    random = np.random.default_rng(number)
    noise = random.integers(-40, 40, (40 + number % 7, 48, 3))
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
