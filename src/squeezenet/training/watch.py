"""Watching a run: a network that does not begin to learn is reported early, and ends the run later.

>>> watch = Watch(steps=1000, labels=np.array([0, 1, 2, 3] * 10), classes=4)
>>> round(watch.guess, 3)
1.386
"""

import logging
from collections import deque

import numpy as np

from squeezenet.data.examples import Indices
from squeezenet.errors import TrainingError

WARN_AFTER = (100, 0.05)  # steps, and share of the run: the later of both
FAIL_AFTER = (300, 0.25)
WINDOW = 50  # steps that are averaged

ADVICE = "try a lower --lr, and check that labels belong to their images and that the mean suits them"

_log = logging.getLogger(__name__)


class Watch:
    """Compares the loss with that of a guess, which only knows how frequent each class is.

    For classes of equal size the loss of a guess is ln(classes).
    """

    def __init__(self, steps: int, labels: Indices, classes: int) -> None:
        shares = np.bincount(labels, minlength=classes) / len(labels)
        self.guess = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
        self.chance = float(shares.max())
        self.steps = steps
        self.warned = False
        self.recent: deque[tuple[float, int, int]] = deque(maxlen=WINDOW)

    def see(self, step: int, loss: float, correct: int, images: int, lr: float) -> None:
        """Add one step: its mean loss, and how many of its images were classified correctly. Raises `TrainingError`."""
        self.recent.append((loss, correct, images))
        mean, right, seen = (sum(column) for column in zip(*self.recent, strict=True))
        mean /= len(self.recent)
        if len(self.recent) < WINDOW or mean <= 0.99 * self.guess or right >= (self.chance + 0.05) * seen:
            return  # it has begun to learn, in loss or in accuracy, or nobody can know yet
        told = (
            f"the network has not begun to learn after {step} of {self.steps} steps: "
            f"loss {mean:.3f}, a guess gives {self.guess:.3f}"
        )
        if step >= max(FAIL_AFTER[0], FAIL_AFTER[1] * self.steps):
            raise TrainingError(f"{told}; {ADVICE} (--lr was {lr:.3g})")
        if not self.warned and step >= min(max(WARN_AFTER[0], WARN_AFTER[1] * self.steps), self.steps):
            self.warned = True
            _log.warning("%s; %s", told, ADVICE)
