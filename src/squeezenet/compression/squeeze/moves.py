"""Scales of activations moved by eighths of an octave while the answers get nearer to the float network's.

    >>> move_scales(model, network, images, max_bytes=350_000)              # doctest: +SKIP

Calibration (`ranges`) gives each group of values the step with the smallest squared error of its own. What an error
costs in the end is measured here: one group after the other, by the divergence of whole answers.
"""

import os
from math import inf

import numpy as np
import torch
from torch import Tensor

from squeezenet import sqz
from squeezenet.compression.squeeze.network import IntegerNetwork
from squeezenet.compression.squeeze.to_size import Tick, as_model, quiet
from squeezenet.errors import BadGraph, ModelError
from squeezenet.model import Model
from squeezenet.models.network import Network
from squeezenet.runtime.run import runner

BATCH = 16
MOST = 4  # eighths that a scale may move


@torch.no_grad()
def move_scales(
    model: Model, network: IntegerNetwork, exact: Network, images: Tensor, max_bytes: float, tick: Tick = quiet
) -> None:
    """Change the scales of `network` in place; its file stays within `max_bytes`.

    `exact` is the network that it was made of, `images` (N, C, H, W) are prepared. `tick` gets shares of the work.
    """
    wanted = torch.cat([exact(batch) for batch in images.split(BATCH)]).log_softmax(1)
    groups = network.groups
    best = _divergence(model, network, images, wanted, inf)
    for group in groups:
        for way in (1, -1):
            moved = 0
            while moved < MOST:
                network.growth[group] += way
                now = _divergence(model, network, images, wanted, max_bytes)
                if now >= best:
                    network.growth[group] -= way
                    break
                best, moved = now, moved + 1
            if moved:
                break
        tick(1 / len(groups))


def _divergence(model: Model, network: IntegerNetwork, images: Tensor, wanted: Tensor, max_bytes: float) -> float:
    """Nats an image, of what the device answers; infinite for a network that the format or `max_bytes` refuses."""
    try:
        shipped = as_model(model, network)
        data = sqz.encode(shipped)
    except (BadGraph, ModelError):
        return inf
    if len(data) > max_bytes:
        return inf
    run = runner(shipped, os.cpu_count() or 1, data=data)
    logits = np.concatenate([run(batch.contiguous().numpy()) for batch in images.split(BATCH)])
    found = torch.from_numpy(logits).log_softmax(1)
    return float((wanted.exp() * (wanted - found)).sum(1).mean())
