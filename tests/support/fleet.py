"""A publisher, a device and a mirror for the tests of updates over the air."""

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from squeezenet import sqz, zoo
from squeezenet.errors import UpdateRefused
from squeezenet.fleet import client, publisher, repository
from squeezenet.fleet.publisher import Plan
from squeezenet.fleet.repository import Days, Keys

EVERYONE = Plan()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@cache
def small_model(number: int) -> bytes:
    """The digits model; `number` of its levels are 1 higher."""
    model = sqz.decode((zoo.HERE / "digits.sqz").read_bytes())
    first = next(iter(model.weights))
    weights = model.weights[first]
    levels = weights.weight.levels.copy()
    levels.flat[:number] += 1
    changed = replace(weights, weight=replace(weights.weight, levels=levels))
    return sqz.encode(replace(model, weights={**model.weights, first: changed}))


def publish(folder: Path, data: bytes, plan: Plan = EVERYONE, now: datetime = NOW, **options) -> publisher.Published:
    return publisher.publish(repository.load(folder), data, "model.sqz", plan, now, **options)


def new_publisher(folder: Path, *models: bytes) -> Path:
    """A publisher's folder with these releases."""
    repository.create(folder, Keys(3, 2), Keys(1, 1), Days(), NOW)
    for data in models:
        publish(folder, data)
    return folder


def enrolled(folder: Path, publisher: Path, url: str = "http://127.0.0.1:9/", device: str = "car-1", **options) -> Path:
    """A device that trusts the first root of a publisher."""
    client.enrol(folder, url, (publisher / "public/metadata/1.root.json").read_bytes(), device, **options)
    return folder


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


class Files:
    """A mirror without a network: the files below `public`, in parts of `size` bytes."""

    def __init__(self, publisher: Path, size: int = 4096) -> None:
        self.public, self.size = publisher / "public", size
        self.asked: list[str] = []

    def get(self, path: str, limit: int) -> bytes | None:
        self.asked.append(path)
        try:
            data = (self.public / path).read_bytes()
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise UpdateRefused(f"{path}: too large")
        return data

    def parts(self, path: str, start: int, limit: int) -> Iterator[tuple[int, bytes]]:
        self.asked.append(path)
        data = (self.public / path).read_bytes()
        for position in range(start, len(data), self.size):
            yield position, data[position : position + self.size]


class Server:
    """A web server of static files on the loopback, which an attacker controls by `lies`.

    A lie is what the server sends for a path: bytes, None (there is no such file), or a function that answers.
    """

    def __init__(self, public: Path) -> None:
        self.public = public
        self.lies: dict[str, bytes | Callable[[BaseHTTPRequestHandler], None] | None] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.sent = 0
        self.done = threading.Event()
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, wanted = request.path.lstrip("/"), request.headers.get("Range")
        self.asked.append((path, wanted))
        found = self.lies[path] if path in self.lies else self._file(path)
        if callable(found):
            with contextlib.suppress(OSError):
                found(request)
            return
        if found is None:
            request.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted else 0
        request.send_response(206 if wanted else 200)
        if wanted:
            request.send_header("Content-Range", f"bytes {start}-{len(found) - 1}/{len(found)}")
        request.send_header("Content-Length", str(len(found) - start))
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(found[start:])

    def _file(self, path: str) -> bytes | None:
        try:
            return (self.public / path).read_bytes()
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def serving(public: Path) -> Iterator[Server]:
    """A server of this folder."""
    server = Server(public)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_port}/"
        try:
            yield server
        finally:
            server.done.set()
            http.shutdown()
            thread.join()
