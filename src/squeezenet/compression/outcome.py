"""What `compress` returns, and the functions that it calls to report its progress.

>>> write_atomically("birds.sqz", compress(model, pixels, recipe).data)                  # doctest: +SKIP
"""

from collections.abc import Callable
from dataclasses import dataclass

from squeezenet import sqz
from squeezenet.model import Model


@dataclass(frozen=True, eq=False)
class Compressed:
    """A model, and the bytes of its `.sqz` file."""

    model: Model
    data: bytes


def encoded(model: Model) -> Compressed:
    """The model with its bytes. Raises `ModelError` for what no file can hold."""
    return Compressed(model, sqz.encode(model))


Judge = Callable[[Model, bytes], float]
"""A model, and the bytes of its file if there are any -> top-1 in percent on the validation set."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A size that the search for the smallest file has tried, and whether it is accurate enough."""

    file: Compressed
    top1: float  # percent
    accurate: bool


def quiet(*told: object) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Listener:
    """Functions that `compress` calls to report its progress.

    `stage` gets ("factored", model), ("pruned", model) and ("shared", model) as they are made. `tried` gets each size
    that was tried. `progress` gets (done, expected, doing) from method squeeze, again and again: `done` and `expected`
    count in one unit, sizes or steps; both are 0 until they can be known. `learned` gets the loss on held-out images
    before and after an integer network has learned; they are the same if learning did not help.
    """

    stage: Callable[[str, Model], object] = quiet
    tried: Callable[[Tried], object] = quiet
    progress: Callable[[float, float, str], object] = quiet
    learned: Callable[[float, float], object] = quiet


NOBODY = Listener()
