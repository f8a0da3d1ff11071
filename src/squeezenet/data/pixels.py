"""Decodes many images at once: prepared pixels for evaluation, calibration and distillation.

    >>> from squeezenet.data import load_evaluation
    >>> digits = load_evaluation("digits")
    >>> load_pixels(digits, default_preparation(digits), limit=100, progress=False).images.shape
    (100, 1, 16, 16)

Threads decode: Pillow releases the lock of the interpreter while it decodes and resizes.
"""

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from squeezenet.data.examples import Examples, ImageSource, Indices, Picked, concurrent
from squeezenet.errors import DataError, ImageError
from squeezenet.limits import BATCH_BYTES, DECODED_BYTES
from squeezenet.preparation import Preparation, Size, sides_of, spelled
from squeezenet.runtime import image

AHEAD = 2
"""Batches that are decoded ahead while another is used; 0 if one image takes more than `BATCH_BYTES`."""
SMALL = 96
"""Square images of one size, at most so many pixels a side, are not resized."""
DARK = 64
"""If no value is as large as this, there is a warning: pictures usually have some bright spot."""
SMALLEST = 16
"""Smallest side of an input, since a network has three poolings; smaller images are enlarged to it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Prepared images. `images` (N, C, crop, crop) uint8, `labels` (N,) or None, `indices` (N,) into the examples."""

    images: NDArray[np.uint8]
    labels: Indices | None
    indices: Indices
    unreadable: tuple[tuple[int, str], ...] = ()  # (index, reason) of the images that cannot be read

    def __len__(self) -> int:
        return len(self.images)

    @property
    def skipped(self) -> int:
        """The number of images that cannot be read."""
        return len(self.unreadable)


def checked(pixels: "Pixels | NDArray[Any]", preparation: Preparation) -> Pixels:
    """`pixels`, or an array (or tensor) of images, as `Pixels`. Raises `DataError` unless they fit the preparation."""
    if not isinstance(pixels, Pixels):
        pixels = Pixels(np.asarray(pixels), None, np.arange(len(pixels)))
    images, count = pixels.images, len(pixels)
    if images.dtype != np.uint8 or images.shape[1:] != preparation.shape or not count:
        limits = f", values from {images.min():.3g} to {images.max():.3g}" if images.size else ""
        raise DataError(
            f"pixels: {images.dtype} {images.shape}{limits}; expected uint8 "
            f"(images, {', '.join(map(str, preparation.shape))}): channels {preparation.channels} first, "
            "values from 0 to 255 that are not normalised"
        )
    if len(pixels.indices) != count or (pixels.labels is not None and len(pixels.labels) != count):
        raise DataError(f"pixels: {count:,} images, but not as many labels or indices")
    if (brightest := int(images.max())) < DARK:
        _log.warning("pixels: no value of %s images is above %d of 255; are they scaled?", f"{count:,}", brightest)
    return pixels


def workers_by_default() -> int:
    """The number of threads: at least 2, so that one decodes while another waits for the disk."""
    return max(2, min(16, os.cpu_count() or 1))


