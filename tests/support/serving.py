"""A server in a thread of the test, on a free port of the loopback interface, and requests to it."""

import asyncio
import contextlib
import http.client
import json
import socket
import threading
import time

from squeezenet.serve.app import Service
from squeezenet.serve.models import open_models
from squeezenet.serve.pages import HERE, read_pages
from squeezenet.serve.server import Runner, listen
from squeezenet.serve.settings import Limits

BOUNDARY = "----------------------------b0undary"


class Served:
    """A server that runs: where, what it said, and what it consists of."""

    def __init__(self, service, proxies=()):
        self.service, self.said, self.proxies = service, [], proxies
        self.socket = listen("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.runner = self.loop = None

    async def run(self):
        self.loop = asyncio.get_running_loop()
        self.runner = Runner(self.service, self.socket, self.said.append, self.proxies)
        await self.runner.run()

    def do(self, action):
        self.loop.call_soon_threadsafe(action)

    def ask(self, method, path, body=None, **headers):
        """Status, headers, and the JSON or text of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(text) if is_json else text.decode()

    def classify(self, image, model="digits", query="", kind="image/png"):
        """Status and JSON."""
        status, _, answer = self.ask("POST", f"/v1/models/{model}/classify{query}", image, Content_Type=kind)
        return status, answer

    def raw(self, data, seconds=10):
        """What the server sends for these bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            return received(connection)


def received(connection):
    """All that comes until the connection ends."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def serving(*models, hosts=(), origins=(), page=HERE, proxies=(), **limits):
    """A server for models, as named on the command line."""
    service = Service(open_models(models), Limits(**limits), read_pages(page), hosts, origins)
    served = Served(service, proxies)
    thread = threading.Thread(target=lambda: asyncio.run(served.run()))
    thread.start()
    try:
        until(lambda: served.runner is not None and served.runner.started)
        yield served
    finally:
        served.do(served.runner.stop)
        thread.join(30)
        assert not thread.is_alive()


def form(*files):
    """The body of a form with files, each a name and bytes, and its Content-Type."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n"
        for name, data in files
    ]  # fmt: skip
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"


def until(true, seconds=20.0):
    """Wait until `true()` is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
