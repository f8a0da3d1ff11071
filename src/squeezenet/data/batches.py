"""Training batches: decoded once into memory where they fit, else decoded again and again by threads.

    >>> source = open_source(examples, preparation)                      # doctest: +SKIP
    >>> for images, labels, unreadable in source.batches(orders):        # doctest: +SKIP
    ...     images.shape
    torch.Size([512, 3, 256, 256])

The order depends on seed and epoch alone, never on the number of threads, so a run can be taken up anywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from squeezenet.data.examples import Examples, Indices, shuffled
from squeezenet.data.pixels import Pixels, decode, load_pixels
from squeezenet.preparation import Preparation

CACHE_BYTES = 2 * 2**30
"""Decoded images that may stay in memory."""

Batch = tuple[Tensor, Tensor, tuple[tuple[int, str], ...]]
"""images (N, C, resize, resize) uint8, labels (N,) int64, and (index, reason) of those that could not be read."""


def canvas(preparation: Preparation) -> Preparation:
    """The preparation without its crop, which training takes at random: (C, resize, resize)."""
    return replace(preparation, crop=preparation.resize)


@dataclass(frozen=True, eq=False)
class Source:
    """Training images of one run. `held` are all of them decoded, or None where they do not fit into memory."""

    examples: Examples
    preparation: Preparation  # a canvas
    held: Pixels | None
    workers: int | None

    def __len__(self) -> int:
        return len(self.examples) if self.held is None else len(self.held)

    def order(self, batch_size: int, seed: int, epoch: int) -> list[Indices]:
        """One epoch's batches: every image once, batches as equal as they can be and none over `batch_size`."""
        random = np.random.default_rng((seed, epoch))
        count = len(self)
        order = random.permutation(count) if self.held is not None else shuffled(self.examples.images, random)
        return np.array_split(order, batches_per_epoch(count, batch_size))

    def batches(self, orders: Iterable[Indices]) -> Iterator[Batch]:
        """The images and labels at each array of indices."""
        labels = self.examples.require_labels()
        if self.held is not None:
            images, known = torch.from_numpy(self.held.images), torch.from_numpy(labels[self.held.indices])
            for order in orders:
                where = torch.from_numpy(order)
                yield images[where], known[where], ()
            return
        for part in decode(self.examples, orders, self.preparation, self.workers, training=True):
            yield torch.from_numpy(part.images), torch.from_numpy(labels[part.indices]), part.unreadable


def batches_per_epoch(images: int, batch_size: int) -> int:
    """How many batches show every image once."""
    return max(1, -(-images // batch_size))


def open_source(
    examples: Examples, preparation: Preparation, cache_bytes: int = CACHE_BYTES, workers: int | None = None
) -> Source:
    """Make training images ready. Raises `DataError` if there are no labels, or no image can be read."""
    examples.require_labels()
    whole = canvas(preparation)
    fits = len(examples) * int(np.prod(whole.shape)) <= cache_bytes
    return Source(examples, whole, load_pixels(examples, whole, workers=workers) if fits else None, workers)
