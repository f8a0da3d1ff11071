"""What devices need of the C engine (engine/python/python_engine.c).

It may be missing: `squeezenet doctor` says which engine is in use.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

Buffer: TypeAlias = Any  # Python below 3.12 has no type for buffers

class Network:
    """The network in the bytes of a file. Raises `FormatError` for damage, `ValueError` for a path not in `paths()`."""

    def __init__(self, data: Buffer, path: str = "", threads: int = 1, /) -> None: ...
    def normalise(self, pixels: Buffer, image: Buffer, /) -> None: ...
    def run(self, images: Buffer, logits: Buffer, threads: int, /) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def classes(self) -> int: ...
    @property
    def outputs(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def framing(self) -> tuple[tuple[int, int], tuple[int, int], str, str]: ...
    @property
    def memory(self) -> tuple[int, int, int]: ...

TRUNCATED: int
TRAILING: int

def paths() -> list[str]: ...
def kernels(path: str, /) -> object:
    """The inner loops of a path, for `_workshop.run_rows`. Raises `ValueError` if they are not in `paths()`."""

def text(file: Buffer, /) -> bytes: ...
def text_decode(stream: Buffer, length: int, /) -> bytes | int: ...
def levels_decode(data: Buffer, levels: Buffer, shape: tuple[int, int, int, int], /) -> int: ...
def resize(
    resize: tuple[int, int], crop: tuple[int, int], shorter: bool, grey: bool, width: int, height: int, samples: int,
    read: Callable[[tuple[int, int, int, int]], Buffer], /,
) -> bytes:  # fmt: skip
    """Resize and crop an image of `width` x `height` pixels with `samples` bytes each: 1, 3, or 4 (R G B X).

    `read` gives the bytes of a part of the image: left, top, right, bottom. Raises `ValueError` for impossible sizes.
    """

def delta_apply(old: Buffer, delta: Buffer, size: int, /) -> tuple[bytes, int]: ...
