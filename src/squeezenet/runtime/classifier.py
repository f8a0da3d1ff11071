"""Load a file, label an image.

>>> load("model.sqz").classify("photo.jpg", top=1)          # doctest: +SKIP
[Prediction(label='tabby, tabby cat', index=281, probability=0.62)]
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL.Image import Image

from squeezenet import sqz, zoo
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.image import prepare
from squeezenet.runtime.run import runner


@dataclass(frozen=True)
class Prediction:
    """One class a model believes in."""

    label: str
    index: int
    probability: float


class Classifier:
    """A model ready to label images; safe to use from several threads."""

    def __init__(self, model: Model, data: bytes = b"") -> None:
        """`data`: the bytes of the model's file, if they are at hand."""
        self.model = model
        self._run = runner(model, data=data)

    def classify(self, image: str | Path | bytes | Image, top: int = 5) -> list[Prediction]:
        """The `top` most probable classes, best first. Raises `ImageError`."""
        logits = self.logits(prepare(image, self.model.preparation)[None])[0]
        probability = softmax(logits)
        best = np.argsort(-probability, kind="stable")[:top]
        return [Prediction(self.model.label(int(i)), int(i), float(probability[i])) for i in best]

    def logits(self, images: FloatArray) -> FloatArray:
        """Prepared images (N, channels, height, width) -> logits (N, classes)."""
        return self._run(images)


def load(path: str | Path) -> Classifier:
    """Read a `.sqz` file, or a model that ships by its name. Raises `ModelError`, `FormatError` naming the damage."""
    data = sqz.read_bytes(zoo.find(path))
    return Classifier(sqz.decode(data), data)


def softmax(logits: FloatArray) -> FloatArray:
    """Probabilities of one row of logits."""
    exponents = np.exp(logits - logits.max())
    probability: FloatArray = exponents / exponents.sum()
    return probability
