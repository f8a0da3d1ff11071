"""Runs a network in the C engine, which also decodes the bytes of the file. It does not need NumPy.

>>> EngineRunner(Path("model.sqz").read_bytes()).labels[281]             # doctest: +SKIP
'tabby, tabby cat'

An integer network gives the same logits as NumPy (`integers.IntegerRunner`), to the bit. A float network gives the same
bits in every run and for any number of threads; they differ from those of `reference.Runner` by less than a
hundred-thousandth of the largest logit.
"""

from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL.Image import Image

from squeezenet.runtime.image import Framing, cut_bytes
from squeezenet.sqz import ahead
from squeezenet.sqz.light import named, strings

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from squeezenet.model import FloatArray

try:
    from squeezenet import _engine
except ImportError:  # there was no compiler
    PATHS: tuple[str, ...] = ()
else:
    PATHS = tuple(_engine.paths())
"""The instruction sets that the engine can use on this machine, the fastest last. Empty if there is no engine."""

FLOAT_BYTES = 4


def row_plan(data: bytes, geometry: tuple[int, ...], ram: int, flash: int) -> dict[str, Any]:
    """How an integer network runs by rows in little memory; `_workshop.pyi` describes the arguments and the result.

    Raises `ValueError` if there is no plan within the limits.
    """
    from squeezenet import _workshop  # not at the top: nothing that classifies needs it

    return _workshop.plan_rows(data, geometry, ram, flash)


def run_rows(data: bytes, pixels: Any, logits: Any) -> None:
    """Run one image by rows: `pixels`, bytes (height, width, channels) in R G B; `logits`, int32, are filled."""
    from squeezenet import _workshop

    _workshop.run_rows(data, _engine.kernels("scalar"), pixels, logits, 0, 0)


class Memory(NamedTuple):
    """Bytes of memory that one thread needs, without code and stack, as the engine computes them."""

    weights: int
    """From the decoding of the file to the last image."""
    decoding: int
    """While the weights are decoded."""
    running: int
    """While an image is classified: all activations that are in memory at once, and scratch memory."""


class EngineRunner:
    """A network in the C engine; safe to use from several threads. Raises a `FormatError` that names the damage.

    `threads` share the decoding of the file, then the images of a batch, or one image where there are fewer images than
    threads. `path` is one of `PATHS`, or "" for the fastest. Neither changes the logits of an integer network.
    """

    def __init__(self, data: bytes, threads: int = 1, path: str = "") -> None:
        self._threads = threads
        self._ahead = ahead.taken(data) if path == "" else None
        self._data = data
        self._network = (self._ahead and self._ahead.network) or _engine.Network(data, path, threads)
        self.framing = Framing(*self._network.framing)
        self.shape = self._network.shape
        self.classes, self.outputs = self._network.classes, self._network.outputs
        if self._ahead is None:
            self.labels  # noqa: B018  # damage is told at once

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, if the file has them. Raises a `FormatError` if they were decoded ahead with damage."""
        begun, self._ahead = self._ahead, None
        if begun is None:
            return strings(_engine.text(self._data), self._network.layers, self.classes)[1]
        with named(begun.path):
            return strings(begun.text() or _engine.text(self._data), self._network.layers, self.classes)[1]

    @property
    def path(self) -> str:
        """The instruction set in use, one of `PATHS`."""
        return self._network.path

    @property
    def memory(self) -> Memory:
        """Bytes of memory that this network needs on this path."""
        return Memory(*self._network.memory)

    def see(self, image: Image) -> list[float]:
        """The logits of an image from `open_image`."""
        return list(self.logits(self.prepare(image)).cast("B").cast("f"))

    def prepare(self, image: Image) -> "memoryview[float]":
        """The input of the network, as flat float32: the same bits as from `runtime.image.prepare`."""
        pixels = cut_bytes(image, self.framing)
        prepared = bytearray(FLOAT_BYTES * len(pixels))
        self._network.normalise(pixels, prepared)
        return memoryview(prepared).cast("f")

    def logits(self, images: "ReadableBuffer") -> "memoryview[float]":
        """Images, float32 (N, channels, height, width) or flat -> logits (N, classes)."""
        given, size = memoryview(images), prod(self.shape)
        count = given.nbytes // (FLOAT_BYTES * size)
        if given.format != "f" or given.shape not in ((count * size,), (count, *self.shape)) or count == 0:
            raise ValueError(f"no float32 images for a network that reads {self.shape}")
        logits = bytearray(FLOAT_BYTES * count * self.classes)
        self._network.run(given, logits, self._threads)
        return memoryview(logits).cast("f", (count, self.classes))

    def __call__(self, images: "FloatArray") -> "FloatArray":
        """(N, channels, height, width) -> (N, classes) logits, as arrays. Raises `ValueError` for another shape."""
        import numpy as np

        if images.shape[1:] != self.shape:
            raise ValueError(f"images of {images.shape[1:]} for a network that reads {self.shape}")
        logits = np.empty((len(images), self.classes), np.float32)
        self._network.run(np.ascontiguousarray(images, np.float32), logits, self._threads)
        return logits
