"""Training batches: decoded once if all images fit into memory, else decoded by threads in every epoch.

    >>> source = open_source(examples, preparation)                      # doctest: +SKIP
    >>> for batch in source.batches(orders):                              # doctest: +SKIP
    ...     batch.images.shape
    torch.Size([512, 3, 256, 256])

The order depends only on seed and epoch, not on the number of threads, so a stopped run can continue at any step.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from squeezenet.data.examples import Examples, Indices, shuffled
from squeezenet.data.pixels import decode, load_pixels
from squeezenet.preparation import Preparation

CACHE_BYTES = 2 * 2**30
"""Bytes of decoded images that may stay in memory."""

Slice = Callable[[Indices], Indices]


@dataclass(frozen=True, eq=False)
class Batch:
    """This process's part of the batch of one step."""

    images: Tensor  # (n, C, height, width) uint8, not cropped
    labels: Tensor  # (n,) int64
    rows: Tensor  # (n,) positions in the whole batch
    size: int  # of the whole batch, unreadable images included
    unreadable: tuple[tuple[int, str], ...] = ()  # (index, reason) of the images of this part that cannot be read


def canvas(preparation: Preparation) -> Preparation:
    """The preparation without its crop, since training crops at random: (C, *resize)."""
    return replace(preparation, crop=preparation.resize)


@dataclass(frozen=True, eq=False)
class Held:
    """All training images decoded, on the device that trains."""

    images: Tensor  # (N, C, resize, resize) uint8
    labels: Tensor  # (N,) int64
    unreadable: tuple[tuple[int, str], ...]


@dataclass(frozen=True, eq=False)
class Source:
    """Training images of one run. `held` is None where they do not fit into memory."""

    examples: Examples
    preparation: Preparation  # a canvas
    held: Held | None
    workers: int | None

    def __len__(self) -> int:
        return len(self.examples) if self.held is None else len(self.held.labels)

    def order(self, batch_size: int, seed: int, epoch: int) -> list[Indices]:
        """The batches of one epoch: every image once, in batches of nearly equal size, at most `batch_size`."""
        random = np.random.default_rng((seed, epoch))
        count = len(self)
        order = random.permutation(count) if self.held is not None else shuffled(self.examples.images, random)
        return np.array_split(order, batches_per_epoch(count, batch_size))

    def batches(self, orders: Iterable[Indices], mine: Slice = lambda indices: indices) -> Iterator[Batch]:
        """A batch for each array of indices; `mine` selects the part of this process."""
        if self.held is not None:
            held = self.held
            for order in orders:
                rows = mine(np.arange(len(order)))
                where = torch.from_numpy(order[rows]).to(held.labels.device)
                yield Batch(held.images[where], held.labels[where], torch.from_numpy(rows), len(order))
            return
        labels = self.examples.require_labels()
        wanted: deque[Indices] = deque()

        def parts() -> Iterator[Indices]:
            for order in orders:
                wanted.append(order)
                yield mine(order)

        for part in decode(self.examples, parts(), self.preparation, self.workers, training=True):
            order = wanted.popleft()
            rows = mine(np.arange(len(order)))
            rows = rows[np.isin(order[rows], part.indices)]
            yield Batch(
                torch.from_numpy(part.images), torch.from_numpy(labels[part.indices]), torch.from_numpy(rows),
                len(order), part.unreadable,
            )  # fmt: skip


def batches_per_epoch(images: int, batch_size: int) -> int:
    """The number of batches that show every image once."""
    return max(1, -(-images // batch_size))


def open_source(
    examples: Examples,
    preparation: Preparation,
    cache_bytes: int = CACHE_BYTES,
    workers: int | None = None,
    device: torch.device | None = None,
) -> Source:
    """The training images: decoded on `device` if they fit into `cache_bytes`, else decoded in every epoch.

    Raises `DataError` if there are no labels, or no image can be read.
    """
    labels = examples.require_labels()
    whole = canvas(preparation)
    if len(examples) * int(np.prod(whole.shape)) > cache_bytes:
        return Source(examples, whole, None, workers)
    pixels = load_pixels(examples, whole, workers=workers)
    images, known = torch.from_numpy(pixels.images), torch.from_numpy(labels[pixels.indices])
    device = device or torch.device("cpu")
    return Source(examples, whole, Held(images.to(device), known.to(device), pixels.unreadable), workers)
