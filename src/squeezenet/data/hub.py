"""Reads a data set of the Hugging Face hub by its id: the only source that may use the network.

>>> read_hub("uoft-cs/cifar10")["train"].classes[:2]          # doctest: +SKIP
('airplane', 'automobile')
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from squeezenet.data.classes import Stated, number_classes, state
from squeezenet.data.examples import Examples, ImageSource, StoredImages
from squeezenet.errors import DataError, NoSuchData
from squeezenet.printable import printable


class HubImages(StoredImages):
    """The images of one split, in the memory-mapped cache of the library `datasets`."""

    def __init__(self, rows: Any, column: str, cache: Path) -> None:
        self.rows = rows
        self.cache = cache
        self.column = column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> ImageSource:  # type: ignore[override]
        value = self.rows[int(index)][self.column] or {}
        if value.get("bytes") is not None:
            encoded: bytes = value["bytes"]
            return encoded
        path = Path(value.get("path") or "")
        # Only files that the library fetched: a row could name any file of this machine.
        if ".." in path.parts or not path.is_relative_to(self.cache):
            raise DataError(
                f"image {index}: its row names {printable(str(path))}, which is not a file of the data set; leave "
                "the image out"
            )
        return path

    def identity(self) -> bytes:
        return str(len(self)).encode()


def read_hub(source: str) -> dict[str, Examples]:
    """The splits of `owner/name`: train and validation, or "all". Raises `DataError`."""
    from datasets import ClassLabel, Image, config, load_dataset  # takes seconds to import

    log = logging.getLogger("huggingface_hub")  # it reports each attempt; our error is one line
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        splits = load_dataset(source)
    except Exception as error:  # the library raises many kinds of errors
        raise NoSuchData(
            f"{source}: no such file or folder, and no data set of this name on the hub "
            f"({' '.join(str(error).split())[:200]})"
        ) from None
    finally:
        log.setLevel(level)
    held = next((name for name in ("validation", "valid", "val", "dev", "test") if name in splits), None)
    chosen = {"train": "train", "validation": held} if "train" in splits and held else {"all": next(iter(splits))}
    found: dict[str, tuple[str, HubImages]] = {}
    stated: dict[str, Stated | None] = {}
    listed: tuple[str, ...] = ()
    for name, key in chosen.items():
        rows = splits[key]
        image = next((column for column, f in rows.features.items() if isinstance(f, Image)), None)
        label = next((column for column, f in rows.features.items() if isinstance(f, ClassLabel)), None)
        if label is None:  # labels may be plain numbers, as in shards on the hub
            kinds = {c: str(getattr(rows.features.get(c), "dtype", "")) for c in ("label", "labels", "cls")}
            label = next((column for column, kind in kinds.items() if kind.startswith(("int", "uint"))), None)
        if image is None:
            raise DataError(f"{source}: has no image column, only {', '.join(rows.features)}")
        where = f"{source} ({key})"
        stated[name] = None if label is None else state(np.asarray(rows[label], np.int64), where, "number")
        listed = listed or tuple(getattr(rows.features.get(label), "names", None) or ())
        unread = rows.cast_column(image, Image(decode=False)).select_columns([image])
        found[name] = where, HubImages(unread, image, Path(config.HF_CACHE_HOME))
    classes, labels = number_classes(stated, listed)
    return {
        name: Examples(where, images, labels[name], classes if labels[name] is not None else ())
        for name, (where, images) in found.items()
    }
