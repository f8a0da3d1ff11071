"""Transfer learning: a trained model becomes the start of a network for other classes.

>>> start = fitted(load_model("imagenet"), data.train)                                   # doctest: +SKIP
>>> start.graph.classes == len(data.train.classes)                                       # doctest: +SKIP
True

The new last layer does not start at random: the row of a class is the mean of the old rows, weighted by the
probabilities that the model gives the images of that class. docs/RESULTS.md has what that brings ("From photographs to
a model").
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from squeezenet.data.examples import Examples, some
from squeezenet.data.pixels import load_pixels
from squeezenet.errors import BadGraph, ModelError, UsageError
from squeezenet.graph import Graph, Layer
from squeezenet.model import Model, Plain, Weights
from squeezenet.models.network import dense
from squeezenet.runtime.image import normalise

BIAS = 1.0
"""Of the new last layer: the same for all classes, so that the ReLU behind SqueezeNet's conv10 is open for each."""

SCALE = 0.5
"""Of its rows: smaller logits at first, which few images can turn."""

ANSWERED = 512
"""Images that the new last layer is made from, taken evenly; at least `ANSWERED_OF_CLASS` for each class."""

ANSWERED_OF_CLASS = 4


def fitted(model: Model, train: Examples, image_size: int | None = None) -> Model:
    """`model` in float32, with a last layer for the classes of `train`, for images of `image_size` (or its own) pixels.

    The last layer stays where the model's labels are these classes. Raises `UsageError` if the graph cannot read such
    images, or does not end with a layer that can be replaced; `DataError` if no image can be read.
    """
    model = _resized(model.dequantised(), image_size)
    if model.labels == train.classes:
        return model
    last = last_layer(model.graph)
    try:
        graph = model.graph.with_classes(len(train.classes))
    except BadGraph:
        raise UsageError(f"{last.name}: the layer cannot be replaced by one of {len(train.classes)} classes") from None
    shares = _answers(model, train)  # (classes, old classes)
    shares = SCALE * (shares - shares.mean(0))  # what all classes have in common tells none apart
    old = model.weights[last.name]
    rows = shares @ old.weight.values().reshape(len(old.bias), -1)
    weight = rows.reshape(graph.weight_shapes()[last.name]).astype(np.float32)
    bias = (shares @ old.bias + BIAS).astype(np.float32)
    return replace(
        model, graph=graph, labels=train.classes, weights={**model.weights, last.name: Weights(Plain(weight), bias)}
    )


def last_layer(graph: Graph) -> Layer:
    """The layer whose outputs become the logits."""
    return graph.layers[-1]


def _resized(model: Model, image_size: int | None) -> Model:
    """The same layers for images of `image_size` pixels. Raises `UsageError` where they cannot read them."""
    how = model.preparation
    if image_size is None or image_size == how.crop:
        return model
    try:
        graph = Graph((how.shape[0], image_size, image_size), model.graph.ops)
        preparation = replace(how, resize=round(how.resize * image_size / how.crop), crop=image_size)
        return replace(model, graph=graph, preparation=preparation)
    except (BadGraph, ModelError, ValueError):
        raise UsageError(
            f"--image-size {image_size}: the model cannot read such images; its own have {how.crop} pixels"
        ) from None


@torch.inference_mode()
def _answers(model: Model, train: Examples) -> NDArray[np.float64]:
    """(classes of `train`, classes of `model`): the mean probabilities that `model` gives the images of each class."""
    network, labels = dense(model).eval(), train.require_labels()
    order = np.argsort(labels, kind="stable")
    sample = some(train.take(order), max(ANSWERED, ANSWERED_OF_CLASS * len(train.classes)))
    pixels = load_pixels(sample, model.preparation, progress=False)
    total = np.zeros((len(train.classes), model.graph.classes))
    assert pixels.labels is not None
    for start in range(0, len(pixels), 32):
        part = slice(start, start + 32)
        logits = network(torch.from_numpy(normalise(pixels.images[part], model.preparation)))
        np.add.at(total, pixels.labels[part], logits.softmax(1).double().numpy())
    return total / np.maximum(np.bincount(pixels.labels, minlength=len(total)), 1)[:, None]
