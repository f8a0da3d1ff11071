"""Download of a published file into the cache. It can be resumed, and is checked by its hash.

    >>> pull(PUBLISHED["squeezenet1_1"]).path                   # doctest: +SKIP

The bytes so far are in `FILE.part`, and the next pull continues there. Only a file with the right SHA-256 gets its
name. After a broken connection the download is retried a few times. A server that stops, is too slow, refuses, or sends
wrong bytes is an error at once.
"""

import contextlib
import errno
import http.client
import json
import os
import queue
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from squeezenet.errors import DownloadError, UsageError
from squeezenet.files import append_regular, sync_folder, write_atomically
from squeezenet.version import __version__
from squeezenet.zoo import Published, cached, expected, recorded, sha256, verify

if sys.platform != "win32":
    import fcntl

CHUNK = 1 << 16
SLOWEST = 1000  # bytes a second on average over `timeout` seconds; a slower server is an error
ATTEMPTS = 5  # connections in succession without new bytes, before giving up
PATIENCE = 120.0  # seconds without new bytes from another pull of the file, before this one stops waiting
UNSIZED = 16_000_000  # most bytes of a file of unknown size


@dataclass(frozen=True)
class Pulled:
    """The path of a file, and whether it was downloaded now."""

    path: Path
    bytes: int
    sha256: str
    fetched: bool


class _Interrupted(Exception):
    """The connection broke; the bytes so far are in the partial file."""


def pull(
    entry: Published,
    url: str | None = None,
    again: bool = False,
    timeout: float = 30.0,
    pause: float = 1.0,
    patience: float = PATIENCE,
    unsized: int = UNSIZED,
) -> Pulled:
    """The file in the cache, downloaded from `url` (a mirror) or its publisher if it is missing, or if `again`.

    `timeout` is how many seconds a server may send nothing, or less than `SLOWEST` a second. `pause` is the wait before
    the first retry, in seconds; it doubles each time. Raises `DownloadError`, `UsageError` for another kind of address,
    and `ModelError` if there is no folder for it, or if it has another file of that name, which stays. `patience` is
    how long another pull may bring nothing; `unsized` is the most bytes of a file of unknown size.
    """
    url = entry.url if url is None else url
    if not url.startswith(("https://", "http://")):
        raise UsageError(f"{url}: only http and https addresses can be pulled")
    path = cached(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path, patience):
            fetch = again or not path.exists()
            if fetch:
                _fetch(entry, url, path, timeout, pause, unsized if entry.bytes is None else entry.bytes)
            digest = verify(entry)
            if len(entry.sha256) < len(digest) and not recorded(entry).exists():
                record = json.dumps({"url": url, "sha256": digest}) + "\n"
                write_atomically(recorded(entry), record.encode())
            return Pulled(path, path.stat().st_size, digest, fetch)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"{path.parent}: the disk is full; make room, or set SQUEEZENET_CACHE to another folder, and pull again"
            ) from None
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise DownloadError(
                f"{path.parent}: cannot be written to; set SQUEEZENET_CACHE to another folder, and pull again"
            ) from None
        raise


def _fetch(entry: Published, url: str, path: Path, timeout: float, pause: float, limit: int) -> None:
    """Download beside `path`, check the hash, and rename."""
    part = path.with_name(path.name + ".part")
    with append_regular(part) as file:
        furthest, failures = file.tell(), 0
        while True:
            try:
                _connect(entry, url, file, timeout, limit)
                break
            except _Interrupted as error:
                failures = 1 if file.tell() > furthest else failures + 1
                furthest = max(furthest, file.tell())
                if failures >= ATTEMPTS:
                    raise DownloadError(
                        f"{url}: the connection broke {failures} times in a row ({error}); "
                        f"{file.tell():,} bytes are kept, pull again to go on"
                    ) from None
                time.sleep(pause * 2 ** (failures - 1))
        file.flush()
        os.fsync(file.fileno())
    found, wanted = sha256(part), expected(entry)
    if not found.startswith(wanted):
        size = part.stat().st_size
        part.unlink()  # its bytes are wrong, and the next pull must not continue from them
        raise DownloadError(
            f"{url}: the {size:,} bytes that came have the SHA-256 {found}, not {wanted}; they were thrown away, "
            "try again or name another address with --url"
        )
    os.replace(part, path)
    sync_folder(path.parent)


