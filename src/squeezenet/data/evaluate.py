"""Accuracy of whatever answers images with logits: the runtime that ships a model, or a network in training.

>>> evaluate(Runner(model), pixels, model.preparation).top1             # doctest: +SKIP
65.7
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from squeezenet.data.pixels import Pixels
from squeezenet.data.score import Score, hits, score
from squeezenet.errors import DataError, ModelError
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def evaluate(
    answer: Answer, pixels: Pixels, preparation: Preparation, batch_size: int = 64, progress: bool = True
) -> Score:
    """Top-1 and top-5 in percent of `answer`: (N, C, H, W) prepared images -> (N, classes) logits.

    Raises `DataError` without labels, `ModelError` if the network gives values that are not numbers.
    """
    from tqdm import tqdm

    if pixels.labels is None:
        raise DataError("accuracy needs labels; give folders named after classes, or a `label` column")
    first = among = 0
    with tqdm(total=len(pixels), desc="evaluate", unit="img", leave=False, disable=None if progress else True) as bar:
        for at in range(0, len(pixels), batch_size):
            logits = answer(normalise(pixels.images[at : at + batch_size], preparation))
            if not np.isfinite(logits).all():
                raise ModelError("the network gives values that are not numbers; its weights are of no use")
            correct = hits(logits, pixels.labels[at : at + batch_size])
            first, among = first + correct[0], among + correct[1]
            bar.update(len(logits))
    return score(first, among, len(pixels))
