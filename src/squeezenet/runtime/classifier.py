"""Loads a `.sqz` file and labels images.

>>> load("model.sqz").classify("photo.jpg", top=1)          # doctest: +SKIP
[Prediction(label='tabby, tabby cat', index=281, probability=0.62)]

Where the C engine was built, nothing here needs NumPy.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from math import exp, fsum, isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from PIL.Image import Image

from squeezenet import sqz, zoo
from squeezenet.errors import MissingDependency, ModelError, UsageError
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.image import open_image

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from squeezenet.model import FloatArray, Model
    from squeezenet.runtime.decoding import ImageSource
    from squeezenet.runtime.reference import Runner


POSITIVE = "positive"
"""The label of one output that has no name."""
MOST_THREADS = 64
"""Most threads that the C engine uses. A larger number is accepted, and has the same effect."""


class Prediction(NamedTuple):
    """One class or label: its name, its number, and its probability from 0 to 1."""

    label: str
    index: int  # type: ignore[assignment]  # hides a method of tuples that nobody needs here
    probability: float


class Predictions(list[Prediction]):
    """Classes or labels, the most probable first. Jupyter shows a table, and `pandas.DataFrame` reads them."""

    def _repr_html_(self) -> str:
        from html import escape

        rows = (
            f"<tr><td>{100 * p.probability:.1f}%</td><td>{escape(p.label)}</td><td>{p.index}</td></tr>" for p in self
        )
        return f"<table><tr><th>probability</th><th>label</th><th>index</th></tr>{''.join(rows)}</table>"


class Classifier:
    """A network that is ready to label images; safe to use from several threads. A pickle holds its `source`.

    Made by `squeezenet.load`. `name` is the path or name that was loaded; `labels` are the names of the classes.
    """

    def __init__(self, source: "bytes | Model", threads: int = 1, name: str = "") -> None:
        """`source`: the bytes of a `.sqz` file, or a model. Raises `FormatError` naming the damage.

        `threads` (at most `MOST_THREADS` are used) share the decoding of the file and the work of each call. Answers do
        not depend on their number.
        """
        if threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        self.name = name
        self._source = source
        self._threads = min(threads, MOST_THREADS)
        self._network = _network(source, self._threads)

    @overload
    def classify(self, image: "ImageSource", top: int = 5) -> Predictions: ...  # type: ignore[overload-overlap]

    @overload
    def classify(self, image: "Iterable[ImageSource]", top: int = 5) -> list[Predictions]: ...

    def classify(self, image: Any, top: int = 5) -> Predictions | list[Predictions]:
        """The `top` most probable classes of an image, the best first. For several images, a list of such results.

        Where `outputs` is "classes", the probabilities of all classes add up to 1. Where it is "labels", each label has
        a probability of its own, and applies to the image if this is over 0.5: any number of labels may apply.

        An image is a path, the bytes of a file, an open file, a Pillow image, or a NumPy array of uint8: (height,
        width, 3) of RGB or (height, width) of grey values. Raises `ImageError`; `ModelError` if a logit is not finite.
        """
        if top < 1:
            raise UsageError(f"top must be at least 1, not {top}")
        if _is_several(image):
            return [self._one(each, top) for each in image]
        return self._one(image, top)

    def _one(self, image: "ImageSource", top: int) -> Predictions:
        return self.of_opened(open_image(image), top)

    def of_opened(self, image: Image, top: int) -> Predictions:
        """The `top` most probable classes of an image that `runtime.image.open_image` has decoded."""
        logits = self._network.see(image)
        if not all(map(isfinite, logits)):
            raise ModelError("the network gives values that are not numbers; its weights are of no use")
        probability = softmax(logits) if self.outputs == "classes" else [sigmoid(logit) for logit in logits]
        best = sorted(range(len(logits)), key=lambda index: -logits[index])[:top]
        return Predictions(Prediction(self.labels[i], i, probability[i]) for i in best)

    def see(self, image: "ImageSource") -> list[float]:
        """The logits of one image, in the order of `labels`: the values before they become probabilities."""
        return self._network.see(open_image(image))

    @overload
    def logits(self, images: "FloatArray") -> "FloatArray": ...

    @overload
    def logits(self, images: "ReadableBuffer") -> "memoryview[float]": ...

    def logits(self, images: Any) -> "FloatArray | memoryview[float]":
        """Prepared images, float32 (N, channels, height, width) or flat -> logits, float32 (N, classes).

        For a NumPy array the result is a NumPy array; otherwise a memoryview, which `torch.frombuffer` can read.
        """
        numpy = sys.modules.get("numpy")  # a caller with an array has imported it
        if numpy is None or not isinstance(images, numpy.ndarray):
            return self._network.logits(images)
        logits: FloatArray = numpy.asarray(self._network.logits(numpy.ascontiguousarray(images)))
        return logits

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits; their numbers where the model has no names.

        One output without a name is called "positive".
        """
        classes = self._network.classes
        return self._network.labels or (tuple(map(str, range(classes))) if classes > 1 else (POSITIVE,))

    @property
    def outputs(self) -> str:
        """What the logits mean. "classes": exactly one class is right. "labels": each output is a yes or no."""
        return self._network.outputs

    @property
    def model(self) -> "Model":
        """Graph and weights, decoded from the bytes of the file at each call; needs NumPy."""
        return sqz.decode(self._source) if isinstance(self._source, bytes) else self._source

    def __repr__(self) -> str:
        framing = self._network.framing
        size = [f"{len(self._source):,} bytes"] if isinstance(self._source, bytes) else []
        seen = f"{framing.cropped[0]} x {framing.cropped[1]} {framing.channels}"
        return f"<Classifier {', '.join([repr(self.name), *size, f'{self._network.classes:,} classes', seen])}>"

    def __reduce__(self) -> "tuple[type[Classifier], tuple[bytes | Model, int, str]]":
        return type(self), (self._source, self._threads, self.name)


