"""Images for networks that come without any: dead leaves, the simplest picture of a world of things before each other.

    >>> from squeezenet.preparation import Preparation
    >>> made_up(2, Preparation.imagenet_caffe(), seed=0).shape
    torch.Size([2, 3, 227, 227])

Discs and boxes of random colour cover one another, sizes by a power law, each with a little texture (Lee, Mumford and
Huang 2001; that networks learn from such images: Baradad et al. 2021, 2106.05963). Edges, flat parts and contrasts are
distributed much as in photographs, and that is all that calibration asks for.
"""

import numpy as np
import torch
from torch import Tensor

from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise

LEAVES = 120
SMALLEST = 0.03  # radius, of the side
TEXTURE = 12.0  # standard deviation of the grain, of 255


def made_up(count: int, preparation: Preparation, seed: int = 0) -> Tensor:
    """`count` prepared images (N, C, crop, crop)."""
    random = np.random.default_rng(seed)
    images = np.stack([_leaves(random, preparation.shape[0], preparation.crop) for _ in range(count)])
    return torch.from_numpy(normalise(images, preparation)).contiguous(memory_format=torch.channels_last)


def _leaves(random: np.random.Generator, channels: int, side: int) -> np.ndarray:
    """One image (channels, side, side), 0 to 255."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    image = np.empty((channels, side, side), np.float32)
    image[:] = random.uniform(0, 255, (channels, 1, 1))
    for _ in range(LEAVES):
        radius = SMALLEST / np.sqrt(random.uniform(SMALLEST**2 * 4, 1))  # density falls with the cube of the radius
        y, x, turn = random.uniform(-0.1, 1.1), random.uniform(-0.1, 1.1), random.uniform(0, np.pi)
        down, right = rows - y, columns - x
        if random.random() < 0.5:
            inside = down**2 + right**2 < radius**2
        else:
            along, across = down * np.cos(turn) + right * np.sin(turn), right * np.cos(turn) - down * np.sin(turn)
            inside = (abs(along) < radius) & (abs(across) < radius * random.uniform(0.2, 1))
        grey = random.uniform(0, 255)
        colour = grey + random.normal(0, 35, (channels, 1)) if channels > 1 else np.full((1, 1), grey)
        shade = random.normal(0, 60, 2) @ np.stack([down[inside], right[inside]])
        image[:, inside] = colour + shade
    grain = random.normal(0, TEXTURE * random.random(), (1, side, side))
    return np.clip(image + grain, 0, 255).astype(np.uint8)
