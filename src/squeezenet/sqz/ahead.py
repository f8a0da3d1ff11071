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
    """A file that is being decoded: first its weights, which are needed first, then its text."""

    def __init__(self, path: str, threads: int) -> None:
        super().__init__(daemon=True)
        self.path, self.threads = path, threads
        self.data = b""
        self.network: Network | None = None
        self._text = b""
        self._weights_done = threading.Event()

    def run(self) -> None:
        try:
            from squeezenet import _engine

            if os.path.isfile(self.path) and os.path.getsize(self.path) <= MAX_MODEL_FILE:
                with open(self.path, "rb") as file:
                    self.data = file.read(MAX_MODEL_FILE)
                self.network = _engine.Network(self.data, "", self.threads)
                self._weights_done.set()
                self._text = _engine.text(self.data)
        except Exception:  # who needs the file will meet the same error, and tell it
            pass
        finally:
            self._weights_done.set()

    def is_of(self, data: bytes) -> bool:
        """Whether the network of these bytes was decoded; waits for it."""
        self._weights_done.wait()
        return self.network is not None and self.data == data

    def text(self) -> bytes:
        """The text of the file; waits for it. b"" if it is damaged."""
        self.join()
        return self._text


def begin(path: str, threads: int) -> None:
    """Decode the file at `path`, unless that was begun already."""
    if not _begun or _begun[0].path != path:
        _begun[:] = [Ahead(path, threads)]
        _begun[0].start()


def taken(data: bytes) -> Ahead | None:
    """The file with the bytes `data`, if its network was decoded ahead."""
    if _begun and (ahead := _begun.pop()).is_of(data):
        return ahead
    return None
