"""Accuracy of any function from images to logits: the runtime that ships, or a network in training.

>>> evaluate(Runner(model), pixels, model.preparation).top1             # doctest: +SKIP
65.7
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from squeezenet.data.examples import Examples, Indices
from squeezenet.data.pixels import Pixels, chunks, decode, fitting, load_pixels, progress_bar
from squeezenet.data.score import Score, ranks, score
from squeezenet.errors import DataError, ModelError
from squeezenet.model import Outputs
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def evaluate(
    answer: Answer, data: Examples | Pixels, preparation: Preparation, batch_size: int = 64, progress: bool = True
) -> Score:
    """Top-1 and top-5 in percent of `answer`: (N, C, H, W) prepared images -> (N, classes) logits.

    An image counts for top-1 if its class has the largest logit. For a network with one output it counts if its class
    is 1, the positive one, and the probability is over 0.5, or if its class is 0 and the probability is not.

    Examples are decoded batch by batch, so any number fits into memory. `len(data) - score.images` images could not be
    read.

    Raises `DataError` without labels or readable images, `ModelError` if the network gives values that are not numbers.
    """
    return answers(answer, data, preparation, batch_size, progress).score


def count_hits(
    answer: Answer, data: Examples | Pixels, preparation: Preparation, batch_size: int = 64, progress: bool = True
) -> tuple[int, int, int]:
    """(images whose label is first, among the first five, all readable images). Raises as `evaluate` does."""
    first = among = images = 0
    for part, logits in _answered(answer, data, preparation, batch_size, progress):
        assert part.labels is not None
        rank = ranks(_of_classes(logits), part.labels)
        first, among, images = first + int((rank == 0).sum()), among + int((rank < 5).sum()), images + len(part)
    return first, among, images


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers to all images that can be read; all arrays are (N,)."""

    indices: Indices  # of the images in the examples
    labels: Indices  # the true class
    predicted: Indices  # the class with the highest logit; for one output, 1 if its probability is over 0.5
    probability: NDArray[np.float32]  # of that class
    among: NDArray[np.bool_]  # whether the label is among the first five

    @property
    def score(self) -> Score:
        """Top-1 and top-5. Raises `DataError` if there are no images."""
        return score(int((self.predicted == self.labels).sum()), int(self.among.sum()), len(self.labels))


def answers(
    answer: Answer,
    data: Examples | Pixels,
    preparation: Preparation,
    batch_size: int = 64,
    progress: bool = True,
    outputs: Outputs = "classes",
) -> Answers:
    """The answer to every image, for a report. `outputs`: what the logits mean. Raises as `evaluate` does."""
    rows = []
    for part, logits in _answered(answer, data, preparation, batch_size, progress):
        assert part.labels is not None
        of_classes = _of_classes(logits)
        among = ranks(of_classes, part.labels) < 5
        rows.append((part.indices, part.labels, of_classes.argmax(1), _probability(logits, outputs), among))
    if not rows and isinstance(data, Examples):
        load_pixels(data, preparation, limit=1, progress=False)  # raises: why the first cannot be read
    return Answers(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _answered(
    answer: Answer, data: Examples | Pixels, preparation: Preparation, batch_size: int, progress: bool
) -> Iterator[tuple[Pixels, NDArray[np.float32]]]:
    """Batches of images and their logits."""
    if data.labels is None:
        raise DataError("accuracy needs labels; give folders named after classes, or a `label` column")
    with progress_bar("evaluate", len(data), progress) as bar:
        for part in _parts(data, preparation, batch_size):
            bar.update(len(part) + part.skipped)
            if not len(part):
                continue
            logits = answer(normalise(part.images, preparation))
            if not np.isfinite(logits).all():
                raise ModelError("the network gives values that are not numbers; its weights are damaged")
            yield part, logits


def _of_classes(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits of classes: one output becomes the logits of two classes, 0 and the output."""
    return logits if logits.shape[1] > 1 else np.concatenate([np.zeros_like(logits), logits], 1)


def _probability(logits: NDArray[np.float32], outputs: Outputs) -> NDArray[np.float32]:
    """(N, classes) logits -> (N,): the probability of the answer to each image."""
    if outputs == "classes":
        likely = np.exp(logits - logits.max(1, keepdims=True))
        share: NDArray[np.float32] = likely.max(1) / likely.sum(1)
        return share
    largest = logits.max(1) if logits.shape[1] > 1 else np.abs(logits[:, 0])  # no is as probable as yes of -logit
    sigmoid: NDArray[np.float32] = (0.5 + 0.5 * np.tanh(0.5 * largest)).astype(np.float32)
    return sigmoid


def _parts(data: Examples | Pixels, preparation: Preparation, batch_size: int) -> Iterator[Pixels]:
    batch_size = fitting(batch_size, 4 * preparation.bytes)  # they become float32
    if isinstance(data, Examples):
        yield from decode(data, chunks(np.arange(len(data)), batch_size), preparation)
        return
    for i in range(0, len(data), batch_size):
        cut = slice(i, i + batch_size)
        yield Pixels(data.images[cut], data.labels[cut] if data.labels is not None else None, data.indices[cut])
