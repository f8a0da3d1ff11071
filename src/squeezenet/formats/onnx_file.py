"""Classifiers in ONNX files.

    >>> model = from_onnx("mobilenet.onnx", About(Preparation.imagenet_torchvision()))      # doctest: +SKIP

An ONNX file has a network and its weights. How images are prepared and what the classes are called is told by the user
(`About`), or by the metadata that ONNX defines for images (`Image.*`) and that exporters write for classes (`names`).
"""

import ast
import json
from pathlib import Path
from typing import Any

from squeezenet.errors import ModelError
from squeezenet.formats.about import NOTHING, About
from squeezenet.graph import Shape
from squeezenet.limits import CLASS_NAME, MAX_DESCRIPTION
from squeezenet.model import Model, Outputs, Plain, Weights
from squeezenet.preparation import Channels, Preparation
from squeezenet.sqz import costs

_CHANNELS: dict[str, Channels] = {"RGB8": "RGB", "BGR8": "BGR", "GRAY8": "L"}
_RANGES = {
    "NOMINALRANGE_0_255": (0.0, 1.0),
    "NORMALIZED_0_1": (0.0, 255.0),
    "NORMALIZED_1_1": (127.5, 127.5),
}
"""Image.NominalPixelRange -> mean and standard deviation of pixels from 0 to 255."""


def from_onnx(path: str | Path, about: About = NOTHING) -> Model:
    """The classifier in an ONNX file, compared with the file on random images.

    Raises `ModelError`, `MissingDependency`, or `OSError` that names the file.
    """
    from squeezenet.importing.onnx.check import check
    from squeezenet.importing.onnx.read import read_onnx

    path = Path(path)
    network = read_onnx(path, about.preparation.shape if about.preparation else None)
    shape = network.graph.input_shape
    preparation = about.preparation or _declared(network.metadata, shape)
    if preparation is None:
        raise ModelError(
            f"{path}: does not say how images are prepared; say it to `squeezenet convert` or `compress`: "
            "with --like a model of the same kind, or with --resize, --channels, --mean and --std"
        )
    if preparation.shape != shape:
        raise ModelError(f"{path}: the network reads images of {_size(shape)}, but the preparation makes "
                         f"{_size(preparation.shape)}; change it with --resize, --crop or --channels")  # fmt: skip
    try:
        costs.check_limits(network.graph, preparation.resize, network.held)
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from None
    check(network, preparation, path)
    classes = network.graph.classes
    if len(about.labels) not in (0, classes):
        raise ModelError(f"{path}: {len(about.labels):,} labels for {classes:,} classes; say what they are: --labels")
    labels = about.labels or _labels(network.metadata, classes)
    weights = {name: Weights(Plain(weight), bias) for name, (weight, bias) in network.weights.items()}
    outputs: Outputs = "labels" if network.ending == "sigmoid" else about.outputs
    source = {"source": path.name}
    return Model(network.graph, weights, preparation, labels, source, outputs=outputs, ranges=network.ranges)


def _size(shape: Shape) -> str:
    return f"{shape[0]} channels, {shape[1]} x {shape[2]}"


def _declared(metadata: dict[str, str], shape: Shape) -> Preparation | None:
    """The preparation that ONNX's metadata of images declare, if they do; images are resized to the network's input."""
    channels = _CHANNELS.get(metadata.get("Image.BitmapPixelFormat", "").upper())
    scale = _RANGES.get(metadata.get("Image.NominalPixelRange", "").upper())
    if channels is None or scale is None or shape[0] != len(channels):
        return None
    mean, std = ((number,) * shape[0] for number in scale)
    size = shape[1] if shape[1] == shape[2] else (shape[1], shape[2])
    return Preparation(size, size, "stretch", channels, mean, std)


def _labels(metadata: dict[str, str], classes: int) -> tuple[str, ...]:
    """The names of the classes in the metadata `names`, `labels` or `classes`: a list, or a dictionary by number."""
    for key in ("names", "labels", "classes"):
        held = _literal(metadata.get(key, ""))
        if isinstance(held, dict):
            held = [held.get(i, held.get(str(i))) for i in range(classes)] if len(held) == classes else None
        if isinstance(held, list | tuple) and len(held) == classes and all(_is_name(name) for name in held):
            return tuple(held)
    return ()


def _literal(text: str) -> Any:
    """The list or dictionary in a text, as JSON or in Python's notation, or None."""
    if len(text) > MAX_DESCRIPTION or text[:1] not in ("[", "{", "("):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:  # the parser takes far more memory than the text
        return ast.literal_eval(text) if len(text) <= 1 << 18 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= CLASS_NAME and name.isprintable()
