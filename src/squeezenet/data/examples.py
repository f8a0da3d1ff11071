"""One split of a data set, whatever it is stored in: images that are read when they are used, labels, class names.

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
    """Images in a store where some orders of reading are far cheaper than others."""

    concurrent = False
    """Whether several threads may read images at once."""

    @abstractmethod
    def shuffled(self, random: np.random.Generator) -> Indices:
        """Every index once, in a random order that is cheap to read."""

    @abstractmethod
    def identity(self) -> bytes:
        """Bytes that differ where the store holds other images, as far as can be told without reading them."""


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

    def identity(self) -> bytes:
        return identity(self.images) + self.indices.astype("<i8").tobytes()


def concurrent(images: Sequence[ImageSource]) -> bool:
    """Whether several threads may read `images` at once."""
    return images.concurrent if isinstance(images, StoredImages) else True


def shuffled(images: Sequence[ImageSource], random: np.random.Generator) -> Indices:
    """Every index of `images` once, in a random order that is cheap to read."""
    if isinstance(images, StoredImages):
        return images.shuffled(random)
    return random.permutation(len(images))


def identity(images: Sequence[ImageSource]) -> bytes:
    """Bytes that differ where `images` are others, as far as names and sizes tell; nothing is read."""
    if isinstance(images, StoredImages):
        return images.identity()
    return b"".join(os.fsencode(image.name) + b"/" if isinstance(image, Path) else b"/" for image in images)


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
class HeldOut:
    """Which images of a data set without splits were set aside for validation, and how to find them again.

    One image in `every` was taken, chosen by `seed`. `images` and `fingerprint` tell whether a data set is still the
    one that was split: the number of its images, and a hash of its classes, labels, files and of what was set aside.
    """

    every: int
    seed: int
    images: int
    fingerprint: str  # 16 hexadecimal digits

    def apply(self, examples: Examples) -> Examples:
        """The images of `examples` that were set aside. Raises `DataError` if it is not the data set that was split.

        `examples` are as their source gives them: all images of `load_evaluation(source)`, before classes are matched
        to a model's.
        """
        again = split(examples, self.every, self.seed)
        if again.held_out != self:
            now = "other files or labels" if len(examples) == self.images else f"{len(examples):,}"
            raise DataError(
                f"{examples.name}: is not the data set that was split: it had {self.images:,} images and now has "
                f"{now}; name images that were not learned from"
            )
        return again.validation

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "HeldOut":
        """What `to_dict` gave. Raises `DataError` if `saved` is anything else."""
        kinds = {"every": int, "seed": int, "images": int, "fingerprint": str}
        known = isinstance(saved, dict) and saved.keys() == kinds.keys()
        if not known or any(type(saved[name]) is not kind for name, kind in kinds.items()) or saved["every"] < 1:
            raise DataError(f"the record of a split needs {', '.join(kinds)}; train again to write one")
        return cls(**saved)


def fingerprint(examples: Examples, held: Sequence[int] | Indices = ()) -> str:
    """16 hexadecimal digits; they depend on classes, labels, order and files, not on the folder where these lie.

    Also on `held`, the images that were set aside.
    """
    digest = hashlib.sha256(json.dumps([len(examples), examples.classes]).encode())
    digest.update(b"" if examples.labels is None else examples.labels.astype("<i8").tobytes())
    digest.update(identity(examples.images))
    digest.update(np.asarray(held, "<i8").tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Data:
    """What a network is trained on and what it is judged by. Both have the same `classes`.

    `held_out` says how validation was set aside; None where nothing was: the source has a validation split
    of its own, or another source was named.
    """

    train: Examples
    validation: Examples
    held_out: HeldOut | None = None

    def require_classes(self) -> int:
        """The number of classes. Raises `DataError` where an image has no label, or all have the same one."""
        self.train.require_labels()
        self.validation.require_labels()
        classes = len(self.train.classes)
        if classes < 2:
            raise DataError(f"{self.train.name}: one class teaches nothing; put images into two class folders or more")
        return classes


def split(examples: Examples, every: int, seed: int) -> Data:
    """Set one image in `every` aside for validation, evenly over the classes; the same for the same seed."""
    if len(examples) < 2:
        raise DataError(f"{examples.name}: too few images to set some aside for validation; give --val")
    random = np.random.default_rng(seed)
    order = random.permutation(len(examples))
    if examples.labels is not None:  # class after class, so that every class gives its share, rounded up or down
        order = order[np.argsort(examples.labels[order], kind="stable")]
    held = np.sort(order[random.integers(min(every, len(order))) :: every])
    how = HeldOut(every, seed, len(examples), fingerprint(examples, held))
    return Data(examples.take(np.setdiff1d(order, held)), examples.take(held), how)
