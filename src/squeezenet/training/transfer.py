"""Transfer learning: a trained model as the start of a network for other classes.

>>> start = transfer(load_model("imagenet"), data.train)[0]                          # doctest: +SKIP
>>> start.graph.classes == len(data.train.classes)                                       # doctest: +SKIP
True

The new last layer does not start at random: the row of a class is the mean of the old rows, weighted by the
probabilities that the model gives the images of that class. While the network learns, it may imitate a `reader`: the
old model, and a logistic regression that computes logits of the new classes from the old ones. For the gain of both,
see RESULTS, "From photographs to a model".
"""

import warnings
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from squeezenet.data.examples import Examples, Indices, some
from squeezenet.data.pixels import load_pixels
from squeezenet.errors import BadGraph, ModelError, UsageError
from squeezenet.graph import Graph, Linear
from squeezenet.model import Model, Plain, Weights
from squeezenet.models.network import dense
from squeezenet.preparation import Size, sides_of, spelled
from squeezenet.runtime.image import normalise

Logits = NDArray[np.float64]

BIAS = 1.0
"""Of the new last layer: the same for all classes, so that the ReLU behind SqueezeNet's conv10 is open for each."""

SCALE = 0.5
"""Of its rows: smaller logits at first, which few images can turn."""

ANSWERED = 512
"""Images that the new last layer is made from, taken evenly; at least `ANSWERED_OF_CLASS` for each class."""

ANSWERED_OF_CLASS = 4

READOUT = "readout"
"""Name of the layer that reads the old logits in a `reader`."""

REGULARISATION = 100.0
"""Weight of the squared readout against the loss summed over the images: hundreds of logits, a few hundred images."""

LEAST_DEVIATION = 0.1
"""Of a logit, as a share of the mean deviation: one that hardly moved on these images must not count for much."""


def transfer(
    model: Model, train: Examples, image_size: Size | None = None, reader: bool = True
) -> tuple[Model, Model | None] | None:
    """`model` in float32 for the classes of `train` and images of `image_size` (or its own) pixels, and its reader.

    The reader is the old model with one more layer, which computes logits of the new classes from the old ones. With
    few images it is more accurate than the new last layer alone, because it keeps what the model knows of its old
    classes. It is None where `reader` is False; all is None where `train` has the classes that the model has already.
    Raises `UsageError` if the graph does not end with a layer that can be replaced; `DataError` if no image can be
    read.
    """
    model = resized(model, image_size)
    if model.labels == train.classes and model.outputs == "classes":
        return None
    known = (model, *_logits(model, train), train.classes)
    return _replaced(*known), _reader(*known) if reader else None


def _replaced(model: Model, logits: Logits, labels: Indices, classes: tuple[str, ...]) -> Model:
    """With a last layer for `classes`, whose rows are made of the old ones."""
    last = model.graph.layers[-1]
    try:
        graph = model.graph.with_classes(len(classes))
    except BadGraph:
        raise UsageError(f"{last.name}: the layer cannot be replaced by one of {len(classes)} classes") from None
    total = np.zeros((len(classes), logits.shape[1]))
    answers = torch.from_numpy(logits)
    likely = answers.softmax(1) if model.outputs == "classes" else answers.sigmoid()
    np.add.at(total, labels, likely.numpy())
    # The mean probabilities of the images of each class: (classes, old classes)
    shares = total / np.maximum(np.bincount(labels, minlength=len(classes)), 1)[:, None]
    shares = SCALE * (shares - shares.mean(0))  # what all classes have in common tells none apart
    old = model.weights[last.name]
    rows = shares @ old.weight.values().reshape(len(old.bias), -1)
    weight = rows.reshape(graph.weight_shapes()[last.name]).astype(np.float32)
    bias = (shares @ old.bias + BIAS).astype(np.float32)
    weights = {**model.weights, last.name: Weights(Plain(weight), bias)}
    return replace(model, graph=graph, labels=classes, weights=weights, outputs="classes")


def resized(model: Model, image_size: Size | None) -> Model:
    """The same layers in float32, for images of `image_size` pixels. Raises `UsageError` if they cannot read these."""
    model = model.dequantised()
    how = model.preparation
    if image_size is None or image_size == how.crop:
        return model
    try:
        height, width = (
            round(side * new / old)
            for side, new, old in zip(how.resized, sides_of(image_size), how.cropped, strict=True)
        )
        preparation = replace(how, resize=(height, width), crop=image_size)
        return replace(model, graph=Graph(preparation.shape, model.graph.ops), preparation=preparation)
    except (BadGraph, ModelError, ValueError):
        raise UsageError(
            f"--image-size {spelled(image_size)}: the model cannot read such images; its own have "
            f"{spelled(how.crop)} pixels"
        ) from None


def _reader(model: Model, logits: Logits, labels: Indices, classes: tuple[str, ...]) -> Model:
    """With one more layer, a logistic regression of `classes` on the old logits."""
    from sklearn.linear_model import LogisticRegression

    deviation = logits.std(0)
    deviation = np.maximum(deviation, LEAST_DEVIATION * deviation.mean() + np.finfo(np.float32).tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps that did not suffice: it need not be the optimum
        fit = LogisticRegression(C=1 / REGULARISATION, max_iter=200).fit((logits - logits.mean(0)) / deviation, labels)
    rows, bias = fit.coef_ / deviation, fit.intercept_
    if len(fit.classes_) == 2:  # of two classes, one row tells
        rows, bias = np.concatenate([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
    weight = np.zeros((len(classes), logits.shape[1]), np.float32)
    biases = np.full(len(classes), bias.min() - 10, np.float32)  # of a class without images
    weight[fit.classes_] = rows
    biases[fit.classes_] = bias - rows @ logits.mean(0)
    ops = (*model.graph.ops, Linear((len(model.graph.ops),), READOUT, len(classes)))
    weights = {**model.weights, READOUT: Weights(Plain(weight), biases)}
    graph = Graph(model.graph.input_shape, ops)
    return replace(model, graph=graph, weights=weights, labels=classes, outputs="classes")


@torch.inference_mode()
def _logits(model: Model, train: Examples) -> tuple[Logits, Indices]:
    """(N, old classes) what `model` answers to N images taken evenly from the classes of `train`, and their labels."""
    network, labels = dense(model).eval(), train.require_labels()
    order = np.argsort(labels, kind="stable")
    sample = some(train.take(order), max(ANSWERED, ANSWERED_OF_CLASS * len(train.classes)))
    pixels = load_pixels(sample, model.preparation, progress=False)
    assert pixels.labels is not None
    parts = [
        network(torch.from_numpy(normalise(pixels.images[start : start + 32], model.preparation))).double().numpy()
        for start in range(0, len(pixels), 32)
    ]
    return np.concatenate(parts), pixels.labels
