"""Networks of timm and torchvision, for files that hold only their weights: `--network timm/ghostnet_100`.

    >>> module = build("timm/ghostnet_100", state)                              # doctest: +SKIP

The library builds the network with as many classes and channels as the weights have. Neither library is a dependency.
"""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from squeezenet.errors import MissingDependency, ModelError, UsageError
from squeezenet.preparation import Preparation
from squeezenet.printable import printable

TIMM, TORCHVISION = "timm/", "torchvision/"

Keys = dict[str, Tensor]


def is_known(name: str) -> bool:
    """Whether `name` begins with a library, as "timm/ghostnet_100" does."""
    return name.startswith((TIMM, TORCHVISION))


def build(name: str, state: Keys) -> nn.Module:
    """The network `name` with the weights of `state`.

    Raises `ModelError` if they are of another network, `UsageError` for an unknown name, `MissingDependency`.
    """
    module = _of_timm(name, state) if name.startswith(TIMM) else _of_torchvision(name, state)
    refuse_others(name, module.state_dict(), state)
    module.load_state_dict(state, strict=False)
    return module.eval()


def refuse_others(name: str, wanted: Keys, state: Keys) -> None:
    """Raise `ModelError`, which says how `state` differs from the tensors of network `name`, if it does."""
    differences = {
        "missing": [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")],
        "unknown": [key for key in state if key not in wanted],
        "of another shape": [key for key in wanted if key in state and wanted[key].shape != state[key].shape],
    }
    found = [
        f"{len(keys)} {'is' if len(keys) == 1 else 'are'} {what}, such as {printable(keys[0])}"
        for what, keys in differences.items()
        if keys
    ]
    if found:
        raise ModelError(f"not the weights of {name}, which has {len(wanted)} tensors; {'; '.join(found)}")


def preparation(name: str) -> Preparation:
    """How timm prepares images for a network, except that it may enlarge or reduce them by another filter.

    Raises `UsageError` for an unknown name, `MissingDependency`.
    """
    config = _known_to_timm(name).get_pretrained_cfg(name.removeprefix(TIMM))
    side = config.input_size[-1]
    means, deviations = (tuple(round(255 * value, 6) for value in values) for values in (config.mean, config.std))
    squashed = config.crop_mode == "squash"
    resize = side if squashed else int(side / config.crop_pct)
    return Preparation(resize, side, "stretch" if squashed else "shorter", "RGB", means, deviations)


def _of_timm(name: str, state: Keys) -> nn.Module:
    timm, network = _known_to_timm(name), name.removeprefix(TIMM)
    config = timm.get_pretrained_cfg(network)
    settings = {}
    for argument, layer, axis in (("num_classes", config.classifier, 0), ("in_chans", config.first_conv, 1)):
        weight = state.get(f"{layer}.weight")
        if weight is not None and weight.ndim > axis:
            settings[argument] = weight.shape[axis]
    module: nn.Module = timm.create_model(network, **settings)
    return module


def _known_to_timm(name: str) -> Any:
    """The module timm, if it has the network. Other names could make it download files."""
    timm = _imported("timm")
    if not timm.is_model(name.removeprefix(TIMM)):
        raise UsageError(f"timm {timm.__version__} has no network {name.removeprefix(TIMM)}")
    return timm


def _of_torchvision(name: str, state: Keys) -> nn.Module:
    models, network = _imported("torchvision.models"), name.removeprefix(TORCHVISION)
    if network not in models.list_models(models):
        raise UsageError(f"torchvision has no classifier {network}")
    matrices = [tensor for tensor in state.values() if tensor.ndim > 1]
    module: nn.Module = models.get_model(network, weights=None, num_classes=len(matrices[-1]) if matrices else 1000)
    return module


def _imported(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, RuntimeError) as error:
        library = name.partition(".")[0]
        needed = "torchvision" if library == "torchvision" else f"{library} torchvision"
        raise MissingDependency(
            f"{library} cannot be imported ({error}); pip install {needed}, in the version that fits your PyTorch "
            f"{torch.__version__}"
        ) from None
