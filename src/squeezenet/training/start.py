"""The network before its first step: a trained model, or random weights.

>>> start = begin(job, data, load_model("imagenet"))                                     # doctest: +SKIP
>>> start.told                                                                           # doctest: +SKIP
'starts from imagenet; its last layer, conv10, is replaced: 5 classes instead of 1,000'
>>> model = fresh_model("squeezenet_32", data, preparation, MODERN, base_e=32)          # doctest: +SKIP

`start="scaled"` is layer-sequential unit variance (Mishkin and Matas, arXiv 1511.06422): the weights of each layer are
divided by the standard deviation of the layer's output for real images (experiments, "Constants of training").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from squeezenet import zoo
from squeezenet.data import default_preparation
from squeezenet.data.examples import Data
from squeezenet.data.judged import KEY, LEARNED
from squeezenet.data.pixels import load_pixels
from squeezenet.errors import DataError, ModelError, NoSuchModel, UsageError
from squeezenet.factors import layer_names
from squeezenet.formats.state_dict import read_tensors
from squeezenet.model import Model
from squeezenet.models import create_seeded, describe, find_architecture
from squeezenet.models.network import dense
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise
from squeezenet.training.job import Job
from squeezenet.training.recipe import START, Recipe
from squeezenet.training.transfer import resized, transfer

IMAGES = 128  # enough to know a standard deviation
LAST_SCALE = 0.3  # small logits at first, so that no class is already ruled out
LAST_BIAS = 1.0  # the same for all classes changes no probability, but keeps the ReLU behind conv10 open for each

PHOTOGRAPHS = 200
"""Networks for images of at least so many pixels see small images enlarged; others see them as they are."""

DROPPED = (KEY, LEARNED, "method", "recipe", "made by")
"""Entries of a model's provenance that are no longer true after more training."""


@dataclass(frozen=True, eq=False)
class Start:
    """A network before its first step, and how its images are prepared.

    `architecture` is None where the graph came with a model; `origin` says which (for `train`), None for fresh weights.
    `reader` is what a recipe with the teacher `START` imitates, where a last layer was replaced.
    """

    model: nn.Module
    preparation: Preparation
    architecture: Mapping[str, Any] | None
    origin: Mapping[str, Any] | None
    told: str
    reader: Model | None = None


def begin(job: Job, data: Data, model: Model | None) -> Start:
    """Start from `model`, or where it is None from scratch with the network that `job` names.

    Images are prepared as the model wants them, or at the size that the network is made for; `job.image_size` changes
    it. Raises `UsageError`, `ModelError` or `DataError`.
    """
    assert job.model is not None
    if model is not None:
        return _trained(job, data, model)
    architecture = find_architecture(job.model)
    side = architecture.input_size if architecture.meta is None else None  # AlexNet's fc6 knows its image's size
    if side and job.size not in (None, side):
        raise UsageError(f"{job.model} reads images of {side} pixels only; leave --image-size out")
    size = side or job.size or (architecture.input_size if architecture.input_size >= PHOTOGRAPHS else None)
    preparation = default_preparation(data.train, size, architecture.input_size)
    if size is None and max(preparation.cropped) > architecture.input_size:
        preparation = default_preparation(data.train, architecture.input_size)
    network = fresh_model(job.model, data, preparation, job.recipe, **job.network)
    fitting = {"classes": len(data.train.classes), "in_channels": preparation.shape[0]}
    about = describe(job.model, {**job.network, **fitting})
    weights = f"the weights of {job.recipe.weights}" if job.recipe.weights else "random weights"
    told = f"trains {job.model} from {weights}, at {_pixels(preparation)}"
    return Start(network, preparation, about, None, told)


def _trained(job: Job, data: Data, model: Model) -> Start:
    assert job.model is not None
    if job.recipe.weights:
        raise UsageError(
            f"--weights {job.recipe.weights}: {job.model} has weights of its own; name the network with --model, or "
            "leave --weights out"
        )
    moved = transfer(model, data.train, job.size, reader=job.recipe.teacher == START)
    start, reader = moved or (resized(model, job.size), None)
    name = job.model if job.model in zoo.SHIPPED else Path(job.model).name
    replaced = start.graph.layers[-1].name if moved else None
    kept = {key: text for key, text in model.provenance.items() if key not in DROPPED}
    file = zoo.find(job.model)
    file = file / zoo.RUN[1] if file.is_dir() else file
    origin = {
        "model": name,
        "sha256": zoo.sha256(file),
        "replaced": replaced,
        "provenance": {**kept, "trained from": name},
    }
    told = f"starts from {name}, at {_pixels(start.preparation)}"
    if replaced:
        classes = f"{start.graph.classes:,} classes instead of {model.graph.classes:,}"
        told += f"; its last layer, {layer_names(start.graph)[replaced]}, is replaced: {classes}"
    return Start(dense(start), start.preparation, None, origin, told, reader)


def _pixels(preparation: Preparation) -> str:
    height, width = preparation.cropped
    return f"{height} x {width} pixels"


def fresh_model(name: str, data: Data, preparation: Preparation, recipe: Recipe, **overrides: Any) -> nn.Module:
    """Build the network `name` for the classes and channels of the data, with weights that `recipe.seed` decides.

    Raises `DataError` if it cannot read images of that size.
    """
    fitting = {"classes": len(data.train.classes), "in_channels": preparation.shape[0]}
    model = create_seeded(name, recipe.seed, **{**overrides, **fitting})
    black_answer(model, preparation)
    if recipe.weights:
        take_weights(model, Path(recipe.weights))
    elif recipe.start == "scaled":
        sample = load_pixels(data.train, preparation, limit=IMAGES, progress=False)
        scale_start(model, torch.from_numpy(normalise(sample.images, preparation)))
    return model


def black_answer(model: nn.Module, preparation: Preparation) -> Tensor:
    """The logits (1, classes) of a black image. Raises `DataError` if the network cannot read images of that size."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            logits: Tensor = model(torch.zeros(1, *preparation.shape, device=next(model.parameters()).device))
            return logits
    except RuntimeError as error:
        shape = " x ".join(map(str, preparation.shape))
        raise DataError(f"the network cannot read images of {shape} ({error}); try another --image-size") from None
    finally:
        model.train(was_training)


def take_weights(model: nn.Module, where: Path) -> None:
    """Load the weights of a run folder or .safetensors file; a last layer for other classes stays fresh.

    Raises `ModelError` if the file is damaged or of another network, `OSError` if it cannot be read.
    """
    path = where / "model.safetensors" if where.is_dir() else where
    try:
        found = read_tensors(path)
    except FileNotFoundError:
        raise NoSuchModel(f"{path}: no such file; give a run folder or a .safetensors file with weights") from None
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
