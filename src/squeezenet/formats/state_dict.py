"""PyTorch weights in files: `.pth` (weights only, never code) and `.safetensors`.

    >>> model = read(Path("squeezenet1_1-b8a52dc0.pth"))        # doctest: +SKIP

A `.safetensors` of ours describes its network, images and labels in its metadata. A foreign file is recognised by the
names and shapes of its tensors among the networks of `squeezenet.models`.
"""

import base64
import io
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from squeezenet.errors import ModelError, SqueezeNetError
from squeezenet.files import write_atomically
from squeezenet.formats.imagenet import imagenet_labels
from squeezenet.model import Model, Plain, Weights
from squeezenet.models import ARCHITECTURES, create_model
from squeezenet.models.trace import trace
from squeezenet.preparation import Preparation
from squeezenet.sqz import graphs
from squeezenet.sqz.cursor import Cursor

METADATA = "squeezenet"
PARALLEL = "module."  # nn.DataParallel and its kin put it before every name

Keys = dict[str, Tensor]


def read(path: Path) -> Model:
    """A model from a state dict. Raises `ModelError` if the file is damaged or its network cannot be told."""
    state, metadata = _load(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: no state dict in it; save one with torch.save(model.state_dict(), ...)")
    if metadata is None:
        return _foreign(state, path)
    try:
        return _written(state, metadata) if "graph" in metadata else _trained(state, metadata)
    except (SqueezeNetError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path}: tensors and description do not fit together ({_line(error)})") from None


def from_module(
    module: nn.Module, preparation: Preparation, labels: tuple[str, ...] = (), provenance: dict[str, str] | None = None
) -> Model:
    """Any PyTorch classifier as a model: traced, with float weights. Raises `UnsupportedOperation`."""
    graph, arrays = trace(module, preparation.shape)
    weights = {name: Weights(Plain(weight), bias) for name, (weight, bias) in arrays.items()}
    return Model(graph, weights, preparation, labels, provenance or {})


def write(model: Model, path: Path) -> None:
    """Write float weights under the names of their layers (torchvision's, for SqueezeNet), codebooks looked up."""
    model = model.dequantised()
    state = {}
    for name, held in model.weights.items():
        state[f"{name}.weight"] = torch.from_numpy(held.weight.values().copy())
        state[f"{name}.bias"] = torch.from_numpy(held.bias.copy())
    if path.suffix == ".safetensors":
        described = {
            "graph": base64.b64encode(graphs.pack(model.graph, model.preparation)).decode(),
            "layers": [op.name for op in model.graph.layers],
            "labels": model.labels,
            "provenance": dict(model.provenance),
        }
        write_atomically(path, save(state, {"format": "pt", METADATA: json.dumps(described)}))
        return
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def recognise(state: Keys, where: str) -> tuple[str, dict[str, int]]:
    """Which of `models.ARCHITECTURES` has tensors of these names and shapes, and with which settings.

    Raises `ModelError` if none has.
    """
    shapes = _shapes(state)
    for name in ARCHITECTURES:
        with torch.device("meta"):
            usual = _shapes(create_model(name).state_dict())
        kernels = [key for key, shape in usual.items() if len(shape) > 1]  # in the order they run; a file has another
        first, last = shapes.get(kernels[0], ()), shapes.get(kernels[-1], ())
        if shapes.keys() != usual.keys() or len(first) < 2 or 0 in first + last:
            continue
        settings = {"in_channels": first[1], "classes": last[0]}
        with torch.device("meta"):
            candidate = create_model(name, **settings)
        if _shapes(candidate.state_dict()) == shapes:
            return name, settings
    raise ModelError(
        f"{where}: the tensors belong to none of {', '.join(ARCHITECTURES)}; "
        "load your module in Python and use squeezenet.formats.state_dict.from_module"
    )


def _load(path: Path) -> tuple[Any, dict[str, Any] | None]:
    """What the file holds, and our description of it where there is one."""
    try:
        if path.suffix != ".safetensors":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old pickles, which load or do not
                return torch.load(path, map_location="cpu", weights_only=True), None
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), json.loads(metadata[METADATA]) if METADATA in metadata else None
    except MemoryError:
        raise
    except Exception as error:  # a pickle is a program: damaged, it can fail in any way
        raise ModelError(f"{path}: not a state dict that can be read safely ({_line(error)})") from None


def _foreign(state: Keys, path: Path) -> Model:
    """Weights of a network of ours, by names and shapes alone."""
    if all(str(key).startswith(PARALLEL) for key in state):
        state = {key.removeprefix(PARALLEL): value for key, value in state.items()}
    name, settings = recognise(state, str(path))
    module = create_model(name, **settings)
    module.load_state_dict(state)
    preparation = _usual_preparation(name, settings["in_channels"])
    labels = imagenet_labels() if settings["classes"] == 1000 else ()
    return from_module(module, preparation, labels, {"name": name, "source": path.name})


def _trained(state: Keys, metadata: dict[str, Any]) -> Model:
    """A file of `squeezenet train`."""
    architecture = metadata["architecture"]
    module = create_model(**architecture)
    module.load_state_dict(state)
    preparation = Preparation.from_dict(metadata["preparation"])
    return from_module(module, preparation, tuple(metadata["labels"]), {"name": architecture["name"]})


def _written(state: Keys, metadata: dict[str, Any]) -> Model:
    """A file of `write`."""
    graph, preparation = graphs.unpack(Cursor(base64.b64decode(metadata["graph"]), "graph"))
    names = list(metadata["layers"])
    if len(names) != len(graph.layers):
        raise ModelError(f"{len(names)} names for {len(graph.layers)} layers")
    arrays = {key: value.float().numpy() for key, value in state.items()}
    weights = {n: Weights(Plain(arrays[f"{n}.weight"]), arrays[f"{n}.bias"]) for n in names}
    labels, provenance = tuple(metadata["labels"]), dict(metadata["provenance"])
    return Model(graph.renamed(names), weights, preparation, labels, provenance)


def _shapes(state: Keys) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:100] or type(error).__name__


def _usual_preparation(name: str, channels: int) -> Preparation:
    """torchvision's for ImageNet-sized networks, the same colours at their own size for the small ones."""
    usual = Preparation.imagenet_torchvision()
    side = ARCHITECTURES[name].input_size
    if side < 200:
        usual = replace(usual, resize=side, crop=side, fit="stretch")
    elif name.startswith("alexnet"):
        usual = replace(usual, crop=side)
    if channels == 1:
        usual = replace(usual, channels="L", mean=usual.mean[:1], std=usual.std[:1])
    return usual