def load_pixels(
    examples: Examples,
    preparation: Preparation,
    limit: int | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Pixels:
    """The prepared pixels of all images, or of `limit` images evenly taken; unreadable images are left out.

    Raises `DataError` if there is no image, or none can be read.
    """
    count = len(examples) if limit is None else min(limit, len(examples))
    if count < 1:
        raise DataError(f"{examples.name}: no images found")
    if count * preparation.bytes > DECODED_BYTES:
        most = DECODED_BYTES // preparation.bytes
        raise DataError(
            f"{examples.name}: {count:,} images of {spelled(preparation.crop)} pixels do not fit into the "
            f"limit of {DECODED_BYTES / 1e9:.1f} GB in memory; take at most {most:,} of them (--limit)"
        )
    indices = np.arange(count) * len(examples) // count
    images = np.empty((count, *preparation.shape), np.uint8)
    kept: list[int] = []
    unreadable: list[tuple[int, str]] = []
    with progress_bar("images", count, progress) as bar:
        for part in decode(examples, chunks(indices, fitting(256, preparation.bytes)), preparation, workers):
            images[len(kept) : len(kept) + len(part)] = part.images
            kept.extend(part.indices.tolist())
            unreadable.extend(part.unreadable)
            bar.update(len(part) + part.skipped)
    if not kept:
        raise DataError(f"{examples.name}: none of {count} images can be read; the first: {unreadable[0][1]}")
    where = np.array(kept, np.int64)
    labels = None if examples.labels is None else examples.labels[where]
    return Pixels(images[: len(kept)], labels, where, tuple(unreadable))


def chunks(indices: Indices, size: int) -> list[Indices]:
    """`indices` in consecutive parts of `size`."""
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def fitting(count: int, bytes_each: int) -> int:
    """The number of images, at most `count`, that fit into `BATCH_BYTES`; at least 1."""
    return max(1, min(count, BATCH_BYTES // bytes_each))


def decode(
    examples: Examples,
    batches: Iterable[Indices],
    preparation: Preparation,
    workers: int | None = None,
    training: bool = False,
) -> Iterator[Pixels]:
    """The prepared pixels of each batch of indices, in order; `AHEAD` batches are decoded ahead.

    For `training`, the fastest decoder is used and images are channels last in memory; else pixels are exactly those of
    `runtime.image`. Raises `DataError` if a file can no longer be read.
    """
    workers = workers or workers_by_default()
    most = AHEAD if preparation.bytes <= BATCH_BYTES else 0
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[Indices, NDArray[np.uint8], list[Future[list[str | None]]]]] = deque()

        def finish() -> Pixels:
            indices, images, futures = ahead.popleft()
            said = [line for future in futures for line in future.result()]
            unreadable = tuple((int(i), line) for i, line in zip(indices, said, strict=True) if line is not None)
            if unreadable:
                good = np.array([line is None for line in said], bool)
                indices, images = indices[good], images[good]
            labels = None if examples.labels is None else examples.labels[indices]
            return Pixels(images, labels, indices, unreadable)

        try:
            for indices in batches:
                channels, *side = preparation.shape
                images = np.empty((len(indices), channels, *side), np.uint8)
                if training:
                    images = np.empty((len(indices), *side, channels), np.uint8).transpose(0, 3, 1, 2)
                share = max(1, -(-len(indices) // workers))
                futures = []
                for start in range(0, len(indices), share):
                    part = indices[start : start + share]
                    sources: Sequence[ImageSource] = Picked(examples.images, part)
                    if not concurrent(examples.images):
                        sources = list(sources)  # read by this thread only
                    room = images[start : start + share]
                    futures.append(pool.submit(_decode, examples.name, part, sources, preparation, training, room))
                ahead.append((indices, images, futures))
                if len(ahead) > most:
                    yield finish()
            while ahead:
                yield finish()
        finally:
            for _, _, futures in ahead:
                for future in futures:
                    future.cancel()


def _exact(source: ImageSource, preparation: Preparation) -> NDArray[np.uint8]:
    return image.pixels(image.open_image(source), preparation)


def _decode(
    name: str,
    indices: Indices,
    sources: Sequence[ImageSource],
    preparation: Preparation,
    training: bool,
    images: NDArray[np.uint8],
) -> list[str | None]:
    """Decode into `images`; for each image, None or why it cannot be read."""
    decode = _exact
    if training:
        from squeezenet.data.decoder import training_pixels  # imports PyTorch, which takes a second

        decode = training_pixels
    said: list[str | None] = []
    for k, index in enumerate(indices):
        try:
            images[k] = decode(sources[k], preparation)
            said.append(None)
        except ImageError as error:
            said.append(str(error).replace("image:", f"{name}, image {index}:", 1))
    return said


def default_preparation(examples: Examples, image_size: Size | None = None, photo_size: int = 227) -> Preparation:
    """The preparation for images like these, chosen by the first few.

    Square images of one size up to 96 pixels keep their size (or are resized to `image_size`) and are normalised by
    their own mean and standard deviation. Others are prepared as in the paper: stretched, cropped to `image_size` or
    `photo_size`, BGR, the mean of ImageNet. Grey images stay grey. Raises `DataError` if no image can be read.
    """
    seen = first_images(examples)
    grey = all(i.mode == "L" for i in seen)
    size = common_side(seen)
    if size is None:
        crop = image_size or photo_size
        height, width = (round(side * 256 / 227) for side in sides_of(crop))
        resize = height, width
        if grey:
            return Preparation(resize, crop, "stretch", "L", (117.3,), (1.0,))  # the luminance of ImageNet's mean
        return Preparation(resize, crop, "stretch", "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
    side = image_size or max(size, SMALLEST)
    bare = Preparation(side, side, "stretch", "L", (0.0,), (1.0,)) if grey else Preparation(side, side)
    sample = load_pixels(examples, bare, limit=2000, progress=False).images.astype(np.float64)
    mean, std = sample.mean((0, 2, 3)), sample.std((0, 2, 3)).clip(1.0)
    return Preparation(
        side, side, "stretch", bare.channels, tuple(np.round(mean, 2).tolist()), tuple(np.round(std, 2).tolist())
    )


def common_side(seen: Sequence[Image.Image]) -> int | None:
    """The side of square images of one size, of at most `SMALL` pixels; None for other images."""
    side = seen[0].width
    return side if side <= SMALL and all(i.size == (side, side) for i in seen) else None


def first_images(examples: Examples) -> list[Image.Image]:
    """Up to 16 of the first 64 images. Raises `DataError` if none can be read."""
    seen = []
    for index in range(min(len(examples), 64)):
        try:
            seen.append(image.open_image(examples.images[index]))
        except ImageError:
            continue
        if len(seen) == 16:
            break
    if not seen:
        raise DataError(f"{examples.name}: no image can be read among the first {min(len(examples), 64)}")
    return seen


def progress_bar(what: str, count: int, shown: bool) -> Any:
    """A progress bar on standard error, removed at the end; only on a terminal, and only if `shown`."""
    from tqdm import tqdm

    return tqdm(total=count, desc=what, unit="img", leave=False, disable=None if shown else True)
