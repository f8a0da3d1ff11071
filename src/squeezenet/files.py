"""Reading files that can neither block nor grow without end, and writing them so that none is ever half written.

>>> write_atomically(Path("metrics.json"), b"{}")             # doctest: +SKIP
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import IO


def open_regular(path: str | Path) -> BufferedReader:
    """Open the regular file `path` for reading, buffered.

    Raises `OSError`, which names the path; also for a pipe, a socket or a device, which could block or never end.
    """
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever. It changes nothing for a regular file.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    return os.fdopen(_regular(handle, path), "rb")


def append_regular(path: str | Path) -> BufferedWriter:
    """Open the regular file `path` for adding to its end; it is made where there is none.

    Raises `OSError`, which names the path; also for a pipe or a device, which could block.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(_regular(os.open(path, flags, 0o666), path), "ab")


def read_regular(path: str | Path, limit: int) -> bytes:
    """The contents of the regular file `path`, of at most `limit` bytes. Raises `OSError`, which names the path."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"{size:,} bytes are over the limit of {limit:,}", str(path))
        return file.read(limit + 1)[:limit]


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write `data` as the file `path`.

    Raises `OSError`; nothing is left behind then, and an older file at `path` is untouched.
    """
    with atomic_file(Path(path)) as file:
        file.write(data)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside `path` to write to; at the end it is forced to the disk and renamed into place.

    Raises `OSError` that names `path`. If that or anything else goes wrong, the temporary file is gone and `path` is as
    it was.
    """
    import tempfile  # it loads three decompressors, which who only reads need not wait for

    with _naming(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fchmod(file.fileno(), 0o666 & ~_umask())  # mkstemp makes files only their owner can read
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    sync_folder(path.parent)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors inside name `path`, where they name no file (a full disk) or the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno and str(error.filename or ".tmp").endswith(".tmp"):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def remove_leftovers(folder: Path, names: tuple[str, ...]) -> None:
    """Remove what a killed process left half written of the files `names` (or patterns like `step-*`) in `folder`.

    Only where no other process is writing. Anybody else's files stay.
    """
    for name in names:
        for path in folder.glob(f".{name}.????????.tmp"):  # as `atomic_file` calls them
            path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """A rename is only safe once its folder is on the disk. Some file systems cannot: then it is not."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _regular(handle: int, path: str | Path) -> int:
    if not stat.S_ISREG(kind := os.fstat(handle).st_mode):
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file; save its contents to a file first", str(path))
    return handle


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
