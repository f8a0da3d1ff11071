"""What `compress` returns, and whom it tells what it does.

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
"""A model, and the bytes of its file if there are any -> top-1 in percent of images that it is not tuned on."""


@dataclass(frozen=True, eq=False)
class Tried:
    """A size that the search for the smallest file has tried, and whether it is accurate enough."""

    file: Compressed
    top1: float  # percent
    accurate: bool


def quiet(*told: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Listener:
    """Who is told what `compress` does.

    `stage` gets ("factored", model), ("pruned", model) and ("shared", model) as they come about, `tried` each size that
    was tried, `progress` (done, expected, doing) as often as there is news of method squeeze: `done` and `expected`
    count in one unit, of sizes or of steps; both are 0 while nobody can know.
    """

    stage: Callable[[str, Model], object] = quiet
    tried: Callable[[Tried], object] = quiet
    progress: Callable[[float, float, str], object] = quiet


NOBODY = Listener()
