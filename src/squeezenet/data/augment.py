"""Random crops, mirrors and small distortions, a batch at a time and on the device where the batch is.

    >>> images = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    >>> augment(images, Augmentation(pad=2), 16, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 16, 16])

All random numbers are drawn on the CPU from one generator, so a run gives the same images on every device.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from squeezenet.preparation import Preparation


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image; the defaults are the paper's: a random crop, and a mirror half the time."""

    mirror: bool = True  # wrong for digits and text
    pad: int = 0  # pixels the crop may hang over the edge, which is repeated; for images that are not larger than it
    rotate: float = 0.0  # degrees, at most, either way
    zoom: float = 0.0  # 0.1: 10% larger or smaller at most
    light: float = 0.0  # 0.2: contrast changes by 20% at most, brightness by 20% of the range around the mean
    erase: int = 0  # side of a square, in pixels, that is set to the mean at a random place

    @property
    def distorts(self) -> bool:
        """Whether pixels move by fractions, which costs an interpolation."""
        return self.rotate > 0 or self.zoom > 0


def network_input(images: Tensor, how: Augmentation, preparation: Preparation, random: torch.Generator) -> Tensor:
    """(N, C, R, R) uint8 -> (N, C, crop, crop) float32: augmented, normalised, channels last in memory.

    The same bits on every way through: `augment`, then `(pixel - mean) / std`, then `finish`.
    """
    crop = preparation.crop
    mean = torch.tensor(preparation.mean, device=images.device)
    std = torch.tensor(preparation.std, device=images.device)
    if images.device.type == "cpu" and not how.pad and not how.distorts:
        return finish(_cut_and_normalise(images, how, crop, random, mean, std), how, random)
    x = augment(images, how, crop, random).float().contiguous(memory_format=torch.channels_last)
    return finish(x.sub_(mean[:, None, None]).div_(std[:, None, None]), how, random)


def _cut_and_normalise(
    images: Tensor, how: Augmentation, crop: int, random: torch.Generator, mean: Tensor, std: Tensor
) -> Tensor:
    """An image at a time, while it is in the processor's cache: eight times as fast as the whole batch (256 pixels)."""
    n, c, size, _ = images.shape
    corners, mirrored = _draw(n, size - crop + 1, how, random)
    mean, std = mean.repeat(crop), std.repeat(crop)  # of a row of pixels
    # NumPy asks for large pages, PyTorch does not: faults of small ones took two thirds of the time.
    result = torch.from_numpy(np.empty((n, crop, crop, c), np.float32))
    for image, room, (top, left), mirror in zip(images, result, corners.tolist(), mirrored.tolist(), strict=True):
        cut = image[:, top : top + crop, left : left + crop]
        room.permute(2, 0, 1).copy_(cut.flip(2) if mirror else cut)
        room.view(crop, crop * c).sub_(mean).div_(std)
    return result.permute(0, 3, 1, 2)


def _draw(n: int, span: int, how: Augmentation, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Corners (N, 2) of crops, less than `span`, and whether each is mirrored (N,)."""
    corners = torch.randint(span, (n, 2), generator=random)
    mirrored = torch.rand(n, generator=random) < 0.5
    return corners, mirrored & how.mirror


def augment(images: Tensor, how: Augmentation, crop: int, random: torch.Generator) -> Tensor:
    """(N, C, R, R) uint8 -> (N, C, crop, crop), uint8 unless it distorts (then float32, 0 to 255)."""
    n, c, size, _ = images.shape
    corner, mirrored = _draw(n, size - crop + 2 * how.pad + 1, how, random)
    corner = corner - how.pad
    steps = torch.arange(crop)
    rows = (corner[:, :1] + steps).clamp(0, size - 1)  # (N, crop); what hangs over reads the edge
    columns = (corner[:, 1:] + steps).clamp(0, size - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    batch, channel = torch.arange(n, device=images.device), torch.arange(c, device=images.device)
    cut = images[batch[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]
    return _distort(cut.float(), how, random) if how.distorts else cut


def _distort(images: Tensor, how: Augmentation, random: torch.Generator) -> Tensor:
    """Rotate and scale each image around its centre; what comes in from outside repeats the edge."""
    n = len(images)
    angle = (2 * torch.rand(n, generator=random) - 1) * math.radians(how.rotate)
    scale = 1 + (2 * torch.rand(n, generator=random) - 1) * how.zoom
    cos, sin, zero = angle.cos() / scale, angle.sin() / scale, torch.zeros(n)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)  # (N, 2, 3)
    grid = F.affine_grid(matrix.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def finish(images: Tensor, how: Augmentation, random: torch.Generator) -> Tensor:
    """Light and erased squares, on normalised images (N, C, H, W) where 0 is the mean; changes them in place."""
    n, _, height, width = images.shape
    if how.light > 0:
        draws = (2 * torch.rand(2, n, 1, 1, 1, generator=random) - 1).to(images.device)
        spread = images.std() if images.numel() > 1 else images.new_tensor(1.0)
        images = images.mul_(1 + how.light * draws[0]).add_(how.light * draws[1] * spread)
    if how.erase > 0:
        corner = (
            torch.stack([torch.randint(side, (n,), generator=random) for side in (height, width)], 1) - how.erase // 2
        )
        row, column = torch.arange(height), torch.arange(width)
        hit_rows = (row >= corner[:, :1]) & (row < corner[:, :1] + how.erase)  # (N, H)
        hit_columns = (column >= corner[:, 1:]) & (column < corner[:, 1:] + how.erase)
        hidden = (hit_rows[:, :, None] & hit_columns[:, None, :]).to(images.device)
        images = images.masked_fill_(hidden[:, None], 0.0)
    return images
