"""Training batches: decoded once into memory where they fit, else decoded again and again by threads.

    >>> source = open_source(examples, preparation)                      # doctest: +SKIP
    >>> for batch in source.batches(orders):                              # doctest: +SKIP
    ...     batch.images.shape
    torch.Size([512, 3, 256, 256])

The order depends on seed and epoch alone, never on the number of threads, so a run can be taken up anywhere.
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
"""Decoded images that may stay in memory."""

Slice = Callable[[Indices], Indices]


@dataclass(frozen=True, eq=False)
class Batch:
    """The part of one step's images that this process has."""

    images: Tensor  # (n, C, resize, resize) uint8
    labels: Tensor  # (n,) int64
    rows: Tensor  # (n,) where in the whole batch they stand
    size: int  # of the whole batch, with what cannot be read
    unreadable: tuple[tuple[int, str], ...] = ()  # (index, reason) of images of this part that are left out


def everything(indices: Indices) -> Indices:
    """The share of a process that is alone."""
    return indices


def canvas(preparation: Preparation) -> Preparation:
    """The preparation without its crop, which training takes at random: (C, resize, resize)."""
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
        """One epoch's batches: every image once, batches as equal as they can be and none over `batch_size`."""
        random = np.random.default_rng((seed, epoch))
        count = len(self)
        order = random.permutation(count) if self.held is not None else shuffled(self.examples.images, random)
        return np.array_split(order, batches_per_epoch(count, batch_size))

    def batches(self, orders: Iterable[Indices], mine: Slice = everything) -> Iterator[Batch]:
        """The images and labels at each array of indices, of which `mine` says what this process shall have."""
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
    """How many batches show every image once."""
    return max(1, -(-images // batch_size))


def open_source(
    examples: Examples,
    preparation: Preparation,
    cache_bytes: int = CACHE_BYTES,
    workers: int | None = None,
    device: torch.device | None = None,
) -> Source:
    """Make training images ready: on `device` if they fit into `cache_bytes`, else to be decoded again and again.

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
