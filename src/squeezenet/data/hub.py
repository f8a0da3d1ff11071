"""A data set on the Hugging Face hub, by its id: the only source that may use the network.

>>> read_hub("uoft-cs/cifar10")["train"].classes[:2]          # doctest: +SKIP
('airplane', 'automobile')
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from squeezenet.data.examples import Examples, ImageSource, Indices, StoredImages
from squeezenet.errors import DataError


class HubImages(StoredImages):
    """The bytes of the images of one split, in the library's own memory-mapped cache."""

    def __init__(self, rows: Any, column: str) -> None:
        self.rows = rows
        self.column = column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ImageSource:  # type: ignore[override]
        value = self.rows[int(index)][self.column]
        return value["bytes"] if value["bytes"] is not None else value["path"]

    def shuffled(self, random: np.random.Generator) -> Indices:
        return random.permutation(len(self))

    def identity(self) -> bytes:
        return str(len(self)).encode()


def read_hub(source: str) -> dict[str, Examples]:
    """The splits of `owner/name`: train and validation, or "all". Raises `DataError`."""
    from datasets import ClassLabel, Image, load_dataset  # seconds to import, and only needed here

    try:
        with _quiet():
            splits = load_dataset(source)
    except Exception as error:  # whatever the library or the network raises, the user needs one line
        raise DataError(
            f"{source}: no such file or folder, and the hub does not give a data set of that name "
            f"({' '.join(str(error).split())[:200]})"
        ) from None
    held = next((name for name in ("validation", "valid", "val", "dev", "test") if name in splits), None)
    chosen = {"train": "train", "validation": held} if "train" in splits and held else {"all": next(iter(splits))}
    found = {}
    for name, key in chosen.items():
        rows = splits[key]
        image = next((column for column, f in rows.features.items() if isinstance(f, Image)), None)
        label = next((column for column, f in rows.features.items() if isinstance(f, ClassLabel)), None)
        if label is None:  # shards on the hub have numbers without names
            label = next((c for c in ("label", "labels", "cls") if _is_number(rows.features.get(c))), None)
        if image is None:
            raise DataError(f"{source}: has no image column, only {', '.join(rows.features)}")
        labels = None if label is None else np.asarray(rows[label], np.int64)
        classes = () if labels is None else _names(rows.features[label], labels)
        images = HubImages(rows.cast_column(image, Image(decode=False)).select_columns([image]), image)
        found[name] = Examples(f"{source} ({key})", images, labels, classes)
    return found


def _is_number(feature: Any) -> bool:
    return str(getattr(feature, "dtype", "")).startswith(("int", "uint"))


def _names(feature: Any, labels: Indices) -> tuple[str, ...]:
    return tuple(getattr(feature, "names", None) or map(str, range(int(labels.max(initial=-1)) + 1)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a network the client tells of every try; the one line of the error is enough."""
    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
