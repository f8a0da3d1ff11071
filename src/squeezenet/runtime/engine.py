"""Run a network in the C engine, some hundred times faster than in NumPy.

An integer network gives the logits of `IntegerRunner`, to the bit. One of floats gives the same bits run after run, for
any number of threads; they differ from those of `Runner` by less than a hundred-thousandth of the largest logit.

>>> EngineRunner(model, threads=2)(images).shape                # doctest: +SKIP
(8, 1000)
"""

from dataclasses import replace

import numpy as np

from squeezenet import sqz
from squeezenet.model import FloatArray, Model
from squeezenet.runtime.native import PATHS

if PATHS:
    from squeezenet import _engine

__all__ = ["PATHS", "EngineRunner"]


class EngineRunner:
    """A network in the C engine; safe to use from several threads.

    `threads` share out reading an integer network, then the images of a batch, or one image where there are fewer.
    `path` is one of `PATHS`; `data` the bytes of the model's file, if they are at hand.
    """

    def __init__(self, model: Model, threads: int = 1, path: str = "", data: bytes = b"") -> None:
        self.graph = model.graph
        self._threads = threads
        self._network = _engine.Network(data or sqz.encode(replace(model, labels=(), provenance={})), path, threads)

    @property
    def path(self) -> str:
        """How it is computed."""
        return self._network.path

    def __call__(self, images: FloatArray) -> FloatArray:
        """(N, channels, height, width) -> (N, classes) logits. Raises `ValueError` for another shape."""
        if images.shape[1:] != self.graph.input_shape:
            raise ValueError(f"images of {images.shape[1:]} for a network that reads {self.graph.input_shape}")
        logits = np.empty((len(images), self.graph.classes), np.float32)
        self._network.run(np.ascontiguousarray(images, np.float32), logits, self._threads)
        return logits