def load(path: str | os.PathLike[str], threads: int = 1) -> Classifier:
    """Load a classifier from the path of a `.sqz` file, or by the name of a model that is included in the package.

    Raises `ModelError`, or a subclass of `FormatError` naming the file and the damage.
    """
    name = os.fsdecode(path)
    found = zoo.located(name)
    if not zoo.exists(found):
        raise zoo.not_found(name)
    data = sqz.read_bytes(found)
    with sqz.named(found):
        return Classifier(data, threads, name)


def sigmoid(logit: float) -> float:
    """The probability of one label.

    >>> sigmoid(0.0)
    0.5
    """
    return 1 / (1 + exp(-logit)) if logit >= 0 else exp(logit) / (1 + exp(logit))


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities of one row of logits.

    >>> softmax([3.0, 3.0])
    [0.5, 0.5]
    """
    largest = max(logits)
    exponents = [exp(logit - largest) for logit in logits]
    total = fsum(exponents)
    return [exponent / total for exponent in exponents]


def _network(source: "bytes | Model", threads: int) -> "EngineRunner | Runner":
    if PATHS and isinstance(source, bytes):
        return EngineRunner(source, threads)
    try:
        from squeezenet.runtime.run import runner
    except ImportError as error:
        if error.name != "numpy":
            raise
        raise MissingDependency(
            "this needs the C engine or NumPy: reinstall sqznet where there is a C compiler, "
            "or: pip install 'sqznet[numpy]'"
        ) from None
    return runner(sqz.decode(source) if isinstance(source, bytes) else source, threads)


def _is_several(images: object) -> bool:
    """Whether these are several images: an iterable that is not a path, a file, a buffer or one array."""
    if isinstance(images, str | bytes | bytearray | memoryview | os.PathLike | Image) or hasattr(images, "read"):
        return False
    if (shape := getattr(images, "shape", None)) is not None:
        return len(shape) == 4  # an array (N, height, width, 3)
    return isinstance(images, Iterable)
