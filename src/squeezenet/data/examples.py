"""One split of a data set: images, which are read when they are used, labels, and class names.

>>> from PIL import Image
>>> Examples("two", [Image.new("L", (8, 8))] * 2, np.array([0, 2]), ("cat", "dog", "fox")).empty_classes
('dog',)
"""

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from squeezenet.errors import DataError

ImageSource = bytes | Path | Image.Image
Indices = NDArray[np.int64]


class StoredImages(Sequence[ImageSource]):
    """Images in a file or store that is much faster to read in some orders than in others."""

    concurrent = False
    """Whether several threads may read images at once."""

    def shuffled(self, random: np.random.Generator) -> Indices:
        """All indices, in a random order that is fast to read."""
        return random.permutation(len(self))

    @abstractmethod
    def identity(self) -> bytes:
        """Bytes that identify the images, as far as possible without reading them."""


class Picked(StoredImages):
    """Some images of another sequence, not read yet."""

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
        return np.argsort(rank[self.indices], kind="stable")  # an image may be there twice

    def identity(self) -> bytes:
        return identity(self.images) + self.indices.astype("<i8").tobytes()


def concurrent(images: Sequence[ImageSource]) -> bool:
    """Whether several threads may read `images` at once."""
    return images.concurrent if isinstance(images, StoredImages) else True


def shuffled(images: Sequence[ImageSource], random: np.random.Generator) -> Indices:
    """All indices of `images`, in a random order that is fast to read."""
    if isinstance(images, StoredImages):
        return images.shuffled(random)
    return random.permutation(len(images))


def identity(images: Sequence[ImageSource]) -> bytes:
    """Bytes that identify `images` by names and sizes; no image is read."""
    if isinstance(images, StoredImages):
        return images.identity()
    return b"".join(os.fsencode(image.name) + b"/" if isinstance(image, Path) else b"/" for image in images)


@dataclass(frozen=True, eq=False)
class Examples:
    """One split. `images` holds what `runtime.image.open_image` accepts; `labels` (N,) is None without labels.

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
                f"({len(outside)} such images); correct the labels or the list of class names"
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
    """At most `images` examples, evenly taken. Raises `DataError` if `images` is below 1."""
    have = len(examples)
    if images is not None and images < 1:
        raise DataError(f"{images} images are too few; ask for at least one")
    return examples if images is None or images >= have else examples.take(np.arange(images) * have // images)


@dataclass(frozen=True)
class HeldOut:
    """Which images of a data set without splits were held out for validation, and how to find them again.

    One image in `every` was held out, chosen by `seed`. `images` (their number) and `fingerprint` (a hash of classes,
    labels, file names and the held-out indices) tell whether a data set is the one that was split.
    """

    every: int
    seed: int
    images: int
    fingerprint: str  # 16 hexadecimal digits

    def apply(self, examples: Examples) -> Examples:
        """The held-out images of `examples`. Raises `DataError` if it is not the data set that was split.

        `examples` are all images of `load_evaluation(source)`, before their classes are matched to a model's.
        """
        again = split(examples, self.every, self.seed)
        if again.held_out != self:
            now = "other files or labels" if len(examples) == self.images else f"{len(examples):,}"
            raise DataError(
                f"{examples.name}: is not the data set that was split for training, which had {self.images:,} "
                f"images; this one has {now}; name images that the model was not trained on"
            )
        return again.validation

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "HeldOut":
        """The inverse of `to_dict`. Raises `DataError` if `saved` is anything else."""
        kinds = {"every": int, "seed": int, "images": int, "fingerprint": str}
        known = isinstance(saved, dict) and saved.keys() == kinds.keys()
        if not known or any(type(saved[name]) is not kind for name, kind in kinds.items()) or saved["every"] < 1:
            raise DataError(f"the record of a split needs {', '.join(kinds)}; train again to write one")
        return cls(**saved)


def fingerprint(examples: Examples, held: Sequence[int] | Indices = ()) -> str:
    """16 hexadecimal digits: a hash of classes, labels, order, file names and `held`, the indices that were held out.

    It does not depend on the folder of the files.
    """
    digest = hashlib.sha256(json.dumps([len(examples), examples.classes]).encode())
    digest.update(b"" if examples.labels is None else examples.labels.astype("<i8").tobytes())
    digest.update(identity(examples.images))
    digest.update(np.asarray(held, "<i8").tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Data:
    """A training set and a validation set with the same `classes`.

    `held_out` says how the validation set was taken from the training set. It is None if the source has a validation
    split, or if another source was named.
    """

    train: Examples
    validation: Examples
    held_out: HeldOut | None = None

    def require_classes(self) -> int:
        """The number of classes. Raises `DataError` without labels, or with only one class."""
        self.train.require_labels()
        self.validation.require_labels()
        classes = len(self.train.classes)
        if classes < 2:
            raise DataError(f"{self.train.name}: has one class only; training needs images of two classes or more")
        return classes


def split(examples: Examples, every: int, seed: int) -> Data:
    """Hold out one image in `every` for validation, evenly over the classes; the same images for the same seed."""
    if len(examples) < 2:
        raise DataError(f"{examples.name}: too few images to hold some out for validation; give --val")
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    if examples.labels is not None:  # sorted by class, so that every class gives the same share
        order = order[np.argsort(examples.labels[order], kind="stable")]
    held = np.sort(order[random.integers(min(every, len(order))) :: every])
    how = HeldOut(every, seed, len(examples), fingerprint(examples, held))
    return Data(examples.take(np.setdiff1d(order, held)), examples.take(held), how)
