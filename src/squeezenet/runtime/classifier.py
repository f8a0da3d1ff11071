"""Load a file, label an image.

>>> load("model.sqz").classify("photo.jpg", top=1)          # doctest: +SKIP
[Prediction(label='tabby, tabby cat', index=281, probability=0.62)]

Where the C engine was built, nothing here needs NumPy.
"""

import sys
from collections.abc import Sequence
from math import exp, fsum, isfinite
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, overload

from PIL.Image import Image

from squeezenet import sqz, zoo
from squeezenet.errors import MissingDependency, ModelError
from squeezenet.runtime.image import open_image
from squeezenet.runtime.native import PATHS, NativeNetwork

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from squeezenet.model import FloatArray, Model


class Prediction(SimpleNamespace):
    """One class a model believes in."""

    label: str
    index: int
    probability: float


class Network(Protocol):
    """What a classifier needs of a network, however it is computed."""

    labels: tuple[str, ...]

    def see(self, image: Image) -> list[float]:
        """The logits of an image from `open_image`."""

    def logits(self, images: "ReadableBuffer") -> "memoryview[float]":
        """float32 (N, channels, height, width) -> logits (N, classes)."""


class Classifier:
    """A network ready to label images; safe to use from several threads."""

    def __init__(self, source: "bytes | Model", threads: int = 1) -> None:
        """`source`: the bytes of a `.sqz` file, or a model. Raises `FormatError` naming the damage.

        `threads` of the C engine share out reading the file and each call; answers do not depend on how many.
        """
        self._source = source
        self._network = _network(source, threads)

    def classify(self, image: str | Path | bytes | Image, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes, best first. Raises `ImageError`; `ModelError` if a logit is no number."""
        logits, labels = self._network.see(open_image(image)), self._network.labels
        if not all(map(isfinite, logits)):
            raise ModelError("the network gives values that are not numbers; its weights are of no use")
        probability = softmax(logits)
        best = sorted(range(len(logits)), key=lambda index: -logits[index])[:top]
        return [Prediction(label=labels[i] if labels else str(i), index=i, probability=probability[i]) for i in best]

    @overload
    def logits(self, images: "FloatArray") -> "FloatArray": ...

    @overload
    def logits(self, images: "ReadableBuffer") -> "memoryview[float]": ...

    def logits(self, images: Any) -> "FloatArray | memoryview[float]":
        """Prepared images, float32 (N, channels, height, width) or all in a row -> float32 logits (N, classes).

        A NumPy array gives a NumPy array; any other buffer gives one that `torch.frombuffer` and `array` read.
        """
        logits = self._network.logits(images)
        numpy = sys.modules.get("numpy")  # whoever has an array has imported it
        return numpy.asarray(logits) if numpy and isinstance(images, numpy.ndarray) else logits

    @property
    def model(self) -> "Model":
        """Graph and weights, decoded anew from the bytes of a file; needs NumPy."""
        return sqz.decode(self._source) if isinstance(self._source, bytes) else self._source


def load(path: str | Path, threads: int = 1) -> Classifier:
    """Read a `.sqz` file, or a model that ships by its name. Raises `ModelError`, `FormatError` naming the damage."""
    return Classifier(sqz.read_bytes(zoo.find(path)), threads)


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities of one row of logits.

    >>> softmax([3.0, 3.0])
    [0.5, 0.5]
    """
    largest = max(logits)
    exponents = [exp(logit - largest) for logit in logits]
    total = fsum(exponents)
    return [exponent / total for exponent in exponents]


def _network(source: "bytes | Model", threads: int) -> Network:
    if PATHS and isinstance(source, bytes):
        return NativeNetwork(source, threads)
    try:
        from squeezenet.runtime.arrays import ArrayNetwork
    except ImportError as error:
        if error.name != "numpy":
            raise
        raise MissingDependency(
            "this needs the C engine or NumPy: reinstall squeezenet where there is a C compiler, "
            "or: pip install 'squeezenet[numpy]'"
        ) from None
    return ArrayNetwork(sqz.decode(source) if isinstance(source, bytes) else source, threads)
