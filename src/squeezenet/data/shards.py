"""Finds images and labels in tar files, which are never unpacked.

    >>> scan(Path("imagenet-train-000000.tar")).labels.names[:2]                              # doctest: +SKIP
    ('3', '917')

Only headers are read, in 0.04 ms for each image. An image is read later, by its offset.
"""

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from squeezenet.data.classes import Meaning, Stated, state
from squeezenet.data.examples import ImageSource, Indices, StoredImages
from squeezenet.data.suffixes import tell
from squeezenet.errors import DataError, ImageError
from squeezenet.files import open_regular
from squeezenet.limits import IMAGE_FILE, LABEL_BYTES, SIDECAR_BYTES
from squeezenet.printable import printable
from squeezenet.runtime.folders import UNREADABLE, is_litter
from squeezenet.runtime.image import SUFFIXES

WINDOW_BYTES = 2 * 2**30
"""Images are shuffled within shards of so many bytes: what the file cache can hold beside a training."""
INDEX = "index.npz"
PLAN = "pack.json"
"""The file that marks shards of `data pack`, whose labels are line numbers of `classes.txt`."""

BLOCK = tarfile.BLOCKSIZE
_SIZE = slice(124, 136)  # of a header: the size of the member in octal digits
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_NAME = re.compile(r"(.*/|)([^./][^./]*)\.([^/]*)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Shard:
    """The offsets and sizes of the images in one tar file. `labels` is None without labels."""

    path: Path
    keys: tuple[str, ...]
    offsets: Indices
    sizes: Indices
    labels: Stated | None


class ShardImages(StoredImages):
    """The images in tar files, read one by one. No file stays open, so the number of shards is not limited."""

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
        if size > IMAGE_FILE:
            raise ImageError(f"image: has {size:,} bytes, over the limit of {IMAGE_FILE:,}")
        try:
            with open_regular(path) as file:
                file.seek(int(self.offsets[index]) - BLOCK)
                data = file.read(BLOCK + size)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: can no longer be read ({error}); download the shard again") from None
        # The index may be older than the file: check the header right before the image.
        if len(data) != BLOCK + size or data[_SIZE].strip(b" \0").zfill(11) != b"%011o" % size:
            raise DataError(
                f"{path}: has changed since it was indexed; delete {INDEX} in its folder, or download it again"
            )
        return data[BLOCK:]

    def shuffled(self, random: np.random.Generator) -> Indices:
        """All indices: shards in random order, images shuffled within windows of shards of `window_bytes`.

        2 GiB are about 60,000 ImageNet photographs of 256 pixels. Data smaller than a window is shuffled freely. Shards
        of `data pack` hold all classes in random order. Shards with one class each are mixed only within a window; pack
        them first.
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


def scan(path: Path) -> Shard:
    """The images of a shard, found by reading its headers. Raises `DataError`."""
    keys, offsets, sizes, labels = [], [], [], []
    for key, image, label in _samples(path):
        keys.append(key)
        offsets.append(image.offset_data)
        sizes.append(image.size)
        labels.append(label)
    if any(label is None for label in labels) and any(label is not None for label in labels):
        raise DataError(
            f"{path}: {keys[labels.index(None)]} has no label, but other images have; add its .cls file, or leave "
            "the image out"
        )
    told = [label for label in labels if label is not None]
    known = state(told, str(path), meaning(path.parent)) if told else None
    return Shard(path, tuple(keys), np.array(offsets, np.int64), np.array(sizes, np.int64), known)


def meaning(folder: Path) -> Meaning:
    """How to read a label of digits in the shards of `folder`."""
    return "number" if (folder / PLAN).is_file() else "either"


def members(path: Path, file: BinaryIO, start: int = 0, size: int | None = None) -> Iterator[tarfile.TarInfo]:
    """The regular files of an uncompressed tar, from its headers; offsets count from the beginning of `file`.

    The tar is all of `file`, or `size` bytes from `start`. Raises `DataError` if it is damaged or cut short.
    """
    end = file.seek(0, io.SEEK_END) if size is None else start + size
    file.seek(start)
    first = file.read(6)
    for magic, name in _COMPRESSED.items():
        if first.startswith(magic):
            raise DataError(
                f"{path}: is compressed with {name}; decompress it to a plain .tar (compression does not make "
                "images smaller)"
            )
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # would grow with every member
                if member.size < 0 or tar.offset < member.offset_data:  # the next header would be the same again
                    raise tarfile.ReadError(f"a size of {member.size:,} bytes")
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError("cut short")
                if member.isreg() and not member.issparse():
                    yield member
            file.seek(tar.offset)
            mark = file.read(BLOCK)
        if mark != bytes(BLOCK):  # tarfile reads a damaged or missing header as the end
            raise tarfile.ReadError(f"neither a file nor the end at byte {tar.offset:,}")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: a damaged tar file ({error}); download it again") from None


def _samples(path: Path) -> Iterator[tuple[str, tarfile.TarInfo, str | None]]:
    """(key, image, label) for each group of consecutive members whose names are equal up to the first dot."""
    left: Counter[str] = Counter()  # suffixes of files in samples without an image
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such shard; download it, or name only shards that exist") from None
    with file:
        for key, sample in groupby(_named(members(path, file)), key=lambda member: member[0]):
            label, others = None, []
            images: dict[bool, tarfile.TarInfo] = {}  # the first that can be read, and the first that cannot
            for _, suffix, member in sample:
                if suffix in SUFFIXES or suffix in UNREADABLE:
                    images.setdefault(suffix in SUFFIXES, member)
                elif suffix == ".cls" or (suffix == ".json" and label is None):
                    label = _label(path, file, member, suffix) or label
                else:
                    others.append(suffix)
            if images:
                yield key, images.get(True) or images[False], label
            else:
                left.update(others)
    tell(path, left)


def _named(found: Iterable[tarfile.TarInfo]) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, suffix, member) of all files that are not hidden."""
    for member in found:
        match = _NAME.fullmatch(member.name)
        if match is not None and not any(map(is_litter, match[1].split("/")[:-1])):
            yield match[1] + match[2], f".{match[3].lower()}", member


def _label(path: Path, file: BinaryIO, member: tarfile.TarInfo, suffix: str) -> str | None:
    if suffix == ".cls" and member.size > LABEL_BYTES:
        name = printable(member.name)
        raise DataError(f"{path}: {name} has {member.size:,} bytes, over the limit of {LABEL_BYTES:,} for a label")
    if member.size > SIDECAR_BYTES:
        return None
    file.seek(member.offset_data)
    text = file.read(member.size).decode("utf-8-sig", "backslashreplace").strip()
    if suffix == ".cls":
        return text or None
    try:
        described = json.loads(text)
    except (ValueError, RecursionError):
        return None
    label = described.get("label") if isinstance(described, dict) else None
    return str(label) if isinstance(label, int | str) and not isinstance(label, bool) else None
