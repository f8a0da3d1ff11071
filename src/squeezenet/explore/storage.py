"""Opens the storage of trials, through Optuna: a journal file, PostgreSQL or Redis.

>>> storage = open_storage("runs/trials.journal")                    # doctest: +SKIP
>>> storage = open_storage("postgresql://me@host/trials")            # doctest: +SKIP
"""

import os
import random
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalRedisBackend

from squeezenet.errors import MissingDependency, SqueezeNetError, UsageError
from squeezenet.explore.choices import STORAGES

TRIES = 8
DRIVERS = ("optuna", "sqlalchemy", "psycopg", "redis")


def open_storage(where: str) -> BaseStorage:
    """Open the storage at `where`; a new one is created.

    Raises `UsageError` for an address of another kind, `MissingDependency` without the server's client library, and
    `SqueezeNetError` if the server does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise Optuna prints a line for every trial
    scheme = match[1] if (match := re.match(r"(\w+)(\+\w+)?://", where)) else "file"
    if scheme not in ("file", "postgresql", "redis"):
        raise UsageError(f"--storage {_without_password(where)}: accepted are {STORAGES}")
    try:
        with answering(where):
            if scheme == "file":
                return _journal(Path(where.removeprefix("file://")))
            if scheme == "postgresql":
                return _postgresql(where)
            with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
                return JournalStorage(JournalRedisBackend(where, prefix="squeezenet"))
    except ImportError:
        raise MissingDependency(
            f"{scheme}:// needs its client library; install it with: pip install 'sqznet[{scheme}]'"
        ) from None


@contextmanager
def answering(where: str) -> Iterator[None]:
    """Turn each exception of a database driver into a `SqueezeNetError` of one line: the server does not answer."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in DRIVERS:
            raise
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SqueezeNetError(
            f"{_without_password(where)}: does not answer ({told[:120]}); start again when it does, nothing is lost"
        ) from error


def _postgresql(where: str) -> RDBStorage:
    from sqlalchemy.exc import IntegrityError, ProgrammingError
    from sqlalchemy.pool import NullPool

    address = re.sub(r"^postgresql(\+\w+)?://", "postgresql+psycopg://", where)
    for left in reversed(range(TRIES)):
        try:  # without a pool no connection stays open between two trials, for hours
            return RDBStorage(address, engine_kwargs={"poolclass": NullPool})
        except (IntegrityError, ProgrammingError):  # several workers start at once and create the same tables
            if not left:
                raise
            time.sleep(random.random())
    raise AssertionError


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
    """Remove an incomplete last line, left by a power cut: a line that is appended to it could not be read."""
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
