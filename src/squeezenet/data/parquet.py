"""Parquet files in the layout of the Hugging Face hub: `image` = struct(bytes, path), `label`, names in the schema.

    >>> read_parquet([Path("train-00000-of-00001.parquet")])["train"].classes   # doctest: +SKIP
    ('cat', 'dog')

Files may be larger than memory: only labels are read at once, images a row group at a time (docs/adr/0003).
"""

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from squeezenet.data.examples import Examples, ImageSource, Indices, StoredImages
from squeezenet.data.splits import ONE_DATA_SET, by_split
from squeezenet.errors import DataError

CACHE_BYTES = 256 * 2**20
"""Image bytes kept in memory: also how far images are shuffled when they are read from disk again and again."""


@dataclass(frozen=True)
class _File:
    path: Path
    rows: tuple[int, ...]  # images in each row group
    image: str  # name of the column
    label: str | None
    names: tuple[str, ...] | None  # class names, where the schema has them


class ParquetImages(StoredImages):
    """The bytes of images in Parquet files. The row groups used last stay in memory, up to `cache_bytes`."""

    def __init__(self, files: list[_File], cache_bytes: int = CACHE_BYTES) -> None:
        self.groups = [(f.path, g, f.image) for f in files for g in range(len(f.rows))]
        self.starts = np.cumsum([0] + [rows for f in files for rows in f.rows])
        self.cache_bytes = cache_bytes
        self._cache: OrderedDict[int, pa.Array] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> ImageSource:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = int(np.searchsorted(self.starts, index, "right")) - 1
        value = self._read(group)[int(index - self.starts[group])].as_py()
        if not isinstance(value, dict):
            return value or b""
        if value.get("bytes") is not None:
            return value["bytes"]
        return self.groups[group][0].parent / (value.get("path") or "image without bytes and path")

    def shuffled(self, random: np.random.Generator) -> Indices:
        """Row groups in random order, and images at random within as many groups as the cache holds."""
        order = random.permutation(len(self.groups))
        blocks = [np.arange(self.starts[g], self.starts[g + 1]) for g in order]
        held = max(1, min(len(blocks), self.cache_bytes // max(self._read(int(order[0])).nbytes, 1)))
        pools = [np.concatenate(blocks[i : i + held]) for i in range(0, len(blocks), held)]
        return np.concatenate([random.permutation(pool) for pool in pools])

    def identity(self) -> bytes:
        return json.dumps([(path.name, group) for path, group, _ in self.groups]).encode() + self.starts.tobytes()

    def _read(self, group: int) -> pa.Array:
        if group in self._cache:
            self._cache.move_to_end(group)
            return self._cache[group]
        path, number, column = self.groups[group]
        try:
            with pq.ParquetFile(path) as file:
                images = file.read_row_group(number, columns=[column], use_threads=False)[column].combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read any more ({_line(error)}); fetch the file again") from None
        while self._cache and images.nbytes + sum(a.nbytes for a in self._cache.values()) > self.cache_bytes:
            self._cache.popitem(last=False)
        self._cache[group] = images
        return images


def read_parquet(paths: list[Path]) -> dict[str, Examples]:
    """The splits that the names of the files tell: train and validation, or "all".

    `validation-`, `val-` and `test-` files are validation; the name of the folder counts where the file's says
    nothing. Raises `DataError` if files cannot be read, do not belong together, or mix files with and without a split.
    """
    splits = {name: [_open(path) for path in files] for name, files in by_split(paths).items()}
    files = [file for split in splits.values() for file in split]
    for file in files:
        if (file.names, file.label) != (files[0].names, files[0].label):
            raise DataError(f"{file.path}: its classes are not those of {files[0].path.name}; {ONE_DATA_SET}")
    values = {name: _labels(split) for name, split in splits.items()}
    classes = files[0].names or _names(values)
    found = {}
    for name, split in splits.items():
        raw = values[name]
        if raw is not None and raw.dtype.kind not in "iu":
            raw = np.searchsorted(np.array(classes), raw.astype(str))
        if raw is not None and len(raw) and (raw == -1).all():  # how the hub marks a test set whose labels are secret
            raw = None
        labels = None if raw is None else raw.astype(np.int64)
        where = str(split[0].path) if len(split) == 1 else f"{split[0].path.parent} ({name})"
        found[name] = Examples(where, ParquetImages(split), labels, classes)
    if not any(len(examples) for examples in found.values()):
        raise DataError(f"{paths[0]}: no images found; the file has no rows")
    return found


def _open(path: Path) -> _File:
    try:
        with pq.ParquetFile(path) as file:
            schema, meta = file.schema_arrow, file.metadata
            rows = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({_line(error)})") from None
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features: dict[str, Any] = (described.get("info") or {}).get("features") or {}
    image = _column(schema, features, "Image", ("image", "img"))
    label = _column(schema, features, "ClassLabel", ("label", "labels"))
    if image is None:
        raise DataError(f"{path}: has no `image` column, only {', '.join(schema.names)}")
    names = features.get(label or "", {}).get("names")
    return _File(path, rows, image, label, tuple(names) if names else None)


def _column(schema: pa.Schema, features: dict[str, Any], kind: str, usual: tuple[str, ...]) -> str | None:
    told = [name for name, f in features.items() if isinstance(f, dict) and f.get("_type") == kind]
    return next((name for name in (*usual, *told) if name in schema.names), None)


def _labels(files: list[_File]) -> Any:
    """The label column of all files as it is stored: numbers or names; None where there is none."""
    if files[0].label is None:
        return None
    columns = [pq.read_table(f.path, columns=[f.label], use_threads=False)[f.label] for f in files]
    if any(column.null_count for column in columns):
        raise DataError(f"{files[0].path}: some images have no label; leave them out of the file")
    return np.concatenate([column.to_numpy() for column in columns])


def _names(values: dict[str, Any]) -> tuple[str, ...]:
    """Class names where the schema has none: the names in the label column, or the numbers 0 to the largest."""
    known = [v for v in values.values() if v is not None and len(v)]
    if not known:
        return ()
    labels = np.concatenate(known)
    if labels.dtype.kind in "iu":
        return tuple(str(i) for i in range(int(labels.max()) + 1))
    return tuple(sorted(set(labels.astype(str).tolist())))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
