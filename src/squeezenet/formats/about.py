"""What a user says of a file of weights that does not say it itself.

>>> About(Preparation.imagenet_torchvision(), ("cat", "dog"))               # doctest: +SKIP
"""

from dataclasses import dataclass
from pathlib import Path

from squeezenet.errors import UsageError
from squeezenet.graph import Graph
from squeezenet.preparation import Preparation


@dataclass(frozen=True)
class About:
    """How images are prepared, what the classes are called, and of which network the weights can be.

    `networks` are names of `squeezenet.models`; none means any. Weights that fit `graph` are taken to be of it.
    """

    preparation: Preparation | None = None
    labels: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    graph: Graph | None = None


NOTHING = About()

TORCHVISION = ("squeezenet1_0", "squeezenet1_1", "alexnet_torchvision")
"""The networks of `squeezenet.models` that torchvision has under the same names of tensors."""


def of_torchvision() -> About:
    """What is known of weights that were trained as torchvision does."""
    return About(Preparation.imagenet_torchvision(), networks=TORCHVISION)


def said_twice(where: str | Path) -> UsageError:
    """The error for a file that says itself what the caller says again, perhaps otherwise."""
    return UsageError(
        f"{where}: says itself how images are prepared and of which network it is; leave out --like, --network, "
        "--resize, --crop, --fit, --channels, --mean and --std"
    )
