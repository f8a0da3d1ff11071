"""Accuracy of a PyTorch network on examples or on pixels that are already prepared.

>>> evaluate(network, load_evaluation("digits"), preparation).top1          # doctest: +SKIP
99.16
"""

import numpy as np
import torch
from torch import nn

from squeezenet.data.examples import Examples
from squeezenet.data.pixels import Pixels, chunks, decode
from squeezenet.data.score import Score, hits, score
from squeezenet.errors import DataError, TrainingError
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise


@torch.inference_mode()
def evaluate(model: nn.Module, data: Examples | Pixels, preparation: Preparation, batch_size: int = 256) -> Score:
    """Top-1 and top-5 in percent over the images that can be read, on the device where the model is.

    Raises `DataError` without labels or readable images, `TrainingError` if logits are not numbers.
    """
    if data.labels is None:
        raise DataError("accuracy needs labels; give folders named after classes, or a `label` column")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    first = among = images = 0
    try:
        for part in _parts(data, preparation, batch_size):
            if not len(part):
                continue
            batch = torch.from_numpy(normalise(part.images, preparation)).to(device)
            logits = model(batch).float().cpu().numpy()
            if not torch.isfinite(torch.from_numpy(logits)).all():
                raise TrainingError("the network gives values that are not numbers; train again with a lower --lr")
            assert part.labels is not None
            correct = hits(logits, part.labels)
            first, among, images = first + correct[0], among + correct[1], images + len(part)
    finally:
        model.train(was_training)
    if not images:
        raise DataError("accuracy needs images; none can be read")
    return score(first, among, images)


def _parts(data: Examples | Pixels, preparation: Preparation, batch_size: int):  # type: ignore[no-untyped-def]
    if isinstance(data, Examples):
        yield from decode(data, chunks(np.arange(len(data)), batch_size), preparation)
        return
    for i in range(0, len(data), batch_size):
        cut = slice(i, i + batch_size)
        yield Pixels(data.images[cut], data.labels[cut] if data.labels is not None else None, data.indices[cut])
