"""Random crops, mirrors and distortions of a batch of images, on the device of the batch.

    >>> images = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    >>> augment(images, Augmentation(pad=2), (16, 16), draw(4, torch.Generator().manual_seed(0))).shape
    torch.Size([4, 1, 16, 16])

The random numbers are `draws` (N, 11): uniform, one row for each image, drawn on the CPU for the whole batch. An image
is changed by its own row only, so the result does not depend on the device, the micro-batch or the number of machines.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from squeezenet.preparation import Preparation

# Columns of `draws`.
_CORNER, _MIRROR, _ROTATE, _ZOOM, _LIGHT, _ERASE, _AREA, _SHAPE = slice(0, 2), 2, 3, 4, slice(5, 7), slice(7, 9), 9, 10
DRAWS = 11

Sides = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed at random. Defaults, as in the paper: a random crop, a mirror half the time."""

    mirror: bool = True  # wrong for digits and text
    area: float = 1.0  # smallest share of the image in a crop, which is resized to full size and stretched by up to 4:3
    pad: int = 0  # pixels by which a crop may go beyond the image, whose edge is repeated
    rotate: float = 0.0  # degrees at most, in both directions
    zoom: float = 0.0  # 0.1: 10% larger or smaller at most
    light: float = 0.0  # 0.2: contrast changes by 20% at most, brightness by 20% of the range around the mean
    erase: int = 0  # side of a square, in pixels, that is set to the mean at a random position

    @property
    def distorts(self) -> bool:
        """Whether pixels are interpolated."""
        return self.rotate > 0 or self.zoom > 0


def draw(n: int, random: torch.Generator) -> Tensor:
    """The random numbers for `n` images: (n, DRAWS), uniform from 0 to 1."""
    return torch.rand(n, DRAWS, generator=random)


def network_input(images: Tensor, how: Augmentation, preparation: Preparation, draws: Tensor) -> Tensor:
    """(N, C, *resize) uint8 -> (N, C, *crop) float32: augmented, normalised, channels last in memory.

    The same bits on both paths: `augment`, then `(pixel - mean) / std`, then `finish`.
    """
    if images.device.type == "cpu" and not how.pad and not how.distorts and how.area == 1:
        return finish(_cut_and_normalise(images, how, preparation, draws), how, draws)
    return finish(normalised(augment(images, how, preparation.cropped, draws), preparation), how, draws)


def normalised(images: Tensor, preparation: Preparation) -> Tensor:
    """(pixel - mean) / std of images (N, C, H, W): float32 on their device, channels last in memory."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (preparation.mean, preparation.std))
    x = images.to(torch.float32, copy=True).contiguous(memory_format=torch.channels_last)
    return x.sub_(mean).div_(std)


def _cut_and_normalise(images: Tensor, how: Augmentation, preparation: Preparation, draws: Tensor) -> Tensor:
    """Crop and normalise one image after the other, so that it stays in the cache: eight times as fast (256 pixels)."""
    (height, width), mean, std = preparation.cropped, torch.tensor(preparation.mean), torch.tensor(preparation.std)
    n, c, tall, wide = images.shape
    corners, mirrored = _corners(draws, (tall - height + 1, wide - width + 1), how)
    mean, std = mean.repeat(width), std.repeat(width)  # of a row of pixels
    # NumPy allocates large memory pages, PyTorch does not: page faults took two thirds of the time.
    result = torch.from_numpy(np.empty((n, height, width, c), np.float32))
    for image, room, (top, left), mirror in zip(images, result, corners.tolist(), mirrored.tolist(), strict=True):
        cut = image[:, top : top + height, left : left + width]
        room.permute(2, 0, 1).copy_(cut.flip(2) if mirror else cut)
        room.view(height, width * c).sub_(mean).div_(std)
    return result.permute(0, 3, 1, 2)


def _corners(draws: Tensor, span: Sides, how: Augmentation) -> tuple[Tensor, Tensor]:
    """Corners (N, 2) of crops, less than `span`, and whether each is mirrored (N,)."""
    room = torch.tensor(span)
    corners = (draws[:, _CORNER] * room).long().minimum(room - 1)
    return corners, (draws[:, _MIRROR] < 0.5) & how.mirror


def augment(images: Tensor, how: Augmentation, crop: Sides, draws: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N, C, *crop), uint8 unless it distorts (then float32, 0 to 255)."""
    cut = _resized_crop(images.float(), how, crop, draws) if how.area < 1 else _crop(images, how, crop, draws)
    return _distort(cut.float(), how, draws) if how.distorts else cut


