"""Reading of regular files only, up to a limit; writing of files so that a crash leaves the old file or the new one.

>>> write_atomically(Path("metrics.json"), b"{}")             # doctest: +SKIP
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:  # slow to import, and reading does not need it
    from pathlib import Path


def open_regular(path: "str | Path") -> BufferedReader:
    """Open the regular file `path` for reading, buffered.

    Raises `OSError`, which names the path; also for a pipe, a socket or a device, since reading could never end.
    """
    # Without O_NONBLOCK, opening a pipe that nobody writes to waits for ever. The flag has no effect on regular files.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return os.fdopen(_regular(handle, path), "rb")


def append_regular(path: "str | Path") -> BufferedWriter:
    """Open the regular file `path` for appending; a missing file is created.

    Raises `OSError`, which names the path; also for a pipe or a device, since writing could block.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(_regular(os.open(path, flags, 0o666), path), "ab")


def read_regular(path: "str | Path", limit: int) -> bytes:
    """The contents of the regular file `path`, of at most `limit` bytes. Raises `OSError`, which names the path."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"{size:,} bytes are over the limit of {limit:,}", str(path))
        return file.read(limit + 1)[:limit]


def write_atomically(path: "str | Path", data: bytes) -> None:
    """Write `data` as the file `path`.

    Raises `OSError`. After an error `path` is unchanged, and the temporary file is removed.
    """
    from pathlib import Path

    with atomic_file(Path(path)) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: "Path") -> Iterator[IO[bytes]]:
    """A temporary file in the folder of `path`. At the end it is synced to the disk and renamed to `path`.

    Raises `OSError` that names `path`. After any error `path` is unchanged, and the temporary file is removed.
    """
    import tempfile  # slow to import, and reading does not need it

    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.umask(mask := os.umask(0))
            os.fchmod(file.fileno(), 0o666 & ~mask)  # files of mkstemp can be read by their owner only
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        # An error can name no file (for a full disk) or the temporary file.
        if isinstance(error, OSError) and error.errno and str(error.filename or ".tmp").endswith(".tmp"):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync_folder(path.parent)


def remove_leftovers(folder: "Path", names: tuple[str, ...]) -> None:
    """Remove the temporary files that killed processes left in `folder` for `names` (or patterns like `step-*`).

    Call it only if no other process is writing. Files of other programs stay.
    """
    for name in names:
        for path in folder.glob(f".{name}.????????.tmp"):  # the names that `atomic_file` gives
            path.unlink(missing_ok=True)


def sync_folder(folder: "Path") -> None:
    """Sync a folder to the disk, which makes a rename in it durable, if the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _regular(handle: int, path: "str | Path") -> int:
    if not stat.S_ISREG(kind := os.fstat(handle).st_mode):
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file; save its contents to a file first", str(path))
    return handle
