"""Synthetic calibration images, for networks that come without images: the dead leaves model.

    >>> from squeezenet.preparation import Preparation
    >>> synthetic_images(2, Preparation.imagenet_caffe(), seed=0).shape
    torch.Size([2, 3, 227, 227])

Discs and boxes ("leaves") of random colour cover one another. Their sizes follow a power law, and each has a linear
shade (Lee, Mumford and Huang 2001; networks can be trained on such images: Baradad et al. 2021, 2106.05963). Texture is
added: noise whose spectrum is a power of the frequency. Some images get little contrast; some are blurred. This brings
the ranges and the covariances of a layer's inputs near to those of photographs.
"""

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise

# Lengths are multiples of the image's side if no unit is given; brightness is from 0 to 255.
LEAVES = 120  # of an image
SMALLEST = 0.03  # smallest radius of a leaf
COLOUR, SHADE = 35.0, 60.0  # standard deviations: of a leaf's channels from its grey; of its shade, along a side
GRAIN, TEXTURE = 12.0, 40.0  # largest standard deviations of white noise and of texture
FALL = (0.6, 1.4)  # range of the power by which the amplitude of texture falls with the frequency
FAINTEST = 0.4  # smallest factor of the contrast
BLUR = 1.5  # largest standard deviation of the blur, in pixels


def synthetic_images(count: int, preparation: Preparation, seed: int = 0) -> Tensor:
    """`count` prepared images (N, C, H, W): the centres of squares, which have the longer side."""
    random = np.random.default_rng(seed)
    channels, height, width = preparation.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    middle = np.s_[:, top : top + height, left : left + width]
    images = np.stack([_photographed(random, channels, side)[middle] for _ in range(count)])
    return torch.from_numpy(normalise(images, preparation)).contiguous(memory_format=torch.channels_last)


def _photographed(random: np.random.Generator, channels: int, side: int) -> np.ndarray:
    """One image (channels, side, side), 0 to 255."""
    image = _leaves(random, channels, side)
    image += random.normal(0, GRAIN * random.random(), (1, side, side))
    image = np.clip(image, 0, 255) + TEXTURE * random.random() * _texture(random, side)
    mean = image.mean((1, 2), keepdims=True)
    image = np.clip(mean + (image - mean) * random.uniform(FAINTEST, 1), 0, 255).astype(np.uint8)
    focus = ImageFilter.GaussianBlur(random.uniform(0, BLUR))
    return np.stack([np.asarray(Image.fromarray(channel).filter(focus)) for channel in image])


def _leaves(random: np.random.Generator, channels: int, side: int) -> np.ndarray:
    """A background and `LEAVES` leaves over it (channels, side, side)."""
    positions = np.arange(side) / side
    image = np.empty((channels, side, side))
    _paint(random, image, np.full((side, side), True), positions[:, None] - 0.5, positions - 0.5)
    for _ in range(LEAVES):
        radius = SMALLEST / np.sqrt(random.uniform(SMALLEST**2 * 4, 1))  # density falls with the cube of the radius
        y, x, turn = random.uniform(-0.1, 1.1), random.uniform(-0.1, 1.1), random.uniform(0, np.pi)
        near = [np.flatnonzero(abs(positions - centre) <= 1.5 * radius) for centre in (y, x)]
        down, right = positions[near[0], None] - y, positions[near[1]] - x
        if random.random() < 0.5:
            inside = down**2 + right**2 < radius**2
        else:
            along, across = down * np.cos(turn) + right * np.sin(turn), right * np.cos(turn) - down * np.sin(turn)
            inside = (abs(along) < radius) & (abs(across) < radius * random.uniform(0.2, 1))
        rows, columns = (slice(each[0], each[-1] + 1) if len(each) else slice(0) for each in near)
        _paint(random, image[:, rows, columns], inside, down, right)
    return image


def _paint(
    random: np.random.Generator, image: np.ndarray, inside: np.ndarray, down: np.ndarray, right: np.ndarray
) -> None:
    """Colour the pixels of `image` that are `inside` a leaf; `down` and `right` are distances from its centre."""
    colour = random.uniform(0, 255) + random.normal(0, COLOUR if len(image) > 1 else 0, (len(image), 1))
    slope = random.normal(0, SHADE, 2)
    image[:, inside] = colour + (slope[0] * down + slope[1] * right)[inside]


def _texture(random: np.random.Generator, side: int) -> np.ndarray:
    """Noise (side, side) of variance 1 whose spectrum falls with a power of the frequency."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side))
    frequency[0, 0] = np.inf
    noise: np.ndarray = np.fft.ifft2(
        np.fft.fft2(random.normal(size=(side, side))) / frequency ** random.uniform(*FALL)
    ).real
    noise /= noise.std()
    return noise