def _crop(images: Tensor, how: Augmentation, crop: Sides, draws: Tensor) -> Tensor:
    n, c, tall, wide = images.shape
    corner, mirrored = _corners(draws, (tall - crop[0] + 2 * how.pad + 1, wide - crop[1] + 2 * how.pad + 1), how)
    corner = corner - how.pad
    rows = (corner[:, :1] + torch.arange(crop[0])).clamp(0, tall - 1)  # (N, height); beyond the image, the edge
    columns = (corner[:, 1:] + torch.arange(crop[1])).clamp(0, wide - 1)  # (N, width)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    batch, channel = torch.arange(n, device=images.device), torch.arange(c, device=images.device)
    return images[batch[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def _resized_crop(images: Tensor, how: Augmentation, crop: Sides, draws: Tensor) -> Tensor:
    """A box of random area, aspect ratio and position, resized to `crop`, as in Inception (1409.4842)."""
    area, shape = how.area + (1 - how.area) * draws[:, _AREA], torch.exp((2 * draws[:, _SHAPE] - 1) * math.log(4 / 3))
    height, width = (area / shape).sqrt().clamp(max=1), (area * shape).sqrt().clamp(max=1)  # shares of the sides
    corner = draws[:, _CORNER]
    y, x = (1 - height) * (2 * corner[:, 0] - 1), (1 - width) * (2 * corner[:, 1] - 1)
    width = torch.where((draws[:, _MIRROR] < 0.5) & how.mirror, -width, width)
    zero = torch.zeros(len(images))
    matrix = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
    return _sample(images, matrix, crop)


def _distort(images: Tensor, how: Augmentation, draws: Tensor) -> Tensor:
    """Rotate and scale each image around its centre; pixels from outside repeat the edge."""
    angle = (2 * draws[:, _ROTATE] - 1) * math.radians(how.rotate)
    scale = 1 + (2 * draws[:, _ZOOM] - 1) * how.zoom
    cos, sin, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros(len(images))
    height, width = images.shape[2:]  # positions are shares of the sides
    rows = [torch.stack([cos, -sin * (height / width), zero], 1), torch.stack([sin * (width / height), cos, zero], 1)]
    return _sample(images, torch.stack(rows, 1), (height, width))  # matrices of (N, 2, 3)


def _sample(images: Tensor, matrix: Tensor, sides: Sides) -> Tensor:
    grid = F.affine_grid(matrix.to(images.device), [*images.shape[:2], *sides], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def finish(images: Tensor, how: Augmentation, draws: Tensor) -> Tensor:
    """Light and erased squares, on normalised images (N, C, H, W) where 0 is the mean; changes them in place."""
    height, width = images.shape[2:]
    if how.light > 0:
        change = how.light * (2 * draws[:, _LIGHT, None, None] - 1).to(images.device)[:, :, None]  # (N, 2, 1, 1, 1)
        spread = images.std((1, 2, 3), keepdim=True)
        images = images.mul_(1 + change[:, 0]).add_(change[:, 1] * spread)
    if how.erase > 0:
        corner = (draws[:, _ERASE] * torch.tensor([height, width])).long() - how.erase // 2
        row, column = torch.arange(height), torch.arange(width)
        hit_rows = (row >= corner[:, :1]) & (row < corner[:, :1] + how.erase)  # (N, H)
        hit_columns = (column >= corner[:, 1:]) & (column < corner[:, 1:] + how.erase)
        hidden = (hit_rows[:, :, None] & hit_columns[:, None, :]).to(images.device)
        images = images.masked_fill_(hidden[:, None], 0.0)
    return images
