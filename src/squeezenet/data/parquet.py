"""Reads Parquet files in the layout of the hub: `image` = struct(bytes, path), `label`, class names in the schema.

    >>> read_parquet([Path("train-00000-of-00001.parquet")])["train"].classes   # doctest: +SKIP
    ('cat', 'dog')

Files may be larger than memory: labels are read at once, images by row group (docs/adr/0003).
"""

import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from squeezenet import limits
from squeezenet.data.classes import Stated, join, number_classes, tidy
from squeezenet.data.examples import Examples, ImageSource, Indices, StoredImages
from squeezenet.data.parquet_pages import decompressed_bytes
from squeezenet.data.splits import ONE_DATA_SET, by_split
from squeezenet.errors import DataError
from squeezenet.files import open_regular
from squeezenet.printable import printable

CACHE_BYTES = 256 * 2**20
"""Bytes of images kept in memory. Images that do not fit are shuffled within so many bytes."""

_BATCH_BYTES = 32 * 2**20  # of rows that are read together, if each row had the size of its whole group


@dataclass(frozen=True)
class _File:
    path: Path
    rows: tuple[int, ...]  # images in each row group
    image: str  # name of the column
    label: str | None
    names: tuple[str, ...]  # of the classes, if the schema has them


class ParquetImages(StoredImages):
    """The images in Parquet files. The row groups used last stay in memory, up to `cache_bytes`."""

    def __init__(self, files: list[_File]) -> None:
        self.groups = [(f, g) for f in files for g in range(len(f.rows))]
        self.starts = np.cumsum([0] + [rows for f in files for rows in f.rows])
        self.cache_bytes = CACHE_BYTES
        self._cache: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> ImageSource:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = int(np.searchsorted(self.starts, index, "right")) - 1
        row = int(index - self.starts[group])
        value = self._read(group)[row].as_py()
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if isinstance(data, str):
            data, path = None, data
        if data is None and path:
            return _beside(self.groups[group][0].path, row, path)
        return data or b""

    def shuffled(self, random: np.random.Generator) -> Indices:
        """All indices: row groups in random order, images shuffled within as many groups as the cache holds."""
        order = random.permutation(len(self.groups))
        blocks = [np.arange(self.starts[g], self.starts[g + 1]) for g in order]
        held = max(1, min(len(blocks), self.cache_bytes // max(self._read(int(order[0])).nbytes, 1)))
        pools = [np.concatenate(blocks[i : i + held]) for i in range(0, len(blocks), held)]
        return np.concatenate([random.permutation(pool) for pool in pools])

    def identity(self) -> bytes:
        return json.dumps([(file.path.name, group) for file, group in self.groups]).encode() + self.starts.tobytes()

    def _read(self, group: int) -> pa.ChunkedArray:
        if group in self._cache:
            self._cache.move_to_end(group)
            return self._cache[group]
        file, number = self.groups[group]
        chunks, size = [], 0
        try:
            with _opened(file.path) as stored:
                declared = _decompressed(file.path, stored.metadata, file.image, [number])
                if declared > limits.PARQUET_GROUP_BYTES:
                    raise DataError(
                        f"{file.path}: row group {number} holds {declared:,} bytes, over the limit of "
                        f"{limits.PARQUET_GROUP_BYTES:,}; write it again with smaller row groups (row_group_size=100)"
                    )
                rows = max(1, min(1024, _BATCH_BYTES // max(1, declared)))
                for batch in stored.iter_batches(rows, row_groups=[number], columns=[file.image], use_threads=False):
                    chunks.append(batch[file.image])
                    size += chunks[-1].nbytes
                    if size > declared + limits.PARQUET_SPARE_BYTES:  # equal rows are stored once
                        held = f"more than the {declared:,} bytes that it declares"
                        raise DataError(f"{file.path}: row group {number} holds {held}; leave the file out")
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file.path}: can no longer be read ({_line(error)}); download the file again") from None
        images = pa.chunked_array(chunks)
        while self._cache and images.nbytes + sum(a.nbytes for a in self._cache.values()) > self.cache_bytes:
            self._cache.popitem(last=False)
        self._cache[group] = images
        return images


def read_parquet(paths: list[Path]) -> dict[str, Examples]:
    """The splits, by the names of the files: train and validation, or "all".

    `validation-`, `val-` and `test-` files are validation. If the name of a file says no split, that of its folder
    does. Raises `DataError` if files cannot be read, have different classes, or only some name a split.
    """
    splits = {name: [_open(path) for path in files] for name, files in by_split(paths).items()}
    files = [file for split in splits.values() for file in split]
    for file in files:
        if (file.names, file.label) != (files[0].names, files[0].label):
            raise DataError(f"{file.path}: its classes differ from those of {files[0].path.name}; {ONE_DATA_SET}")
    if not any(rows for file in files for rows in file.rows):
        raise DataError(f"{paths[0]}: no images found; the file has no rows")
    classes, labels = number_classes({name: _stated(split) for name, split in splits.items()}, files[0].names)
    found = {}
    for name, split in splits.items():
        where = str(split[0].path) if len(split) == 1 else f"{split[0].path.parent} ({name})"
        found[name] = Examples(where, ParquetImages(split), labels[name], classes)
    return found


def _opened(path: Path, **options: Any) -> pq.ParquetFile:
    with open_regular(path):  # raises for a pipe or a device; Arrow would wait
        return pq.ParquetFile(path, **options)


def _open(path: Path) -> _File:
    try:
        with _opened(path) as file:
            schema, meta = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({_line(error)})") from None
    features = _features(schema.metadata or {})
    image = _column(schema, features, "Image", ("image", "img"))
    label = _column(schema, features, "ClassLabel", ("label", "labels"))
    if image is None:
        raise DataError(f"{path}: has no `image` column, only {', '.join(map(printable, schema.names))}")
    if not _holds_images(kind := schema.field(image).type):
        raise DataError(
            f"{path}: column {printable(image)} holds {_line(kind)}, not images; "
            "store the bytes of image files (JPEG, PNG), as datasets.Image does"
        )
    groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
    rows = tuple(group.num_rows for group in groups)
    most = min(limits.PARQUET_ROWS, max(limits.PARQUET_FEW_ROWS, path.stat().st_size))
    if any(count < 0 for count in rows) or sum(rows) > most:
        raise DataError(f"{path}: declares {sum(rows):,} rows, over the limit of {most:,} for a file of its size")
    if label is not None and not _is_label(kind := schema.field(label).type):
        raise DataError(
            f"{path}: column {printable(label)} holds {_line(kind)}, not labels; a label is a number or a name"
        )
    names = described.get("names") if isinstance(described := features.get(label or ""), dict) else None
    listed = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
    return _File(path, rows, image, label, tuple(listed))


def _decompressed(path: Path, meta: pq.FileMetaData, column: str, groups: Iterable[int]) -> int:
    """Decompressed bytes of a column in some row groups. Raises `DataError` if the file is damaged."""
    parts = [meta.row_group(group).column(i) for group in groups for i in range(meta.num_columns)]
    with open_regular(path) as file:
        try:
            mine = [part for part in parts if part.path_in_schema.split(".")[0] == column.split(".")[0]]
            return sum(decompressed_bytes(file, part) for part in mine)
        except DataError as error:
            raise DataError(f"{path}: a damaged Parquet file ({error}); download it again") from None


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """The description of the columns that the library `datasets` writes; empty if there is none."""
    try:
        described = json.loads(metadata.get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):
        return {}
    for name in ("info", "features"):
        described = described.get(name) if isinstance(described, dict) else None
    return described if isinstance(described, dict) else {}


def _holds_images(kind: pa.DataType) -> bool:
    """Whether the values are bytes of files, names of files, or a struct of both."""
    types = pa.types
    if types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        known = {name: field for name, field in fields.items() if name in ("bytes", "path")}
        return bool(known) and all(_holds_images(f) and not types.is_struct(f) for f in known.values())
    tests = (types.is_binary, types.is_large_binary, types.is_string, types.is_large_string)
    return any(test(kind) for test in tests)


def _is_label(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_integer, types.is_floating, types.is_string, types.is_large_string, types.is_boolean)
    return any(test(kind) for test in tests)


def _column(schema: pa.Schema, features: dict[str, Any], kind: str, usual: tuple[str, ...]) -> str | None:
    told = [name for name, f in features.items() if isinstance(f, dict) and f.get("_type") == kind]
    return next((name for name in (*usual, *told) if name in schema.names), None)


def _beside(file: Path, row: int, name: str) -> Path:
    """The file that a row names, in the folder of the Parquet file. Raises `DataError` for a file outside."""
    parts = (*PurePosixPath(name).parts, *PureWindowsPath(name).parts)
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or ".." in parts:
        raise DataError(
            f"{file}: row {row} names {printable(name[:200])}, which is outside the folder of the data set; "
            "store the bytes of the images"
        )
    return file.parent / name


def _stated(files: list[_File]) -> Stated | None:
    """The label column of all files, or None."""
    if files[0].label is None:
        return None
    parts = [_labels(file.path, file.label or "") for file in files]
    return parts[0] if len(parts) == 1 else join(parts, str(files[0].path.parent))


def _labels(path: Path, label: str) -> Stated:
    try:
        with _opened(path) as file:
            text = [label] if pa.types.is_string(file.schema_arrow.field(label).type) else []
            told = _decompressed(path, file.metadata, label, range(file.num_row_groups))
        if told > limits.PARQUET_GROUP_BYTES:
            raise DataError(f"{path}: has labels of {told:,} bytes, over the limit of {limits.PARQUET_GROUP_BYTES:,}")
        with _opened(path, read_dictionary=text) as file:  # a repeated name is read once
            column = file.read(columns=[label], use_threads=False)[label]
        if pa.types.is_floating(column.type):  # pandas stores whole numbers as floats if values were missing
            column = column.cast(pa.int64())
        number = pa.types.is_integer(column.type)
        if column.null_count:
            raise DataError(f"{path}: some images have no label; leave them out of the file")
        encoded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        whole = encoded.combine_chunks()
        whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
        distinct = whole.dictionary[: limits.CLASSES + 1]
        longest = 0 if number else pc.max(pc.binary_length(distinct.cast(pa.large_string()))).as_py() or 0
        if longest > 4 * limits.CLASS_NAME:
            raise DataError(
                f"{path}: a label has {longest:,} bytes, over the limit of {limits.CLASS_NAME:,} characters"
            )
        names = tuple(map(tidy, distinct.cast(pa.string()).to_pylist()))
        return Stated(whole.indices.to_numpy().astype(np.int64), names, str(path), "number" if number else "either")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: column {printable(label)} cannot be read ({_line(error)})") from None


def _line(text: object) -> str:
    return printable(" ".join(str(text).split())[:200])
