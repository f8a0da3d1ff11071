"""Learning and rounding again: the rounded network is trained as floats, then rounded, as often as this helps.

    >>> learned = learn_as_floats(model, rounded, again, held, teaching, Learning(epochs=2))   # doctest: +SKIP

Each of `ROUNDS` rounds begins with the dequantised weights of the best network so far. They are trained as floats, by
updates that are small against the distance of two levels, and then rounded: nearly all weights return to the level they
had. So the noise of single batches does not destroy a network whose levels compensate for each other's errors, as it
does with few images when levels change at every step (docs/experiments.md, "Learning, and rounding again"). A round
after which the loss on held-out images is not lower is undone, and the next one has a lower learning rate.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from squeezenet.compression.finetune import Teaching, answers_of, fine_tune, loss_of, prepared, steps_of
from squeezenet.compression.outcome import quiet
from squeezenet.compression.recipe import Learning
from squeezenet.compression.squeeze.network import IntegerNetwork
from squeezenet.data import Pixels
from squeezenet.errors import ModelError, TrainingError
from squeezenet.model import Model
from squeezenet.models.network import Network, dense

LR = 1e-5  # of Adam
ROUNDS = 4  # of learning and rounding
SLOWER = 0.5  # factor of the learning rate after a round that did not help
EVERY, MOST_HELD = 10, 500  # every tenth image is held out, at most so many
BATCH = 20


@dataclass(frozen=True)
class Learned:
    """A network, and its loss on the held-out images before and after learning."""

    network: IntegerNetwork
    before: float
    after: float


def learn_as_floats(
    model: Model,
    network: IntegerNetwork,
    again: Callable[[Network], IntegerNetwork],
    held: Teaching,
    teaching: Teaching,
    learning: Learning,
    tick: Callable[[float, str], object] = quiet,
    checkpoints: Path | None = None,
    seed: int = 0,
) -> Learned:
    """The best network that was found; `network` itself if learning did not help.

    `network` is the rounded `model`, `again` rounds a float network, and `held` are the held-out images. `tick` gets
    the share of the steps that is done, and the losses in words. With a folder of `checkpoints`, a run that was stopped
    goes on from its last one. Ctrl-C and SIGTERM write a checkpoint, then raise `KeyboardInterrupt`.
    """
    before = least = loss_on(network, held)
    best, rate = network, learning.lr or LR
    bf16 = teaching.device.type != "cpu" or network.dtype == torch.bfloat16
    how = replace(learning, epochs=learning.epochs / ROUNDS)
    steps = ROUNDS * steps_of(how, len(teaching.pixels))
    done = 0

    def told(loss: float) -> None:
        nonlocal done
        done += 1
        tick(done / steps, f"loss {loss:.3f}; {least:.4f} on other images, {before:.4f} before")

    for number in range(ROUNDS):
        floats = dense(replace(model, weights=best.to_weights(), scales=best.scales))
        folder = checkpoints / f"{number}" if checkpoints else None
        try:
            fine_tune(floats, teaching, replace(how, lr=rate), seed + number, told, folder, bf16)
            tried = again(floats)
            loss = loss_on(tried, held)
        except (TrainingError, ModelError):  # weights that are no numbers, or that no file can hold
            loss = inf
        done = (number + 1) * steps // ROUNDS  # also where a checkpoint was taken up
        if loss < least:
            best, least = tried, loss
        else:
            rate *= SLOWER
    return Learned(best, before, least)


def hold_out(teaching: Teaching) -> tuple[Teaching, Teaching]:
    """The images to learn from, and those that are held out, which are not augmented."""
    pixels = teaching.pixels
    every = max(EVERY, -(-len(pixels) // MOST_HELD))
    held = np.arange(len(pixels)) % every == every - 1
    if not held.any():
        held[:] = True  # too few images to hold any out

    def of(chosen: np.ndarray) -> Teaching:
        labels = None if pixels.labels is None else pixels.labels[chosen]
        return replace(teaching, pixels=Pixels(pixels.images[chosen], labels, pixels.indices[chosen]))

    return of(~held) if not held.all() else teaching, of(held)


@torch.no_grad()
def loss_on(network: IntegerNetwork, teaching: Teaching) -> float:
    """The mean loss of the integer network on all images of `teaching`."""
    home = next(network.parameters()).device
    network.on(teaching.device)
    total = torch.zeros((), device=teaching.device)
    for chosen in torch.arange(len(teaching.pixels)).split(BATCH):
        images: Tensor = prepared(teaching, chosen)
        loss = loss_of(network(images), teaching, chosen, answers_of(teaching, images))
        total += loss * len(chosen)
    network.on(home)
    return float(total) / len(teaching.pixels)
