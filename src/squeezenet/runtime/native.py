"""A network in the C engine, from the bytes of its file to labels: without NumPy, and without decoding in Python.

>>> NativeNetwork(Path("model.sqz").read_bytes()).labels[281]            # doctest: +SKIP
'tabby, tabby cat'
"""

from math import prod
from typing import TYPE_CHECKING

from PIL.Image import Image

from squeezenet.runtime.image import Framing, cut
from squeezenet.sqz.light import strings

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

try:
    from squeezenet import _engine
except ImportError:  # there was no compiler
    PATHS: tuple[str, ...] = ()
else:
    PATHS = tuple(_engine.paths())
"""The ways in which the engine can compute on this machine, the fastest last; none where it was not built."""

FLOAT_BYTES = 4


class NativeNetwork:
    """A network in the C engine; safe to use from several threads. Raises `FormatError` naming the damage.

    `threads` share out its work, reading the file too; the logits are the same, to the bit.
    """

    def __init__(self, data: bytes, threads: int = 1) -> None:
        self._threads = threads
        self._network = _engine.Network(data, "", threads)
        self.framing = Framing(*self._network.framing)
        self.classes = self._network.classes
        _, self.labels, _ = strings(_engine.text(data), self._network.layers, self._network.classes)

    def see(self, image: Image) -> list[float]:
        """The logits of an image from `open_image`."""
        return list(self.logits(self.prepare(image)).cast("B").cast("f"))

    def prepare(self, image: Image) -> "memoryview[float]":
        """The input of the network as float32 in a row, every bit as `runtime.image.prepare` gives it."""
        pixels = cut(image, self.framing).tobytes()
        prepared = bytearray(FLOAT_BYTES * len(pixels))
        self._network.normalise(pixels, prepared)
        return memoryview(prepared).cast("f")

    def logits(self, images: "ReadableBuffer") -> "memoryview[float]":
        """float32 (N, channels, height, width), or all of it in a row -> logits (N, classes)."""
        given, image, classes = memoryview(images), self._network.shape, self._network.classes
        count = given.nbytes // (FLOAT_BYTES * prod(image))
        if given.format != "f" or given.shape not in ((count * prod(image),), (count, *image)) or count == 0:
            raise ValueError(f"no float32 images for a network that reads {image}")
        logits = bytearray(FLOAT_BYTES * count * classes)
        self._network.run(given, logits, self._threads)
        return memoryview(logits).cast("f", (count, classes))
