"""Decodes the weights of a `.sqz` file in another thread, while the caller imports what images need and decodes one.

>>> begin(Path("model.sqz"), threads=2)                                  # doctest: +SKIP
>>> EngineRunner(Path("model.sqz").read_bytes(), 2)                      # doctest: +SKIP

The runner takes the decoded network if it is of the same bytes; otherwise it decodes its own, and reports all damage.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from squeezenet.sqz.light import read_bytes

if TYPE_CHECKING:
    from squeezenet._engine import Network

_begun: "list[Ahead]" = []
"""What was begun and not taken: at most one."""


class Ahead(threading.Thread):
    """A file that is being decoded."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__(daemon=True)
        self.path, self.threads = path, threads
        self.data = b""
        self.network: Network | None = None

    def run(self) -> None:
        try:
            from squeezenet import _engine

            self.data = read_bytes(self.path)
            self.network = _engine.Network(self.data, "", self.threads)
        except Exception:  # who needs the file will meet the same error, and tell it
            self.network = None


def begin(path: Path, threads: int) -> None:
    """Decode the file at `path`."""
    _begun[:] = [Ahead(path, threads)]
    _begun[0].start()


def is_begun() -> bool:
    """Whether a network is being decoded that nobody has taken."""
    return bool(_begun)


def taken(data: bytes) -> "Network | None":
    """The network in `data`, if it was decoded ahead."""
    if not _begun:
        return None
    found = _begun.pop()
    found.join()
    return found.network if found.data == data else None
