"""The files of a repository over HTTP, with a limit for the bytes and the time of every one.

>>> Http("http://127.0.0.1:8000/").get("metadata/timestamp.json", limit=4096)         # doctest: +SKIP
b'{"signatures": ...'

Nothing that a server sends is trusted here: the caller checks signatures and hashes. If a server sends too much, too
slowly or nothing, the connection is closed and an error says so.
"""

import http.client
import re
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from squeezenet.errors import DownloadError, UpdateRefused, UsageError
from squeezenet.version import __version__
from squeezenet.zoo.pull import open_in_time

CHUNK = 1 << 16


class Broken(DownloadError):
    """The connection broke. The bytes so far are good, and another connection may bring the rest."""


@dataclass(frozen=True)
class Http:
    """A repository at an http or https address that ends with `/`."""

    url: str
    silence: float = 30.0  # seconds in which a server may send nothing, or less than `slowest` a second
    slowest: int = 1000  # bytes a second

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")):
            raise UsageError(f"{self.url}: only http and https addresses can be used; give one with --url")

    def get(self, path: str, limit: int) -> bytes | None:
        """A whole file; None if the server has no such file. Raises `DownloadError`, `UpdateRefused` if it is large.

        The server may compress it on the way (gzip).
        """
        try:
            with self._open(path, 0, "gzip") as response:
                data = b"".join(self._chunks(path, response, limit))
                packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
                return self._unpacked(path, data, limit) if packed else data
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (403, 404):  # buckets answer 403 for a file that does not exist
                    return None
                raise self._refused(path, error) from None

    def parts(self, path: str, start: int, limit: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of a file from `start` on, in parts, each with its position.

        The first position is 0 if the server sends the whole file again. Raises `Broken` if the connection breaks,
        `UpdateRefused` if the file has more than `limit` bytes, and `DownloadError`.
        """
        try:
            with self._open(path, start) as response:
                position = start if _goes_on(response, start) else 0
                for chunk in self._chunks(path, response, limit - position):
                    yield position, chunk
                    position += len(chunk)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(path, error) from None

    def _open(self, path: str, start: int, encoding: str = "identity") -> http.client.HTTPResponse:
        headers = {"User-Agent": f"squeezenet/{__version__}", "Accept-Encoding": encoding}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return open_in_time(urllib.request.Request(self.url + path, headers=headers), self.silence, _OPENER)
        except urllib.error.HTTPError:
            raise
        except TimeoutError:
            raise self._silent(path) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise self._silent(path) from None
            raise DownloadError(f"{self.url}: cannot be reached ({error.reason}); check the network") from None
        except ConnectionError as error:
            raise Broken(f"{self.url}{path}: the connection broke ({type(error).__name__}); try again") from None
        except (http.client.HTTPException, ValueError) as error:
            raise DownloadError(f"{self.url}: no answer that can be understood ({type(error).__name__})") from None

    def _chunks(self, path: str, response: http.client.HTTPResponse, limit: int) -> Iterator[bytes]:
        """The body. Reading one byte more than `limit` is an error, and so is a slow server."""
        since, got, window = time.monotonic(), 0, 0
        while True:
            try:
                chunk = response.read1(min(CHUNK, limit - got + 1))
            except TimeoutError:
                raise self._silent(path) from None
            except (OSError, http.client.HTTPException) as error:
                raise Broken(f"{self.url}{path}: the connection broke ({type(error).__name__}); try again") from None
            if not chunk:
                break
            got, window = got + len(chunk), window + len(chunk)
            if got > limit:
                raise self._too_large(path, limit)
            yield chunk
            if (passed := time.monotonic() - since) >= self.silence:
                if window < self.slowest * passed:
                    raise DownloadError(
                        f"{self.url}{path}: the server sends {window / passed:,.0f} bytes a second, less than "
                        f"{self.slowest:,}; try again later, or from another address"
                    )
                since, window = time.monotonic(), 0
        if response.length:  # it was announced and did not come
            raise Broken(f"{self.url}{path}: the connection broke after {got:,} bytes; try again")

    def _unpacked(self, path: str, data: bytes, limit: int) -> bytes:
        """What a gzip file holds. No more than `limit` bytes and one are unpacked."""
        unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            found = unpacker.decompress(data, limit + 1)
        except zlib.error:
            raise UpdateRefused(f"{self.url}{path}: its gzip compression is damaged; refused") from None
        if len(found) > limit:
            raise self._too_large(path, limit)
        if not unpacker.eof or unpacker.unused_data:
            raise UpdateRefused(f"{self.url}{path}: its gzip compression is damaged; refused")
        return found

    def _too_large(self, path: str, limit: int) -> UpdateRefused:
        return UpdateRefused(f"{self.url}{path}: sends more than the {limit:,} bytes that it may have; refused")

    def _silent(self, path: str) -> DownloadError:
        return DownloadError(f"{self.url}{path}: the server said nothing for {self.silence:g} seconds; try again later")

    def _refused(self, path: str, error: urllib.error.HTTPError) -> DownloadError:
        kind = Broken if error.code >= 500 or error.code == 429 else DownloadError
        reason = " ".join(str(error.reason).split())
        return kind(f"{self.url}{path}: the server answers {error.code} {reason}; tell the publisher")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only; those of the standard library go to ftp as well."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not newurl.startswith(("https://", "http://")):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_Redirects)


def _goes_on(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the server sends the bytes from `start` on, as requested."""
    sent = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and sent is not None and int(sent[1]) == start
