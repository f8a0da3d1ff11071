"""The images in the body of a request: read within limits while it arrives, then split.

>>> named_images(b'--x\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\nGIF\\r\\n--x--\\r\\n', "multipart/form-data; boundary=x", 2)
[('a', b'GIF')]
"""  # noqa: E501

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from squeezenet.printable import counted
from squeezenet.serve.gate import Refused, who
from squeezenet.serve.settings import Limits

UNNAMED = "image"
"""The name, in answers, of an image that came without one."""
MOST_NAME = 255
"""Characters of an image's name."""
MOST_PART_HEAD = 16 * 2**10
"""Bytes of the head of an image in a form; a longer one could keep the event loop busy."""
BOUNDARY = re.compile(r"""boundary=("?)([0-9A-Za-z'()+_,./:=? -]{1,70})\1(?:;|$)""", re.IGNORECASE)
NAMES = tuple(re.compile(rb'[; ]%s="([^"\r\n]*)"' % name, re.IGNORECASE) for name in (b"filename", b"name"))


class Bodies:
    """Reads bodies, and counts the bytes that all requests together hold."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._reading: set[asyncio.Timeout] = set()
        self._stopping = False
        self._held: Counter[str] = Counter()  # bytes by client
        self.held = 0

    def stop(self) -> None:
        """Refuse the bodies that are still arriving, and those that arrive from now on."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for timeout in self._reading:
            timeout.reschedule(now)

    async def read(self, client: str, headers: Mapping[str, str], receive: Any) -> bytes:
        """The whole body; `forget` must follow. Raises `Refused`; also if the client has half of all bytes."""
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._limits.body_bytes:
            raise self._too_large()
        data = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds) as timeout:
                self._reading.add(timeout)
                if self._stopping:
                    raise TimeoutError
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(HTTPStatus.BAD_REQUEST, "the connection was closed before the request ended")
                    piece = message.get("body", b"")
                    data += piece
                    self.held += len(piece)
                    self._held[who(client)] += len(piece)
                    if len(data) > self._limits.body_bytes:
                        raise self._too_large()
                    if self.held > self._limits.held_bytes:
                        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are being read", 1)
                    if self._held[who(client)] > max(self._limits.held_bytes // 2, self._limits.body_bytes):
                        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "this client sends too many bytes at a time", 1)
                    if not message.get("more_body", False):
                        return bytes(data)
        except BaseException as error:
            self.forget(client, len(data))
            if not isinstance(error, TimeoutError):
                raise
            if self._stopping:
                raise stopping() from None
            seconds = f"the body did not arrive within {self._limits.body_seconds:g} seconds"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, seconds) from None
        finally:
            self._reading.discard(timeout)

    def forget(self, client: str, size: int) -> None:
        """A body of so many bytes is not needed any more."""
        self.held -= size
        self._held[who(client)] -= size
        self._held += Counter()  # forgets the clients that hold nothing

    def _too_large(self) -> Refused:
        told = f"the request is over the limit of {self._limits.body_bytes:,} bytes; scale the image down first"
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told)


def stopping() -> Refused:
    """The refusal of a server that is about to end."""
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping", 5)


def check_type(headers: Mapping[str, str]) -> None:
    """Raise `Refused` unless the headers say that the body is an image, or a form with images.

    A web page of another site can send forms and plain text without the permission of the browser (CORS), so neither
    plain text nor the type of forms without files is accepted.
    """
    kind = headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind not in ("application/octet-stream", "multipart/form-data"):
        told = "send the image as image/jpeg (or another type of image), application/octet-stream or "
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, told + "multipart/form-data")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the image without a Content-Encoding")


def named_images(body: bytes, content_type: str, most: int) -> list[tuple[str, bytes]]:
    """Names and bytes of the images in a body (RFC 7578: multipart/form-data). Raises `Refused`."""
    if not content_type.lower().startswith("multipart/form-data"):
        if not body:
            raise Refused(HTTPStatus.BAD_REQUEST, "the body is empty; send the bytes of an image")
        return [(UNNAMED, body)]
    match = BOUNDARY.search(content_type)
    if match is None:
        raise _malformed("its Content-Type has no boundary")
    pieces = (b"\r\n" + body).split(b"\r\n--" + match[2].encode(), most + 2)
    if len(pieces) > most + 2:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {counted(most, 'image')} in one request")
    if len(pieces) < 3 or pieces[0].strip() or not pieces[-1].startswith(b"--"):
        raise _malformed("it is not complete, or has no parts")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> tuple[str, bytes]:
    padding, _, rest = piece.partition(b"\r\n")
    head, blank, data = rest.partition(b"\r\n\r\n")
    if padding.strip() or not blank or len(head) > MOST_PART_HEAD:
        raise _malformed(f"a part has no head, or one of more than {MOST_PART_HEAD:,} bytes")
    names = (found[1].decode("utf-8", "replace") for name in NAMES if (found := name.search(head)))
    return next(filter(None, names), UNNAMED)[:MOST_NAME], data


def _malformed(why: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, f"the form is malformed: {why}")
