"""Where trials are remembered: a journal file, PostgreSQL or Redis, all through Optuna.

>>> storage = open_storage("runs/trials.journal")                    # doctest: +SKIP
>>> storage = open_storage("postgresql://me@host/trials")            # doctest: +SKIP
"""

import os
import re
import warnings
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalRedisBackend

from squeezenet.errors import MissingDependency, SqueezeNetError, UsageError

ACCEPTED = "a file, postgresql://user@host/database, or redis://host:6379"


def open_storage(where: str) -> BaseStorage:
    """Open, or begin, the memory at `where`.

    Raises `UsageError` for an address of another kind, `MissingDependency` without the server's client library, and
    `SqueezeNetError` if the server does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every trial otherwise
    scheme = match[1] if (match := re.match(r"(\w+)(\+\w+)?://", where)) else "file"
    if scheme not in ("file", "postgresql", "redis"):
        raise UsageError(f"--storage {_without_password(where)}: accepted are {ACCEPTED}")
    try:
        if scheme == "file":
            return _journal(Path(where.removeprefix("file://")))
        if scheme == "redis":
            with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
                return JournalStorage(JournalRedisBackend(where, prefix="squeezenet"))
        # Several workers may begin at once, each of them creating what is missing.
        return RDBStorage(where.replace("postgresql://", "postgresql+psycopg://", 1))
    except ImportError:
        raise MissingDependency(
            f"{scheme}:// needs its client library; install it with: pip install 'squeezenet[{scheme}]'"
        ) from None
    except OSError:
        raise
    except Exception as error:  # whatever the driver raises: each has its own tree
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SqueezeNetError(
            f"{_without_password(where)}: does not answer ({told[:120]}); is the server running?"
        ) from error


def _journal(path: Path) -> JournalStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        _mend(path)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock))


def _mend(path: Path) -> None:
    """Cut off a last line that a power cut left unfinished: what is appended to it could never be read again."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _without_password(where: str) -> str:
    return re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", where)
