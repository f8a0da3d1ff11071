"""One split of a data set, whatever it is stored in: images that are read when they are used, labels, class names.

>>> from PIL import Image
>>> Examples("two", [Image.new("L", (8, 8))] * 2, np.array([0, 2]), ("cat", "dog", "fox")).empty_classes
('dog',)
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from squeezenet.errors import DataError

ImageSource = bytes | Path | Image.Image
Indices = NDArray[np.int64]


class StoredImages(Sequence[ImageSource]):
    """Images in a store where some orders of reading are far cheaper than others."""

    concurrent = False
    """Whether several threads may read images at once."""

    @abstractmethod
    def shuffled(self, random: np.random.Generator) -> Indices:
        """Every index once, in a random order that is cheap to read."""


class Picked(StoredImages):
    """Some of the images of another sequence, still unread."""

    def __init__(self, images: Sequence[ImageSource], indices: Indices) -> None:
        self.images = images
        self.indices = indices
        self.concurrent = concurrent(images)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> ImageSource:  # type: ignore[override]
        return self.images[int(self.indices[index])]

    def shuffled(self, random: np.random.Generator) -> Indices:
        rank = np.empty(len(self.images), np.int64)
        rank[shuffled(self.images, random)] = np.arange(len(self.images))
        return np.argsort(rank[self.indices], kind="stable")  # an image may have been picked twice


def concurrent(images: Sequence[ImageSource]) -> bool:
    """Whether several threads may read `images` at once."""
    return images.concurrent if isinstance(images, StoredImages) else True


def shuffled(images: Sequence[ImageSource], random: np.random.Generator) -> Indices:
    """Every index of `images` once, in a random order that is cheap to read."""
    if isinstance(images, StoredImages):
        return images.shuffled(random)
    return random.permutation(len(images))


@dataclass(frozen=True, eq=False)
class Examples:
    """One split. `images` holds what `runtime.image.open_image` accepts; `labels` (N,) is None where there are none.

    Raises `DataError` if there are not as many labels as images, or if a label is outside `classes`.
    """

    name: str
    images: Sequence[ImageSource]
    labels: Indices | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if len(self.labels) != len(self.images):
            raise DataError(
                f"{self.name}: {len(self.labels)} labels for {len(self.images)} images; give each image one"
            )
        outside = self.labels[(self.labels < 0) | (self.labels >= len(self.classes))]
        if len(outside):
            raise DataError(
                f"{self.name}: label {outside[0]} is outside the {len(self.classes)} classes "
                f"({len(outside)} such images); mend the labels or the list of class names"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """Names of the classes that have no image here."""
        if self.labels is None:
            return ()
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return tuple(name for name, count in zip(self.classes, counts, strict=True) if count == 0)

    def take(self, indices: Indices) -> "Examples":
        """The examples at `indices`, in that order."""
        indices = np.asarray(indices, np.int64)
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=Picked(self.images, indices), labels=labels)

    def require_labels(self) -> Indices:
        """The labels (N,). Raises `DataError` where there are none."""
        if self.labels is None:
            raise DataError(f"{self.name}: has no labels; give folders named after classes, or a `label` column")
        return self.labels


def some(examples: Examples, images: int | None) -> Examples:
    """At most `images` of them, evenly taken. Raises `DataError` for less than one."""
    have = len(examples)
    if images is not None and images < 1:
        raise DataError(f"{images} images are not enough; ask for at least one")
    return examples if images is None or images >= have else examples.take(np.arange(images) * have // images)


@dataclass(frozen=True)
class Data:
    """What a network is trained on and what it is judged by. Both have the same `classes`."""

    train: Examples
    validation: Examples


def split(examples: Examples, every: int, seed: int) -> Data:
    """Set one image in `every` aside for validation, evenly over the classes; the same for the same seed."""
    if len(examples) < 2:
        raise DataError(f"{examples.name}: too few images to set some aside for validation; give --val")
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    if examples.labels is not None:  # class after class, so that every class gives its share, rounded up or down
        order = order[np.argsort(examples.labels[order], kind="stable")]
    held = np.sort(order[random.integers(min(every, len(order))) :: every])
    return Data(examples.take(np.setdiff1d(order, held)), examples.take(held))
