"""Refuses a request for labels by its head alone, while the queue is full.

Most requests to an overloaded server are refused, and uvicorn, h11 and Starlette need several times as long for that.
Only heads of the usual form are read here. Any other head is left to h11, so this module never has to decide a doubtful
case of where a request ends.

>>> usual_head(b"POST /a HTTP/1.1\\r\\nHost: b\\r\\nContent-Length: 3\\r\\n\\r\\nGIF")
Head(path='/a', headers={'host': 'b', 'content-length': '3'}, size=48, body=3)
>>> usual_head(b"POST /a HTTP/1.1\\r\\nHost: b\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n") is None
True
"""

import asyncio
import re
from collections import Counter
from collections.abc import Collection, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from squeezenet.serve.gate import Gate, Refused, who
from squeezenet.serve.guard import allowed_host, error_response
from squeezenet.serve.settings import HEAD_BYTES, MOST_HEADERS, Limits

HEAD = re.compile(rb"POST (/[!-~]*+) HTTP/1\.1\r\n((?:[0-9A-Za-z-]++:[ -~]*+\r\n)++)\r\n")
FIELD = re.compile(rb"([0-9A-Za-z-]+): *+([ -~]*+)\r\n")
UNUSUAL = {"transfer-encoding", "expect", "upgrade", "origin"}
"""Headers that change where a request ends, or what its answer is."""
MOST_DIGITS = 12
"""Digits of a length."""
CLASSIFY = re.compile(r"/v1/models/([^/?%]+)/classify(?:\?.*)?")


class Head(NamedTuple):
    """The head of a request."""

    path: str
    headers: Mapping[str, str]
    size: int  # bytes of the head
    body: int  # bytes of the body, which follows


def usual_head(data: bytes, at: int = 0) -> Head | None:
    """The head that begins at `data[at]`; None if it is not complete, or not of the usual form."""
    match = HEAD.match(data, at, at + HEAD_BYTES)
    if match is None:
        return None
    fields = FIELD.findall(match[2])
    headers = {name.decode().lower(): value.decode().rstrip(" ") for name, value in fields}
    length = headers.get("content-length", "")
    if (
        len(headers) < len(fields)  # a header is given twice
        or len(headers) > MOST_HEADERS
        or "host" not in headers
        or not UNUSUAL.isdisjoint(headers)
        or headers.get("connection", "keep-alive").lower() != "keep-alive"
        or not (length.isdigit() and len(length) <= MOST_DIGITS)
    ):
        return None
    return Head(match[1].decode(), headers, match.end() - at, int(length))


class Early:
    """Knows which requests have no hope of a place. To be used in the event loop."""

    def __init__(self, models: Collection[str], hosts: Collection[str], limits: Limits, gate: Gate) -> None:
        self._models, self._hosts, self._limits, self._gate = models, hosts, limits, gate
        self._passed: Counter[str] = Counter()  # by client: requests that will ask for places in the next turn

    def refusal(self, client: str, data: bytes, at: int) -> tuple[Refused, int] | None:
        """The refusal of the request that begins at `data[at]`, and its bytes with the body; None: it is not refused.

        Many requests arrive in one turn of the event loop, and each sees the same free places. So those that were let
        through in this turn count, too.
        """
        try:
            self._gate.check(client, 1, self._passed)
        except Refused as refused:
            size = self._size(data, at)
            return None if size is None else (refused, size)
        if data.startswith(b"POST", at):
            if not self._passed:
                asyncio.get_running_loop().call_soon(self._passed.clear)
            self._passed[who(client)] += 1
        return None

    def _size(self, data: bytes, at: int) -> int | None:
        """Bytes of the request that begins at `data[at]`; None if it is not a usual request for labels."""
        head = usual_head(data, at)
        if head is None or head.body > self._limits.body_bytes or not allowed_host(head.headers["host"], self._hosts):
            return None
        match = CLASSIFY.fullmatch(head.path)
        return head.size + head.body if match and match[1] in self._models else None


def as_bytes(refused: Refused, more: Collection[tuple[bytes, bytes]]) -> bytes:
    """A refusal as it is sent, with `more` headers before those that it has."""
    first, rest = _parts(refused.status, str(refused), refused.retry)
    return b"".join([first, *(b"%s: %s\r\n" % header for header in more), rest])


@lru_cache(64)
def _parts(status: HTTPStatus, message: str, retry: int | None) -> tuple[bytes, bytes]:
    """The first line of an answer, and what follows the headers that every answer has."""
    response = error_response(Refused(status, message, retry))
    lines = [b"%s: %s\r\n" % header for header in response.raw_headers]
    return b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()), b"".join([*lines, b"\r\n", response.body])
