"""Fresh networks, and a start that lets one without batch normalisation learn at once.

>>> model = fresh_model("squeezenet_32", data, preparation, MODERN, base_e=32)          # doctest: +SKIP

`start="scaled"` is layer-sequential unit variance (Mishkin and Matas, arXiv 1511.06422): each layer's weights are
divided by the standard deviation of what it gives for real images. The paper's start (Xavier) expects pixels of -120 to
150: on normalised `digits`, SGD at rates of 0.01, 0.02 and 0.05 never left the loss of a guess (base_e 32, 12 epochs,
one seed); signals fade from layer to layer.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from squeezenet.data.examples import Data
from squeezenet.data.pixels import load_pixels
from squeezenet.errors import ModelError
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise
from squeezenet.training.recipe import Recipe

IMAGES = 128  # enough to know a standard deviation
LAST_SCALE = 0.3  # small logits at first, so that no class is already ruled out
LAST_BIAS = 1.0  # the same for all classes changes no probability, but keeps the ReLU behind conv10 open for each


def fresh_model(name: str, data: Data, preparation: Preparation, recipe: Recipe, **overrides: Any) -> nn.Module:
    """Build the network `name` for the classes and channels of the data, with weights that `recipe.seed` decides."""
    fitting = {"classes": len(data.train.classes), "in_channels": preparation.shape[0]}
    model = create_seeded(name, recipe.seed, **{**overrides, **fitting})
    if recipe.weights:
        take_weights(model, Path(recipe.weights))
    elif recipe.start == "scaled":
        sample = load_pixels(data.train, preparation, limit=IMAGES, progress=False)
        scale_start(model, torch.from_numpy(normalise(sample.images, preparation)))
    return model


def take_weights(model: nn.Module, where: Path) -> None:
    """Load the weights of a run folder or .safetensors file; a last layer for other classes stays fresh.

    Raises `ModelError` if the file cannot be read, or is of another network.
    """
    path = where / "model.safetensors" if where.is_dir() else where
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{where}: no weights to start from ({' '.join(str(error).split())[:100]})") from None
    wanted = model.state_dict()
    last = [name for name, tensor in wanted.items() if tensor.ndim > 1][-1].rpartition(".")[0]
    other = [name for name in wanted if name not in found or found[name].shape != wanted[name].shape]
    if set(found) != set(wanted) or any(name.rpartition(".")[0] != last for name in other):
        raise ModelError(f"{where}: weights of another network ({(other or sorted(set(found) - set(wanted)))[0]})")
    model.load_state_dict({name: tensor for name, tensor in found.items() if name not in other}, strict=False)


@torch.no_grad()
def scale_start(model: nn.Module, images: Tensor) -> None:
    """Rescale the weights of every convolution and linear layer, in the order they run, for `images` (N, C, H, W)."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    seen: list[nn.Conv2d | nn.Linear] = []

    def rescale(layer: nn.Module, _: tuple[Tensor, ...], result: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        seen.append(layer)
        last = len(seen) == len(layers)
        bias = layer.bias
        offset = 0.0 if bias is None else bias.reshape(-1, *[1] * (result.ndim - 2))
        scale = (LAST_SCALE if last else 1.0) / max(float((result - offset).std()), 1e-6)
        layer.weight.mul_(scale)
        if last and bias is not None:
            bias.fill_(LAST_BIAS)
        return (result - offset) * scale + offset  # layers behind see it already, so one pass is enough

    was_training = model.training
    model.eval()
    hooks = [layer.register_forward_hook(rescale) for layer in layers]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(was_training)
