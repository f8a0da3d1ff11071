"""All writes of the update client: five operations on the files of one folder, and `put`, which combines them.

A power cut can lose everything that was written since the last sync, or a part of it. It can also undo the creation or
the removal of a file if the folder was not synced. The client survives a cut at every one of the five operations;
`tests/fleet/test_power_cut.py` replaces them to cut the power at each.

>>> import tempfile
>>> disk = Disk(Path(tempfile.mkdtemp()))
>>> disk.put("state", b"one")
>>> disk.read("state", limit=10), disk.read("missing", limit=10)
(b'one', None)
"""

import contextlib
import errno
import os
from pathlib import Path

from squeezenet.errors import FleetError
from squeezenet.files import read_regular, sync_folder

PIECE = 1 << 20
"""Bytes that `put` writes with one operation."""


class Disk:
    """The files of one folder. Names are chosen by the client, never by a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # Reading -----------------------------------------------------------------------------------------------------

    def read(self, name: str, limit: int) -> bytes | None:
        """The bytes of a file; None if it is missing or larger than `limit`, which means that it is damaged."""
        try:
            return read_regular(self.folder / name, limit)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.EFBIG, errno.EIO):
                return None
            raise

    def size(self, name: str) -> int:
        """The bytes of a file; 0 if it is missing."""
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return 0

    # The five operations that write ------------------------------------------------------------------------------

    def create(self, name: str) -> None:
        """An empty file. The contents of an older file of that name are gone."""
        with open(self.folder / name, "wb"):
            pass

    def append(self, name: str, data: bytes) -> None:
        """Write `data` at the end of a file."""
        with open(self.folder / name, "ab", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    def sync(self, name: str) -> None:
        """Make the bytes of a file durable. The next `read` reads them from the storage, not from the page cache."""
        with open(self.folder / name, "rb+") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def sync_names(self) -> None:
        """Make the creation and the removal of files durable."""
        sync_folder(self.folder)

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).unlink()

    # Their combination -------------------------------------------------------------------------------------------

    def put(self, name: str, data: bytes) -> None:
        """Write a whole file, sync it, and compare what can be read back. Raises `FleetError` if it differs.

        The file is not written atomically: the caller only writes files to which nothing refers yet.
        """
        self.create(name)
        for start in range(0, len(data), PIECE):
            self.append(name, data[start : start + PIECE])
        self.sync(name)
        self.sync_names()
        if self.read(name, len(data)) != data:
            raise FleetError(f"{self.folder / name}: what was written is not what can be read; replace the storage")