def _connect(entry: Published, url: str, file: IO[bytes], timeout: float, limit: int) -> None:
    """Append the missing bytes to `file`, in one connection. Raises `_Interrupted` if a retry may help."""
    have = file.tell()
    if have == entry.bytes:
        return
    headers = {"User-Agent": f"squeezenet/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with open_in_time(urllib.request.Request(url, headers=headers), timeout) as response:
            _copy(entry, url, response, file, timeout, limit)
    except urllib.error.HTTPError as error:
        with error:
            _refused(error, url, file)
    except TimeoutError:
        raise _stalled(url, file, timeout) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _stalled(url, file, timeout) from None
        raise DownloadError(f"{url}: cannot be reached ({error.reason}); check the network, or name a --url") from None
    except ConnectionError as error:
        raise _Interrupted(type(error).__name__) from None
    except (http.client.HTTPException, ValueError) as error:  # not HTTP, or not an address
        raise DownloadError(f"{url}: no answer that can be understood ({type(error).__name__}); check it") from None


def open_in_time(
    request: urllib.request.Request, timeout: float, opener: urllib.request.OpenerDirector | None = None
) -> http.client.HTTPResponse:
    """The response after its head. Name lookup, connection and head together may take `timeout` seconds.

    `urlopen` restarts its timeout with every byte, and has none for the lookup. Raises the exceptions of `urlopen`.
    """
    urlopen = urllib.request.urlopen if opener is None else opener.open
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
    late = threading.Event()

    def ask() -> None:
        try:
            got = urlopen(request, timeout=timeout)
        except BaseException as error:
            got = error
        if late.is_set():
            if isinstance(got, http.client.HTTPResponse | urllib.error.HTTPError):
                got.close()
        else:
            answer.put(got)

    threading.Thread(target=ask, daemon=True).start()  # a daemon, so that the program can end before it
    try:
        got = answer.get(timeout=timeout)
    except queue.Empty:
        late.set()
        raise TimeoutError from None
    if isinstance(got, BaseException):
        raise got
    return cast(http.client.HTTPResponse, got)


def _copy(
    entry: Published, url: str, response: http.client.HTTPResponse, file: IO[bytes], timeout: float, limit: int
) -> None:
    have = file.tell() if _goes_on(response, file.tell()) else 0
    total = None if response.length is None else have + response.length
    if entry.bytes is not None and total not in (None, entry.bytes):
        raise DownloadError(f"{url}: offers {total:,} bytes, not {entry.bytes:,}: another file; check the address")
    if not have:
        _empty(file)  # the server sends the file from its beginning
    bar = _Bar(entry.name, total or entry.bytes)
    since, before = time.monotonic(), have
    try:
        while chunk := _read(response):
            have += len(chunk)
            if have > limit:
                _empty(file)
                raise DownloadError(f"{url}: sends more than {limit:,} bytes: another file; check the address")
            file.write(chunk)
            bar.show(have)
            if (passed := time.monotonic() - since) >= timeout:
                if have - before < SLOWEST * passed:
                    raise _slow(url, have, (have - before) / passed)
                since, before = time.monotonic(), have
    finally:
        bar.close()
        file.flush()
    if have < (total or entry.bytes or 0):
        raise _Interrupted(f"after {have:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes, b"" at the end. Errors of the network are distinguished from errors of the disk."""
    try:
        return response.read1(CHUNK)
    except TimeoutError:
        raise
    except (OSError, http.client.IncompleteRead) as error:
        raise _Interrupted(type(error).__name__) from None


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _goes_on(response: http.client.HTTPResponse, have: int) -> bool:
    """Whether the server sends the bytes from `have` on, as requested."""
    sent = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and sent is not None and int(sent[1]) == have


def _refused(error: urllib.error.HTTPError, url: str, file: IO[bytes]) -> None:
    """Raise the error for a status of 400 and more. Returns if the file is already complete."""
    if error.code == 416 and file.tell():  # there are no more bytes: the file is complete, or another file
        if error.headers.get("Content-Range") == f"bytes */{file.tell()}":
            return
        _empty(file)
        raise _Interrupted("the partial file did not fit") from None
    if error.code >= 500 or error.code == 429:
        raise _Interrupted(f"status {error.code}") from None
    raise DownloadError(f"{url}: the server answers {error.code} {error.reason}; check the address") from None


def _stalled(url: str, file: IO[bytes], timeout: float) -> DownloadError:
    return DownloadError(
        f"{url}: the server said nothing for {timeout:g} seconds; {file.tell():,} bytes are kept, pull again to go on"
    )


def _slow(url: str, have: int, speed: float) -> DownloadError:
    return DownloadError(
        f"{url}: the server sends {speed:,.0f} bytes a second, less than {SLOWEST:,}; {have:,} bytes are kept, "
        "pull again to go on, or name a --url"
    )


@contextlib.contextmanager
def _alone(path: Path, patience: float) -> Iterator[None]:
    """Lock a file, so that one process downloads it and others wait as long as it makes progress.

    The lock ends with its process. On Windows there is none: two pulls may damage each other's partial file, which the
    hash reveals. Raises `DownloadError` if the other process makes no progress.
    """
    held = path.with_name(path.name + ".lock")
    with append_regular(held) as lock:
        since, before = time.monotonic(), -1
        while sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            have = _size(path.with_name(path.name + ".part"))
            if have != before:
                since, before = time.monotonic(), have
            if time.monotonic() - since > patience:
                raise DownloadError(
                    f"{held}: another pull holds it and has brought nothing for {patience:g} seconds; end that one"
                )
            time.sleep(0.05)
        yield


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Bar:
    """Progress, on a terminal only."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name = name
        self.total = "?" if total is None else f"{total / 1e6:.1f}"
        self.visible = sys.stderr.isatty()
        self.due = 0.0

    def show(self, have: int) -> None:
        if self.visible and time.monotonic() >= self.due:
            self.due = time.monotonic() + 0.1
            print(f"\r{self.name}: {have / 1e6:.1f} of {self.total} MB", end="", file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        if self.visible:
            print("\r\033[K", end="", file=sys.stderr, flush=True)  # noqa: T201
