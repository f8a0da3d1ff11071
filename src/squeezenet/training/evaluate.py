"""Accuracy of a PyTorch network on examples or on pixels that are already prepared.

>>> evaluate(network, load_evaluation("digits"), preparation).top1          # doctest: +SKIP
99.16
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from squeezenet.data import Examples, Pixels, Score
from squeezenet.data.evaluate import count_hits
from squeezenet.data.score import score
from squeezenet.errors import ModelError, TrainingError
from squeezenet.preparation import Preparation
from squeezenet.training.distributed import ALONE, Group


def answers_of(model: nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """A function from prepared images to the logits of `model`, computed on the device where it is."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def answer(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(images).to(device)).float().cpu().numpy()
        return logits

    return answer


def evaluate(
    model: nn.Module,
    data: Examples | Pixels,
    preparation: Preparation,
    batch_size: int = 256,
    group: Group = ALONE,
) -> Score:
    """Top-1 and top-5 in percent over the images that can be read, on the device where the model is.

    In a group, `data` is this process's share, of whatever size; the score is exactly that of all images together.
    Raises `DataError` without labels or readable images, `TrainingError` if the network gives no numbers.
    """
    was_training = model.training
    model.eval()
    try:
        counts = count_hits(answers_of(model), data, preparation, batch_size, progress=False)
        first, among, images = group.add(*counts)
        return score(int(first), int(among), int(images))
    except ModelError as error:
        raise TrainingError(f"{error}; train again with a lower --lr") from None
    finally:
        model.train(was_training)
