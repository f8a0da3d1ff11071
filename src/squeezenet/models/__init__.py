"""The networks, as plain PyTorch modules, by name.

>>> create_model("squeezenet1_1", classes=10).classifier[1].out_channels
10
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import nn

from squeezenet.architectures import ARCHITECTURES, Architecture, Metaparameters, find_architecture
from squeezenet.errors import UsageError
from squeezenet.models.alexnet import AlexNet, AlexNetOneTower
from squeezenet.models.squeezenet import Fire, SqueezeNet
from squeezenet.models.vgg import Vgg, VggBypass

__all__ = [
    "ARCHITECTURES", "AlexNet", "AlexNetOneTower", "Architecture", "Fire", "Metaparameters", "SqueezeNet", "Vgg",
    "VggBypass", "create_model", "find_architecture",
]  # fmt: skip


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
        if name == "vgg_32_bypass":
            return VggBypass(**overrides)
        if name == "vgg_32_bypass_wide":
            return VggBypass(widths=(128, 384, 512), **overrides)
        if architecture.meta is None:
            return AlexNet(input_size=architecture.input_size, **overrides)
        return SqueezeNet(replace(architecture.meta, **overrides))
    except (TypeError, ValueError) as error:
        known = [f.name for f in fields(Metaparameters)] if architecture.meta else ["classes", "in_channels"]
        raise UsageError(f"{name}: {error}; what can be set: {', '.join(known)}") from None


def create_seeded(name: str, seed: int, **overrides: Any) -> nn.Module:
    """`create_model` with weights that depend on `seed` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(name, **overrides)


def describe(name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What to save beside weights so that the same network can be built again: `create_model(**saved)`."""
    meta = find_architecture(name).meta
    settings = asdict(replace(meta, **overrides)) if meta else dict(overrides)
    return {"name": name, **settings}
