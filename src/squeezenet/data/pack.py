"""Writes images as WebDataset shards, in random order and resized if asked; a stopped run can continue.

    >>> pack("photos", Path("shards"), Options(resize=256)).images               # doctest: +SKIP
    1281167

OUT holds `train-000000.tar` and so on (`images-` where the source has no splits), `classes.txt`, `index.npz`,
`skipped.txt` (images that cannot be read) and `pack.json`, the plan. The plan alone decides which images are in which
shard, and a shard is written whole or not at all. After a crash, the same command writes the missing shards, and all
bytes are those of a run without a crash.
"""

import hashlib
import io
import json
import logging
import tarfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from squeezenet.data.classes import first_classes
from squeezenet.data.examples import Examples, ImageSource, Indices, concurrent, shuffled
from squeezenet.data.load import load_splits
from squeezenet.data.pixels import progress_bar, workers_by_default
from squeezenet.data.shards import PLAN, scan
from squeezenet.data.webdataset import CLASSES, write_index
from squeezenet.errors import DataError, ImageError, UsageError
from squeezenet.files import atomic_file, write_atomically
from squeezenet.printable import printable
from squeezenet.runtime.image import open_image

SKIPPED = "skipped.txt"
NAMES = {"train": "train", "validation": "val", "all": "images"}
AHEAD = 16
"""Largest number of images, for each thread, that are read and wait to be written."""

LONGEST_JPEG = 65_535
"""Largest side of a JPEG; an image that would be longer is not resized."""

# First bytes of a file -> its suffix; the name of the file may be wrong.
_KINDS = {
    b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp", b"BM": "bmp", b"GIF8": "gif",
    b"II*\0": "tif", b"MM\0*": "tif", b"P4": "pbm", b"P5": "pgm", b"P6": "ppm",
}  # fmt: skip

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """The options that decide the bytes of the shards."""

    resize: int | None = None  # pixels of the shorter side, never enlarged; None: files are copied
    quality: int = 90  # of the JPEGs that resizing makes
    shard_images: int = 5000  # 170 MB of ImageNet photographs at 256 pixels, 550 MB untouched
    seed: int = 0  # of the order
    classes: int | None = None  # the first N classes only; None: all. The plan records the number of images instead

    def __post_init__(self) -> None:
        if self.resize is not None and self.resize < 1:
            raise UsageError(f"--resize {self.resize}: give the pixels of the shorter side")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"--quality {self.quality}: must be from 1 to 100; 90 is usual")
        if self.classes is not None and self.classes < 2:
            raise UsageError(f"--classes {self.classes}: training needs two classes or more; give at least 2")
        if self.shard_images < 1:
            raise UsageError(f"--shard-images {self.shard_images}: a shard holds one image or more")


@dataclass(frozen=True)
class Packed:
    """The contents of OUT. `images_per_second` counts the images that this call packed."""

    images: int
    classes: int
    shards: int
    bytes: int
    skipped: int
    images_per_second: float
    out: str


def pack(
    source: str, out: Path, options: Options | None = None, workers: int | None = None, progress: bool = False
) -> Packed:
    """Write the data set `source` as shards into `out`. Shards that exist are kept.

    Raises `DataError` if the source cannot be read, or if `out` holds other files; `UsageError` if `out` is inside the
    source.
    """
    options = options or Options()
    splits = load_splits(source)
    for split in splits.values():
        if split.labels is None:
            _log.warning("%s: has no labels, so the shards have none and cannot be used for training", split.name)
    if options.classes is not None:
        splits = {name: first_classes(part, options.classes) for name, part in splits.items()}
    if Path(source).is_dir() and out.resolve().is_relative_to(Path(source).resolve()):
        raise UsageError(f"{out}: is inside {source} and would become a part of it; name another folder")
    _begin(source, splits, out, options)
    work = [(split, out / name, part) for split, name, part in _shards(splits, options)]
    missing = [(splits[split], path, part) for split, path, part in work if not path.exists()]
    count = sum(len(part) for _, _, part in missing)
    workers = workers or workers_by_default()
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool, progress_bar("pack", count, progress) as bar:
        for examples, path, part in missing:
            with atomic_file(path) as file:
                _write_shard(file, examples, part, options, pool, AHEAD * workers, bar)
    seconds = time.perf_counter() - start
    found = [scan(path) for _, path, _ in work]
    skipped = [
        _reason(splits[split], index, options)
        for (split, _, part), shard in zip(work, found, strict=True)
        for index in sorted(set(part.tolist()) - {int(key) for key in shard.keys})
    ]
    write_atomically(out / SKIPPED, "".join(f"{printable(line)}\n" for line in skipped).encode())
    write_index(out, found)
    return Packed(
        images=sum(len(shard.offsets) for shard in found), classes=len(next(iter(splits.values())).classes),
        shards=len(work), bytes=sum(path.stat().st_size for _, path, _ in work), skipped=len(skipped),
        images_per_second=round(count / seconds, 1) if count else 0.0, out=str(out),
    )  # fmt: skip


