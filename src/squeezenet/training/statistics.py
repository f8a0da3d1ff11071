"""Means and variances of batch normalisation, computed anew for the running average of the weights.

The average of several weight vectors has a smaller norm than each of them, so the averaged statistics are too large for
it (experiments, "Constants of training").
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise

IMAGES = 2048


@torch.no_grad()
def estimate_statistics(
    model: nn.Module, images: NDArray[np.uint8], preparation: Preparation, batch_size: int = 256
) -> None:
    """Set the statistics of every normalisation to those of `images` (N, C, H, W), as they are prepared."""
    device = next(model.parameters()).device
    was_training = model.training
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over batches
        norm.train()
    for start in range(0, len(images), batch_size):
        model(torch.from_numpy(normalise(images[start : start + batch_size], preparation)).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
