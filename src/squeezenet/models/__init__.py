"""The networks, as plain PyTorch modules, by name.

>>> create_model("squeezenet1_1", classes=10).classifier[1].out_channels
10
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from squeezenet.errors import UsageError
from squeezenet.models.alexnet import AlexNet, AlexNetOneTower
from squeezenet.models.squeezenet import Fire, Metaparameters, SqueezeNet
from squeezenet.models.vgg import Vgg

__all__ = [
    "ARCHITECTURES", "AlexNet", "AlexNetOneTower", "Architecture", "Fire", "Metaparameters", "SqueezeNet",
    "Vgg", "create_model",
]  # fmt: skip

Overrides = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A network that can be built: what it is, the image size it is made for, and its metaparameters."""

    description: str
    input_size: int
    meta: Metaparameters | None  # None: not a SqueezeNet


ARCHITECTURES: dict[str, Architecture] = {
    "squeezenet1_0": Architecture("the paper's network: 1,248,424 parameters", 227, Metaparameters()),
    "squeezenet1_1": Architecture("v1.1: 2.4x less computation, same accuracy", 227, Metaparameters(stem="v1.1")),
    "squeezenet1_0_simple": Architecture("v1.0 with simple bypass", 227, Metaparameters(bypass="simple")),
    "squeezenet1_0_complex": Architecture("v1.0 with complex bypass", 227, Metaparameters(bypass="complex")),
    "squeezenet_32": Architecture("for images of 32 x 32 (CIFAR-10)", 32, Metaparameters(stem="32")),
    "squeezenet_64": Architecture("for images of 64 x 64 (Tiny ImageNet)", 64, Metaparameters(stem="64")),
    "alexnet": Architecture("the paper's baseline: 60,965,224 parameters", 227, None),
    "alexnet_torchvision": Architecture("torchvision's AlexNet, one tower: 61,100,840 parameters", 224, None),
    "alexnet_32": Architecture("AlexNet for images of 32 x 32", 32, None),
    "alexnet_64": Architecture("AlexNet for images of 64 x 64", 64, None),
    "vgg_32": Architecture("a small VGG for images of 32 x 32: 1,973,186 parameters", 32, None),
    "vgg_32_192": Architecture("the same, 192 wide instead of 256: 1,161,026 parameters", 32, None),
}


def create_model(name: str, **overrides: Any) -> nn.Module:
    """Build a network with fresh weights drawn from PyTorch's global generator.

    `overrides` are `Metaparameters` fields for SqueezeNet (`sr=0.5, bypass="simple", classes=10`), `classes` and
    `in_channels` for the others. Raises `UsageError` for a name or a field that does not exist.
    """
    architecture = find_architecture(name)
    try:
        if name == "alexnet_torchvision":
            return AlexNetOneTower(**overrides)
        if name == "vgg_32":
            return Vgg(**overrides)
        if name == "vgg_32_192":
            return Vgg(width=192, **overrides)
        if architecture.meta is None:
            return AlexNet(input_size=architecture.input_size, **overrides)
        return SqueezeNet(replace(architecture.meta, **overrides))
    except (TypeError, ValueError) as error:
        known = [f.name for f in fields(Metaparameters)] if architecture.meta else ["classes", "in_channels"]
        raise UsageError(f"{name}: {error}; what can be set: {', '.join(known)}") from None


def find_architecture(name: str) -> Architecture:
    """Look a name up. Raises `UsageError` with the nearest names."""
    if name not in ARCHITECTURES:
        near = get_close_matches(name, ARCHITECTURES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(ARCHITECTURES)}"
        raise UsageError(f"no network is called {name!r}; {hint}")
    return ARCHITECTURES[name]


def create_seeded(name: str, seed: int, **overrides: Any) -> nn.Module:
    """`create_model` with weights that depend on `seed` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(name, **overrides)


def describe(name: str, overrides: Overrides) -> dict[str, Any]:
    """What to save beside weights so that the same network can be built again: `create_model(**saved)`."""
    meta = find_architecture(name).meta
    settings = asdict(replace(meta, **overrides)) if meta else dict(overrides)
    return {"name": name, **settings}
