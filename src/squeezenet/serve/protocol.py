"""HTTP connections with deadlines: a slow client loses its connection, and no client can have them all.

uvicorn's protocol has a deadline only for connections between two requests. Here the head of a request, its body, and
the reading of an answer have one, too; also where the answer was sent before the body had arrived.
"""

from asyncio import TimerHandle
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from squeezenet.serve.gate import who
from squeezenet.serve.settings import Limits

GRACE = 1.0
"""Seconds after the deadline of a body, in which the application answers with status 408."""
TOLD = b'{"error": "too many connections"}'
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(TOLD), TOLD)
)
"""The answer to a connection that is one too many."""


class TimedProtocol(H11Protocol):  # type: ignore[misc]
    """One connection. `shared` says that all connections come from a proxy, so an address may have all of them."""

    def __init__(self, *args: Any, limits: Limits, shared: bool = False, **named: Any) -> None:
        super().__init__(*args, **named)
        self._limits, self._shared = limits, shared
        self._part: Any = None  # the part of a request that is awaited: a state of h11
        self._deadline: TimerHandle | None = None
        self._writing: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        most = self._limits.connections
        mine = sum(who(other.client[0]) == who(self.client[0]) for other in self.connections if other.client)
        if len(self.connections) > most or (not self._shared and mine > max(1, most // 2)):
            transport.write(FULL)
            transport.close()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()

    def _watch(self) -> None:
        """Set the deadline of the part of a request that is awaited now, unless it is set."""
        part = self.conn.their_state
        if part is self._part:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._part, self._deadline = part, None
        if part is h11.IDLE:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self.transport.close)
        elif part is h11.SEND_BODY:
            self._deadline = self.loop.call_later(self._limits.body_seconds + GRACE, self.transport.abort)
