"""Decodes a `.sqz` file in another thread, while the caller imports what images need and decodes one.

>>> begin("model.sqz", threads=2)                                        # doctest: +SKIP
>>> EngineRunner(Path("model.sqz").read_bytes(), 2)                      # doctest: +SKIP

The runner takes the decoded network if it is of the same bytes; otherwise it decodes its own, and reports all damage.
This module imports little, so that a process can begin with it.
"""

import os
import threading

from squeezenet.limits import MAX_MODEL_FILE

TYPE_CHECKING = False  # as in `squeezenet`
if TYPE_CHECKING:
    from squeezenet._engine import Network

_begun: "list[Ahead]" = []
"""What was begun and not taken: at most one."""


class Ahead(threading.Thread):
    """A file that is being decoded."""

    def __init__(self, path: str, threads: int) -> None:
        super().__init__(daemon=True)
        self.path, self.threads = path, threads
        self.data = b""
        self.found: tuple[Network, bytes] | None = None
        """The network, and its text."""

    def run(self) -> None:
        try:
            from squeezenet import _engine

            if not os.path.isfile(self.path) or os.path.getsize(self.path) > MAX_MODEL_FILE:
                return
            with open(self.path, "rb") as file:
                self.data = file.read(MAX_MODEL_FILE)
            network = _engine.Network(self.data, "", self.threads)
            self.found = network, _engine.text(self.data)
        except Exception:  # who needs the file will meet the same error, and tell it
            self.found = None


def begin(path: str, threads: int) -> None:
    """Decode the file at `path`, unless that was begun already."""
    if not _begun or _begun[0].path != path:
        _begun[:] = [Ahead(path, threads)]
        _begun[0].start()


def taken(data: bytes) -> "tuple[Network, bytes] | None":
    """The network in `data` and its text, if they were decoded ahead."""
    if not _begun:
        return None
    ahead = _begun.pop()
    ahead.join()
    return ahead.found if ahead.data == data else None