def _begin(source: str, splits: dict[str, Examples], out: Path, options: Options) -> None:
    """Create OUT with this plan. Raises `DataError` if it exists with another plan, or with other files."""
    classes = next(iter(splits.values())).classes
    plan = {
        "format": 1,
        "source": str(Path(source).resolve()) if Path(source).exists() else source,
        "images": {name: len(examples) for name, examples in splits.items()},
        "labels": _fingerprint(splits),
        **{name: value for name, value in asdict(options).items() if name != "classes"},
    }
    out.mkdir(parents=True, exist_ok=True)
    if (out / PLAN).exists():
        differs = _difference(out / PLAN, plan)
        if differs:
            raise DataError(
                f"{out}: holds shards of another command ({differs}); give an empty folder, or the options of that "
                "command"
            )
    elif any(out.iterdir()):
        raise DataError(
            f"{out}: is not empty, and is not an unfinished output folder (it has no {PLAN}); give an empty folder"
        )
    else:
        write_atomically(out / PLAN, (json.dumps(plan, indent=1) + "\n").encode())
    for left in out.glob(".*.tmp"):  # from a run that was killed
        left.unlink(missing_ok=True)
    if classes:
        write_atomically(out / CLASSES, "".join(f"{name}\n" for name in classes).encode())


def _difference(path: Path, plan: dict[str, Any]) -> str:
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
        return ", ".join(
            f"{name}: {old.get(name)}, now {value}" for name, value in plan.items() if old.get(name) != value
        )
    except (ValueError, AttributeError):
        return f"{PLAN} is damaged"


def _fingerprint(splits: dict[str, Examples]) -> str:
    """A hash of classes and labels, to recognise another list of images of the same length."""
    digest = hashlib.sha256()
    for name, examples in splits.items():
        digest.update(json.dumps([name, examples.classes]).encode())
        digest.update(b"" if examples.labels is None else examples.labels.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def _shards(splits: dict[str, Examples], options: Options) -> Iterator[tuple[str, str, Indices]]:
    """For each shard: (split, file name, indices into the split)."""
    for split, examples in splits.items():
        random = np.random.default_rng(options.seed)
        # Shuffled freely if reading in any order is fast; row groups of Parquet are read one after the other.
        free = concurrent(examples.images)
        order = random.permutation(len(examples)) if free else shuffled(examples.images, random)
        for number, start in enumerate(range(0, len(order), options.shard_images)):
            yield split, f"{NAMES[split]}-{number:06}.tar", order[start : start + options.shard_images]


def _write_shard(
    file: IO[bytes], examples: Examples, indices: Indices, options: Options,
    pool: ThreadPoolExecutor, room: int, bar: Any,
) -> None:  # fmt: skip
    """Convert images in threads, `room` of them ahead, and write them in order."""
    ahead: deque[tuple[int, Future[tuple[str, bytes]]]] = deque()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:

        def finish() -> None:
            index, future = ahead.popleft()
            bar.update()
            try:
                kind, data = future.result()
            except ImageError:
                return
            _add(tar, f"{index:08}.{kind}", data)
            if examples.labels is not None:
                _add(tar, f"{index:08}.cls", str(int(examples.labels[index])).encode())

        together = concurrent(examples.images)
        for index in indices.tolist():
            images, at = (examples.images, index) if together else ([examples.images[index]], 0)
            ahead.append((index, pool.submit(lambda images, at: convert(images[at], options), images, at)))
            if len(ahead) >= room:
                finish()
        while ahead:
            finish()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)  # time, owner and group 0: the same bytes every time
    header.size = len(data)
    tar.addfile(header, io.BytesIO(data))


def _reason(examples: Examples, index: int, options: Options) -> str:
    """Why an image was left out: it is converted again, since shards do not store the reason."""
    source = examples.images[index]
    name = str(source) if isinstance(source, Path) else f"{examples.name}, image {index}"
    try:
        convert(source, options)
    except ImageError as error:
        return str(error).replace("image:", f"{name}:", 1)
    return f"{name}: could not be read when it was packed, but can be read now; delete its shard to pack it again"


def convert(source: ImageSource, options: Options) -> tuple[str, bytes]:
    """(suffix, bytes) of an image as a member of a shard. Raises `ImageError` if it cannot be decoded completely."""
    image = open_image(source)
    stream = io.BytesIO()
    shorter = min(image.size)
    if options.resize is not None and shorter > options.resize:
        width, height = (max(1, round(side * options.resize / shorter)) for side in image.size)
        if max(width, height) <= LONGEST_JPEG:
            image.resize((width, height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=options.quality)
            return "jpg", stream.getvalue()
    data = source.read_bytes() if isinstance(source, Path) else source
    if isinstance(data, bytes) and (kind := _kind(data)):
        return kind, data
    image.save(stream, "PNG")
    return "png", stream.getvalue()


def _kind(data: bytes) -> str | None:
    """The suffix for an image with these bytes, or None."""
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return next((kind for magic, kind in _KINDS.items() if data.startswith(magic)), None)
