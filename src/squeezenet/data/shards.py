"""Tar files of images, never unpacked: where each image lies, and what its label is.

    >>> scan(Path("imagenet-train-000000.tar")).labels.names[:2]                              # doctest: +SKIP
    ('3', '917')

Only headers are read, 0.04 ms an image; images are read by their place in the file.
"""

import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from squeezenet.data.classes import Meaning, Stated, state
from squeezenet.data.examples import ImageSource, Indices, StoredImages
from squeezenet.data.suffixes import UNREADABLE, is_litter, tell
from squeezenet.errors import DataError, ImageError
from squeezenet.files import open_regular
from squeezenet.limits import IMAGE_FILE, LABEL_BYTES, SIDECAR_BYTES
from squeezenet.printable import printable
from squeezenet.runtime.image import SUFFIXES

WINDOW_BYTES = 2 * 2**30
"""Shards whose images are mixed: as much as the system's file cache can hold beside a training."""
INDEX = "index.npz"
PLAN = "pack.json"
"""Beside shards that `data pack` made: their labels are numbers of lines in `classes.txt`."""

BLOCK = tarfile.BLOCKSIZE
_SIZE = slice(124, 136)  # of a header: the member's size in octal digits
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_NAME = re.compile(r"(.*/|)([^./][^./]*)\.([^/]*)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Shard:
    """Where the images of one tar file lie. `labels` is None where there are none."""

    path: Path
    keys: tuple[str, ...]
    offsets: Indices
    sizes: Indices
    labels: Stated | None


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
        if size > IMAGE_FILE:
            raise ImageError(f"image: has {size:,} bytes, over the limit of {IMAGE_FILE:,}")
        try:
            with open_regular(path) as file:
                file.seek(int(self.offsets[index]) - BLOCK)
                data = file.read(BLOCK + size)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read any more ({error}); fetch the shard again") from None
        # The index says where the image was; its header, right before it, says whether it is still there.
        if len(data) != BLOCK + size or data[_SIZE].strip(b" \0").zfill(11) != b"%011o" % size:
            raise DataError(f"{path}: is not the file that was indexed; fetch it again, or delete {INDEX} beside it")
        return data[BLOCK:]

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
    told = [label for label in labels if label is not None]
    known = state(told, str(path), meaning(path.parent)) if told else None
    return Shard(path, tuple(keys), np.array(offsets, np.int64), np.array(sizes, np.int64), known)


def meaning(folder: Path) -> Meaning:
    """What a label of digits is in the shards of `folder`."""
    return "number" if (folder / PLAN).is_file() else "either"


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
                if member.size < 0 or tar.offset < member.offset_data:  # the next header would be this one again
                    raise tarfile.ReadError(f"a size of {member.size:,} bytes")
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError("cut short")
                if member.isreg() and not member.issparse():
                    yield member
            file.seek(tar.offset)
            mark = file.read(BLOCK)
        if mark != bytes(BLOCK):  # tarfile takes a damaged header, or none, for the end
            raise tarfile.ReadError(f"neither a file nor the end at byte {tar.offset:,}")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: a damaged tar file ({error}); fetch it again") from None


def _samples(path: Path) -> Iterator[tuple[str, tarfile.TarInfo, str | None]]:
    """(key, image, label) of each run of members whose names are equal up to the first dot."""
    sample = _Sample("")
    left: Counter[str] = Counter()  # suffixes of files in samples without an image
    try:
        file = open_regular(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such shard; fetch it, or name those that are there") from None
    with file:
        for member in members(path, file):
            match = _NAME.fullmatch(member.name)
            if match is None or any(map(is_litter, match[1].split("/")[:-1])):  # a folder's or a hidden file
                continue
            if match[1] + match[2] != sample.key:
                if image := sample.image:
                    yield sample.key, image, sample.label
                else:
                    left.update(sample.others)
                sample = _Sample(match[1] + match[2])
            suffix = f".{match[3].lower()}"
            if suffix in SUFFIXES:
                sample.readable = sample.readable or member
            elif suffix in UNREADABLE:
                sample.unreadable = sample.unreadable or member
            elif suffix == ".cls" or (suffix == ".json" and sample.label is None):
                sample.label = _label(path, file, member, suffix) or sample.label
            else:
                sample.others.append(suffix)
        if image := sample.image:
            yield sample.key, image, sample.label
        else:
            left.update(sample.others)
    tell(path, left)


@dataclass
class _Sample:
    """What a shard holds of one key."""

    key: str
    readable: tarfile.TarInfo | None = None
    unreadable: tarfile.TarInfo | None = None
    label: str | None = None
    others: list[str] = field(default_factory=list)

    @property
    def image(self) -> tarfile.TarInfo | None:
        return self.readable or self.unreadable


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
