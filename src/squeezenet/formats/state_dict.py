"""PyTorch weights in files: `.pth` (weights only, never code) and `.safetensors`.

    >>> model = read(Path("squeezenet1_1-b8a52dc0.pth"))        # doctest: +SKIP

A `.safetensors` of ours describes its network, images and labels in its metadata. A foreign file is recognised by the
names and shapes of its tensors among the networks of `squeezenet.models`.
"""

import base64
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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

Keys = dict[str, Tensor]


def read(path: Path) -> Model:
    """A model from a state dict. Raises `ModelError` if the file is damaged or its network cannot be told."""
    try:
        state, metadata = _load(path)
    except (SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:100]
        raise ModelError(f"{path}: not a state dict that can be read safely ({reason})") from None
    if isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: no state dict in it; save one with torch.save(model.state_dict(), ...)")
    if metadata and "graph" in metadata:
        return _described(state, metadata, path)
    if metadata:
        architecture = metadata["architecture"]
        module = create_model(**architecture)
        preparation, labels = Preparation.from_dict(metadata["preparation"]), tuple(metadata["labels"])
        provenance = {"name": architecture["name"]}
    else:
        name, module = recognise(state, str(path))
        preparation = _usual_preparation(name, state)
        labels = imagenet_labels() if module(torch.zeros(1, *preparation.shape)).shape[1] == 1000 else ()
        provenance = {"name": name, "source": path.name}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{path}: the tensors do not fit the network ({' '.join(str(error).split())[:200]})") from None
    return from_module(module, preparation, labels, provenance)


def from_module(
    module: nn.Module, preparation: Preparation, labels: tuple[str, ...] = (), provenance: dict[str, str] | None = None
) -> Model:
    """Any PyTorch classifier as a model: traced, with float weights. Raises `UnsupportedOperation`."""
    graph, arrays = trace(module, preparation.shape)
    weights = {name: Weights(Plain(weight), bias) for name, (weight, bias) in arrays.items()}
    return Model(graph, weights, preparation, labels, provenance or {})


def write(model: Model, path: Path) -> None:
    """Write float weights under the names of their layers (torchvision's, for SqueezeNet), codebooks looked up."""
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


def recognise(state: Keys, where: str) -> tuple[str, nn.Module]:
    """Which of `models.ARCHITECTURES` has tensors of these names and shapes. Raises `ModelError` if none has."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    kernels = [shape for shape in shapes.values() if len(shape) > 1]
    for name in ARCHITECTURES:
        settings: dict[str, Any] = {"classes": kernels[-1][0], "in_channels": kernels[0][1]} if kernels else {}
        with torch.device("meta"):
            candidate = create_model(name, **settings)
        if {key: tuple(value.shape) for key, value in candidate.state_dict().items()} == shapes:
            return name, create_model(name, **settings)
    raise ModelError(
        f"{where}: the tensors belong to none of {', '.join(ARCHITECTURES)}; "
        "load your module in Python and use squeezenet.formats.from_module"
    )


def _load(path: Path) -> tuple[Keys, dict[str, Any] | None]:
    if path.suffix != ".safetensors":
        return dict(torch.load(path, map_location="cpu", weights_only=True)), None
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    return load_file(path), json.loads(metadata[METADATA]) if METADATA in metadata else None


def _described(state: Keys, metadata: dict[str, Any], path: Path) -> Model:
    """A file of `write`."""
    try:
        graph, preparation = graphs.unpack(Cursor(base64.b64decode(metadata["graph"]), "graph"))
    except SqueezeNetError as error:
        raise ModelError(f"{path}: its description of the network is damaged ({error})") from None
    names = list(metadata["layers"])
    weights = {n: Weights(Plain(state[f"{n}.weight"].numpy()), state[f"{n}.bias"].numpy()) for n in names}
    return Model(graph.renamed(names), weights, preparation, tuple(metadata["labels"]), metadata["provenance"])


def _usual_preparation(name: str, state: Keys) -> Preparation:
    """torchvision's for ImageNet-sized networks, the same colours at their own size for the small ones."""
    usual = Preparation.imagenet_torchvision()
    side = ARCHITECTURES[name].input_size
    if side < 200:
        usual = replace(usual, resize=side, crop=side, fit="stretch")
    elif name.startswith("alexnet"):
        usual = replace(usual, crop=side)
    if next(iter(state.values())).shape[1] == 1:
        usual = replace(usual, channels="L", mean=usual.mean[:1], std=usual.std[:1])
    return usual
