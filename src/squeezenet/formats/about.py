"""What a user says about a file of weights without a description.

>>> About(Preparation.imagenet_torchvision(), ("cat", "dog"))               # doctest: +SKIP
"""

from dataclasses import dataclass
from pathlib import Path

from squeezenet.errors import UsageError
from squeezenet.graph import Graph
from squeezenet.model import Outputs
from squeezenet.preparation import Preparation


@dataclass(frozen=True)
class About:
    """The preparation of images, the names of the classes, and the networks that the weights may belong to.

    `networks` are names of `squeezenet.models`; if there are none, any network is tried. `graph` is tried first.
    `outputs`: what the logits mean.
    """

    preparation: Preparation | None = None
    labels: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    graph: Graph | None = None
    outputs: Outputs = "classes"


NOTHING = About()

TORCHVISION = ("squeezenet1_0", "squeezenet1_1", "alexnet_torchvision")
"""The networks of `squeezenet.models` that torchvision has too, with the same names of tensors."""


def of_torchvision() -> About:
    """The description of weights that were trained with torchvision."""
    return About(Preparation.imagenet_torchvision(), networks=TORCHVISION)


def refuse(about: About, where: str | Path) -> None:
    """Raise `UsageError` if the caller describes a file that has a description."""
    if about != NOTHING:
        raise UsageError(
            f"{where}: says itself how images are prepared and of which network it is; leave out --like, --network, "
            "--resize, --crop, --fit, --channels, --mean and --std"
        )
