"""HTTP connections with deadlines: a slow client loses its connection, and no client can have them all.

uvicorn's protocol has a deadline only for connections between two requests. Here the head of a request, its body, and
the reading of an answer have one, too; also where the answer was sent before the body had arrived.
"""

import socket
from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from squeezenet.serve.early import as_bytes
from squeezenet.serve.gate import Refused, who
from squeezenet.serve.settings import Limits

GRACE = 1.0
"""Seconds after the deadline of a body, in which the application answers with status 408."""
TOLD = b'{"error": "too many connections"}'
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(TOLD), TOLD)
)
"""The answer to a connection that is one too many."""
SKIPPED = "skipped"
"""The part of a request that is awaited: the rest of a request that has been refused."""

Early = Callable[[str, bytes, int], tuple[Refused, int] | None]


class TimedProtocol(H11Protocol):  # type: ignore[misc]
    """One connection. `shared` says that all connections come from a proxy, so an address may have all of them.

    `early` gets the address of the client, data, and where a request begins in them; it may refuse it (early.py).
    """

    def __init__(self, *args: Any, limits: Limits, early: Early, shared: bool = False, **named: Any) -> None:
        super().__init__(*args, **named)
        self._limits, self._early, self._shared = limits, early, shared
        self._skip = 0  # bytes of a refused request that have not arrived
        self._part: Any = None  # the part of a request that is awaited: a state of h11, or SKIPPED
        self._deadline: TimerHandle | None = None
        self._writing: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio does this for sockets that were made with the number of the protocol only. Without it, the body of an
        # answer is sent when the client has acknowledged the head: 40 ms later.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        at = 0
        while at < len(data) and (self._skip or self._refused(data, at)):
            skipped = min(self._skip, len(data) - at)
            self._skip -= skipped
            at += skipped
        if at < len(data):
            super().data_received(data[at:])
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

    def _refused(self, data: bytes, at: int) -> bool:
        """Refuse the request that begins at `data[at]`, if that is to be done; then its bytes are to be skipped.

        A client that does not read its answers gets none here, for they would fill the memory.
        """
        answered = self.cycle is None or self.cycle.response_complete
        idle = self.conn.our_state is self.conn.their_state is h11.IDLE and not self.conn.trailing_data[0]
        if not answered or not idle or self.flow.write_paused or self.transport.is_closing():
            return False
        host, port = self.client or ("", 0)
        # Behind a proxy, the address of the client is not known here.
        found = self._early(f"port {port}" if self._shared else host, data, at)
        if found is None:
            return False
        refused, self._skip = found
        self.transport.write(as_bytes(refused, self.server_state.default_headers))
        self._unset_keepalive_if_required()
        self._part = None  # the deadline begins again
        return True

    def _watch(self) -> None:
        """Set the deadline of the part of a request that is awaited now, unless it is set."""
        part = SKIPPED if self._skip else self.conn.their_state
        if part is self._part:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._part, self._deadline = part, None
        if part is h11.IDLE:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self.transport.close)
        elif part in (h11.SEND_BODY, SKIPPED):
            self._deadline = self.loop.call_later(self._limits.body_seconds + GRACE, self.transport.abort)
