"""WebDataset shards: tar files in which `KEY.jpg` and `KEY.cls` (or `KEY.json`) lie beside each other.

    >>> read_webdataset(expand("imagenet-train-{000000..000127}.tar"))["train"].classes[:2]     # doctest: +SKIP
    ('tench', 'goldfish')

Shards may be larger than memory: only headers are read at once (0.04 ms an image; `data pack` leaves an index that
saves even that), images by their place in the file. An image that is damaged is left out and counted when it is
decoded; a shard that is cut short or no tar is an error, as all that lies behind the damage would be missing.
"""

import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from squeezenet.data.examples import Examples, ImageSource, Indices, StoredImages
from squeezenet.data.folders import SUFFIXES
from squeezenet.data.splits import by_split
from squeezenet.errors import DataError
from squeezenet.files import write_atomically

WINDOW_BYTES = 2 * 2**30
"""Shards whose images are mixed: as much as the system's file cache can hold beside a training."""
INDEX = "index.npz"
CLASSES = "classes.txt"

_BLOCK = tarfile.BLOCKSIZE
_SIZE = slice(124, 136)  # of a header: the member's size in octal digits
_LABEL_BYTES = 2**20  # more is no label
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_NAME = re.compile(r"(.*/|)([^./][^./]*)\.([^/]*)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Shard:
    """Where the images of one tar file lie. `labels` are numbers, or names, or None where there are none."""

    path: Path
    keys: tuple[str, ...]
    offsets: Indices
    sizes: Indices
    labels: NDArray[np.int64] | NDArray[np.str_] | None


class ShardImages(StoredImages):
    """The bytes of images in tar files, read one by one; nothing stays open, so any number of shards will do."""

    concurrent = True

    def __init__(self, shards: Sequence[Shard], window_bytes: int = WINDOW_BYTES) -> None:
        self.paths = [shard.path for shard in shards]
        self.starts = np.cumsum([0] + [len(shard.offsets) for shard in shards])
        self.offsets = np.concatenate([np.empty(0, np.int64), *(shard.offsets for shard in shards)])
        self.sizes = np.concatenate([np.empty(0, np.int64), *(shard.sizes for shard in shards)])
        self.window_bytes = window_bytes

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> ImageSource:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        path = self.paths[int(np.searchsorted(self.starts, index, "right")) - 1]
        size = int(self.sizes[index])
        try:
            with path.open("rb") as file:
                file.seek(int(self.offsets[index]) - _BLOCK)
                data = file.read(_BLOCK + size)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read any more ({error}); fetch the shard again") from None
        # The index says where the image was; its header, right before it, says whether it is still there.
        if len(data) != _BLOCK + size or data[_SIZE].strip(b" \0").zfill(11) != b"%011o" % size:
            raise DataError(f"{path}: is not the file that was indexed; fetch it again, or delete {INDEX} beside it")
        return data[_BLOCK:]

    def shuffled(self, random: np.random.Generator) -> Indices:
        """Shards in random order, and images at random within windows of as many shards as hold `window_bytes`.

        2 GiB are some 60,000 ImageNet photographs of 256 pixels. Shards that were mixed when they were packed hold all
        classes, so a batch is as mixed as the whole; what is smaller than a window is shuffled freely. Shards of one
        class each are mixed no further than a window: pack them first.
        """
        order = random.permutation(len(self.paths))
        filled = np.add.reduceat(np.append(self.sizes, 0), self.starts[:-1]) * (np.diff(self.starts) > 0)
        window = (np.cumsum(filled[order]) - filled[order]) // self.window_bytes
        pools = [
            np.concatenate([np.arange(self.starts[s], self.starts[s + 1]) for s in order[window == number]])
            for number in np.unique(window)
        ]
        return np.concatenate([np.empty(0, np.int64), *(random.permutation(pool) for pool in pools)])

    def identity(self) -> bytes:
        return json.dumps([path.name for path in self.paths]).encode() + self.sizes.astype("<i8").tobytes()


def expand(source: str) -> list[Path]:
    """`x-{000..011}.tar` as its twelve paths; a name without such a range as itself.

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
    """The splits that the names of the shards tell: train and validation, or "all".

    Labels are numbers in `KEY.cls`, or `label` in `KEY.json`, or names in either; names of classes are the lines of
    `classes.txt` beside the shards. Raises `DataError` if a shard cannot be read, or has images without a label while
    others have one.
    """
    indexed = {shard.path: shard for folder in {p.parent for p in paths} for shard in read_index(folder)}
    splits = {
        name: [indexed[path] if path in indexed else scan(path) for path in files]
        for name, files in by_split(paths).items()
    }
    every = [shard for shards in splits.values() for shard in shards if len(shard.offsets)]
    if not every:
        raise DataError(f"{paths[0]}: no images found; a shard holds KEY.jpg and KEY.cls, uncompressed")
    classes = _classes(paths[0].parent / CLASSES, every)
    found = {}
    for name, shards in splits.items():
        where = str(shards[0].path) if len(shards) == 1 else f"{shards[0].path.parent} ({name})"
        full = [shard for shard in shards if len(shard.offsets)]
        labels = None
        if full and full[0].labels is not None:
            labels = np.concatenate([_numbers(shard, classes) for shard in full])
        found[name] = Examples(where, ShardImages(full), labels, classes if labels is not None else ())
    return found


def scan(path: Path) -> Shard:
    """Find the images of a shard by reading its headers. Raises `DataError`."""
    keys, offsets, sizes, labels = [], [], [], []
    for key, image, label in _samples(path):
        keys.append(key)
        offsets.append(image.offset_data)
        sizes.append(image.size)
        labels.append(label)
    if any(label is None for label in labels) and any(label is not None for label in labels):
        raise DataError(f"{path}: {keys[labels.index(None)]} has no label, others have; add its .cls, or leave it out")
    if not labels or labels[0] is None:
        known: NDArray[np.int64] | NDArray[np.str_] | None = None
    elif all(re.fullmatch(r"\d{1,9}", str(label)) for label in labels):
        known = np.array(labels).astype(np.int64)
    else:
        known = np.array(labels, np.str_)
    return Shard(path, tuple(keys), np.array(offsets, np.int64), np.array(sizes, np.int64), known)


def members(path: Path, file: BinaryIO, start: int = 0, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """The regular files of an uncompressed tar, by its headers; their places count from the beginning of `file`.

    The tar is all of `file`, or `size` bytes from `start`. Raises `DataError` if it is damaged or cut short.
    """
    end = file.seek(0, io.SEEK_END) if size is None else start + size
    file.seek(start)
    first = file.read(6)
    for magic, name in _COMPRESSED.items():
        if first.startswith(magic):
            raise DataError(f"{path}: is compressed with {name}; unpack it to a plain .tar, its images are small as is")
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # a list of all of them, kept for nothing
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError("cut short")
                if member.isreg() and not member.issparse():
                    yield member
            file.seek(tar.offset)
            mark = file.read(_BLOCK)
        if mark != bytes(_BLOCK):  # tarfile takes a damaged header, or none, for the end
            raise tarfile.ReadError(f"neither a file nor the end at byte {tar.offset:,}")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: a damaged tar file ({error}); fetch it again") from None


def _samples(path: Path) -> Iterator[tuple[str, tarfile.TarInfo, str | None]]:
    """(key, image, label) of each run of members whose names are equal up to the first dot."""
    key, image, label = "", None, None
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such shard; fetch it, or name those that are there") from None
    with file:
        for member in members(path, file):
            match = _NAME.fullmatch(member.name)
            if match is None:  # a folder's or a hidden file
                continue
            if match[1] + match[2] != key:
                if image is not None:
                    yield key, image, label
                key, image, label = match[1] + match[2], None, None
            kind = match[3].lower()
            if f".{kind}" in SUFFIXES and image is None:
                image = member
            elif (kind == "cls" or (kind == "json" and label is None)) and member.size <= _LABEL_BYTES:
                file.seek(member.offset_data)
                label = _label(kind, file.read(member.size)) or label
        if image is not None:
            yield key, image, label


def _label(kind: str, data: bytes) -> str | None:
    text = data.decode("utf-8", "replace").strip()
    if kind == "cls":
        return text or None
    try:
        described = json.loads(text)
    except (ValueError, RecursionError):
        return None
    label = described.get("label") if isinstance(described, dict) else None
    return str(label) if isinstance(label, int | str) and not isinstance(label, bool) else None


def _classes(path: Path, shards: list[Shard]) -> tuple[str, ...]:
    """The names of the classes: a list beside the shards, else what the labels themselves say."""
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        pass
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not text in UTF-8; write one class a line") from None
    labels = [shard.labels for shard in shards if shard.labels is not None]
    if all(known.dtype.kind == "i" for known in labels):
        return tuple(str(i) for i in range(max((int(known.max()) for known in labels), default=-1) + 1))
    return tuple(sorted({str(label) for known in labels for label in known.tolist()}))


def _numbers(shard: Shard, classes: tuple[str, ...]) -> Indices:
    if shard.labels is None:
        raise DataError(f"{shard.path}: its images have no labels, those of other shards have; add them as KEY.cls")
    if shard.labels.dtype.kind == "i":
        return shard.labels.astype(np.int64)
    number = {name: index for index, name in enumerate(classes)}
    unknown = next((name for name in shard.labels.tolist() if name not in number), None)
    if unknown is not None:
        raise DataError(f"{shard.path}: label {unknown!r} is not a line of {CLASSES}; mend the list")
    return np.array([number[name] for name in shard.labels.tolist()], np.int64)


def write_index(folder: Path, shards: list[Shard]) -> None:
    """Write where all images of `folder` lie, so that reading it need not scan the shards. Raises `OSError`."""
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
    labels = np.zeros(len(shard.offsets), np.int64) if shard.labels is None else shard.labels.astype(np.int64)
    return np.stack([shard.offsets, shard.sizes, labels], 1)


def _mark(path: Path) -> list[int]:
    """[size, checksum of the end]: enough to see that images were added or taken away; reads look at their own."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - tarfile.RECORDSIZE))
        return [size, zlib.crc32(file.read())]


def read_index(folder: Path) -> list[Shard]:
    """The shards of `folder` that its index still describes: of the size and with the end they had.

    Keys are not in the index. An index that is damaged describes nothing; the shards will be scanned.
    """
    try:
        with np.load(io.BytesIO((folder / INDEX).read_bytes()), allow_pickle=False) as saved:
            parts = {name: saved[name] for name in ("names", "marks", "counts", "labelled", "places")}
        rows = np.split(parts["places"].astype(np.int64).reshape(-1, 3), np.cumsum(parts["counts"])[:-1])
        described = list(
            zip(parts["names"].tolist(), parts["marks"].tolist(), parts["labelled"].tolist(), rows, strict=True)
        )
    except Exception:  # not there, cut short, not an archive, other arrays: zip and NumPy raise a dozen kinds
        return []
    shards = []
    for name, mark, labelled, places in described:
        path, size = folder / Path(name).name, mark[0]
        offsets, sizes, labels = places.T
        whole = ((offsets >= _BLOCK) & (sizes >= 0) & (sizes <= size) & (offsets <= size - sizes)).all()
        if whole and path.is_file() and _mark(path) == mark:
            shards.append(Shard(path, (), offsets, sizes, labels if labelled else None))
    return shards
