"""Runs the service on sockets until a signal ends it: SIGTERM and SIGINT stop it, SIGHUP loads models again.

>>> with listen("127.0.0.1", 0) as sock:
...     address(sock).startswith("http://127.0.0.1:")
True
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import uvicorn

from squeezenet.errors import SqueezeNetError
from squeezenet.printable import printable
from squeezenet.serve.app import Service
from squeezenet.serve.models import Model
from squeezenet.serve.protocol import TimedProtocol
from squeezenet.serve.settings import HEAD_BYTES

REFRESH = 1.0
"""Seconds between two looks at the files of the models."""
MOST_PORT = 65_535
BACKLOG = 512
"""Connections that the system accepts before the server does."""
SLACK = 5.0
"""Seconds that a stop may take beyond the limit of a request."""

Told = Callable[[str], None]


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections; port 0 is any free port. Raises `SqueezeNetError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        if port > MOST_PORT:
            raise OSError(errno.EINVAL, f"the largest port is {MOST_PORT}")
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SqueezeNetError(f"{host}, port {port}: {error.strerror}; choose others with --host and --port") from None


def address(sock: socket.socket) -> str:
    """The URL of a socket that listens."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, sock: socket.socket, told: Told, proxies: Collection[str] = ()) -> None:
    """Answer requests until a signal comes, then finish what runs. `told` gets one line for each event.

    `proxies` are the addresses whose header X-Forwarded-For is believed.
    """
    asyncio.run(Runner(service, sock, told, proxies).run())


class Runner:
    """A server that runs. `stop` may be called in its event loop only."""

    def __init__(self, service: Service, sock: socket.socket, told: Told, proxies: Collection[str] = ()) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # a stranger can cause any number of its warnings
        limits = service.limits
        config = uvicorn.Config(
            service.app, http=partial(TimedProtocol, limits=limits, early=service.refuse_early, shared=bool(proxies)),
            ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False, server_header=False,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=HEAD_BYTES, timeout_keep_alive=limits.head_seconds,
            timeout_graceful_shutdown=limits.seconds + SLACK,
            proxy_headers=bool(proxies), forwarded_allow_ips=list(proxies),
        )  # fmt: skip
        self._server = _Server(config)
        self._service, self._sock, self._told = service, sock, told
        self._again = asyncio.Event()

    @property
    def started(self) -> bool:
        """Whether requests are answered."""
        return bool(self._server.started)

    async def run(self) -> None:
        """Until `stop`, or a signal."""
        with self._signals():
            refreshing = asyncio.create_task(self._refresh())
            try:
                await self._server.serve(sockets=[self._sock])
            finally:
                refreshing.cancel()
                await asyncio.to_thread(self._service.workers.close)

    def stop(self) -> None:
        """Take no more requests, and finish those that run; called again, leave them."""
        if self._server.should_exit:
            self._server.force_exit = True
            return
        self._told("stopping: finishing the requests that run")
        self._service.stop()
        self._server.should_exit = True

    def reload(self) -> None:
        """Read the files of all models now."""
        self._again.set()

    async def _refresh(self) -> None:
        """Load new versions of models as they appear."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), REFRESH)
            force = self._again.is_set()
            self._again.clear()
            for model in self._service.models.values():
                try:
                    await self._refreshed(model, force)
                except Exception as error:  # a fault of ours must not be the end of all reloading
                    self._told(printable(f"{model.name}: the old version stays: {type(error).__name__}: {error}"))

    async def _refreshed(self, model: Model, force: bool) -> None:
        fault = model.fault
        if await asyncio.to_thread(model.refresh, force):
            self._service.metrics.reloads.labels(model.name, "loaded").inc()
            self._told(f"{model.name}: loaded a new version, SHA-256 {model.loaded.sha256[:16]}…")
        elif model.fault and (model.fault != fault or force):
            self._service.metrics.reloads.labels(model.name, "failed").inc()
            self._told(printable(f"{model.name}: the old version stays: {model.fault}"))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle signals in the event loop; nothing is done in a thread that is not the main one, as in tests."""
        loop = asyncio.get_running_loop()
        handlers: dict[str, Callable[[], None]] = {"SIGTERM": self.stop, "SIGINT": self.stop, "SIGHUP": self.reload}
        known = {getattr(signal, name): do for name, do in handlers.items() if hasattr(signal, name)}
        before: dict[int, Any] = {}
        try:
            for number, do in known.items():
                before[number] = signal.signal(number, lambda *_, do=do: loop.call_soon_threadsafe(do))
        except ValueError:  # not the main thread
            pass
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's server without its signals: after a stop, it would end the process by the same signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
