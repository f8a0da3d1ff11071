"""Reads WebDataset shards: tar files in which `KEY.cls` (or `KEY.json`) follows `KEY.jpg`.

    >>> read_webdataset(expand("imagenet-train-{000000..000127}.tar"))["train"].classes[:2]     # doctest: +SKIP
    ('tench', 'goldfish')

Shards may be larger than memory: at first only headers are read, or instead the index of `data pack`. A damaged
image is left out and counted when it is decoded. A damaged shard is an error, because all images after the damage would
be missing.
"""

import io
import re
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from squeezenet.data.classes import Stated, join, number_classes, state
from squeezenet.data.examples import Examples, Indices
from squeezenet.data.shards import BLOCK, INDEX, Shard, ShardImages, meaning, scan
from squeezenet.data.splits import by_split
from squeezenet.errors import DataError
from squeezenet.files import open_regular, write_atomically
from squeezenet.formats.label_file import read_labels

CLASSES = "classes.txt"


def expand(source: str) -> list[Path]:
    """The twelve paths of `x-{000..011}.tar`; a name without such a range gives one path.

    >>> [path.name for path in expand("x-{08..10}.tar")]
    ['x-08.tar', 'x-09.tar', 'x-10.tar']
    """
    match = re.search(r"\{(\d+)\.\.(\d+)\}", source)
    if match is None:
        return [Path(source)]
    first, last = match.groups()
    numbers = (str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))
    return [path for n in numbers for path in expand(source[: match.start()] + n + source[match.end() :])]


def read_webdataset(paths: list[Path]) -> dict[str, Examples]:
    """The splits, by the names of the shards: train and validation, or "all".

    A label is the text of `KEY.cls`, or `label` in `KEY.json`: the name of a class, or the number of its line in
    `classes.txt` beside the shards. Raises `DataError` if a shard cannot be read, or if only some images have a label.
    """
    indexed = {shard.path: shard for folder in {p.parent for p in paths} for shard in read_index(folder)}
    splits = {
        name: [indexed[path] if path in indexed else scan(path) for path in files]
        for name, files in by_split(paths).items()
    }
    every = [shard for shards in splits.values() for shard in shards if len(shard.offsets)]
    if not every:
        raise DataError(f"{paths[0]}: no images found; a shard is an uncompressed tar with files KEY.jpg and KEY.cls")
    full = {name: [shard for shard in shards if len(shard.offsets)] for name, shards in splits.items()}
    classes, labels = number_classes({name: _labels(shards) for name, shards in full.items()}, _listed(paths[0].parent))
    found = {}
    for name, shards in splits.items():
        where = str(shards[0].path) if len(shards) == 1 else f"{shards[0].path.parent} ({name})"
        own = labels[name]
        found[name] = Examples(where, ShardImages(full[name]), own, () if own is None else classes)
    return found


def _listed(folder: Path) -> tuple[str, ...]:
    """The class names in `classes.txt` beside the shards; empty without this file."""
    try:
        return read_labels(folder / CLASSES)
    except FileNotFoundError:
        return ()


def _labels(shards: list[Shard]) -> Stated | None:
    if not shards or shards[0].labels is None:
        return None
    known = [shard.labels for shard in shards if shard.labels is not None]
    if len(known) < len(shards):
        bare = next(shard.path for shard in shards if shard.labels is None)
        raise DataError(
            f"{bare}: its images have no labels, but the images of other shards have; add labels as KEY.cls files"
        )
    return known[0] if len(known) == 1 else join(known, str(shards[0].path.parent))


def write_index(folder: Path, shards: list[Shard]) -> None:
    """Write the offsets and labels (numbers) of all images of `folder`, so that reading need not scan the shards.

    Raises `OSError`.
    """
    stream = io.BytesIO()
    np.savez(
        stream,
        names=np.array([shard.path.name for shard in shards], np.str_),
        marks=np.array([_mark(shard.path) for shard in shards], np.int64).reshape(-1, 2),
        counts=np.array([len(shard.offsets) for shard in shards], np.int64),
        labelled=np.array([shard.labels is not None for shard in shards], bool),
        places=np.concatenate([np.empty((0, 3), np.int64), *(_rows(shard) for shard in shards)]),
    )
    write_atomically(folder / INDEX, stream.getvalue())


def _rows(shard: Shard) -> Indices:
    numbers = np.zeros(len(shard.offsets), np.int64)
    if shard.labels is not None:
        numbers = np.array([int(name) for name in shard.labels.names], np.int64)[shard.labels.codes]
    return np.stack([shard.offsets, shard.sizes, numbers], 1)


def _mark(path: Path) -> list[int]:
    """[size, checksum of the end]: changes if images are added or removed. Reading an image checks its own header."""
    with open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - tarfile.RECORDSIZE))
        return [size, zlib.crc32(file.read())]


def read_index(folder: Path) -> list[Shard]:
    """The shards of `folder` that its index describes and that have not changed in size or end.

    The index has no keys. A damaged index gives no shards; the caller scans them.
    """
    try:
        with open_regular(folder / INDEX) as file:
            # Without compression, its arrays are no larger than the file.
            if any(part.compress_size != part.file_size for part in zipfile.ZipFile(file).infolist()):
                return []
            with np.load(file, allow_pickle=False) as saved:
                parts = {name: saved[name] for name in ("names", "marks", "counts", "labelled", "places")}
        places, counts = parts["places"].astype(np.int64).reshape(-1, 3), parts["counts"].astype(np.int64)
        if (counts < 0).any() or counts.sum() != len(places):
            return []
        rows = np.split(places, np.cumsum(counts)[:-1])
        described = list(
            zip(parts["names"].tolist(), parts["marks"].tolist(), parts["labelled"].tolist(), rows, strict=True)
        )
    except Exception:  # missing, damaged or another file: zip and NumPy raise many kinds of errors
        return []
    shards = []
    for name, mark, labelled, places in described:
        path, size = folder / Path(name).name, mark[0]
        offsets, sizes, numbers = places.T
        whole = ((offsets >= BLOCK) & (sizes >= 0) & (sizes <= size) & (offsets <= size - sizes)).all()
        if whole and path.is_file() and _mark(path) == mark:
            labels = state(numbers, str(path), meaning(folder)) if labelled else None
            shards.append(Shard(path, (), offsets, sizes, labels))
    return shards
