"""A network in NumPy, or a model that was never a file, from an image to its logits.

>>> ArrayNetwork(sqz.read("model.sqz")).see(open_image("photo.jpg"))[281]      # doctest: +SKIP
12.5
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Image

from squeezenet.model import Model
from squeezenet.runtime.image import Framing, normalise, pixels
from squeezenet.runtime.run import runner

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class ArrayNetwork:
    """A network from a `Model`; safe to use from several threads."""

    def __init__(self, model: Model, threads: int = 1) -> None:
        self.labels = model.labels
        self.classes = model.graph.classes
        self._preparation = how = model.preparation
        self.framing = Framing(how.resize, how.crop, how.fit, how.channels)
        self._run = runner(model, threads)

    def see(self, image: Image) -> list[float]:
        """The logits of an image from `open_image`."""
        prepared = normalise(pixels(image, self._preparation), self._preparation)
        logits: list[float] = self._run(prepared[None])[0].tolist()
        return logits

    def logits(self, images: "ReadableBuffer") -> "memoryview[float]":
        """float32 (N, channels, height, width), or all of it in a row -> logits (N, classes)."""
        given = np.asarray(memoryview(images))
        if given.dtype != np.float32 or given.size == 0:
            raise ValueError(f"no float32 images for a network that reads {self._preparation.shape}")
        shaped = given.reshape(-1, *self._preparation.shape) if given.ndim == 1 else given
        logits = self._run(shaped)
        return logits.data.cast("B").cast("f", logits.shape)
