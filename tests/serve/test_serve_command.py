"""The command `serve` as a process: its one line, reloading under requests, signals and exit codes."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from shutil import copyfile
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("prometheus_client", reason="the extra [serve] is not installed")

from squeezenet import zoo
from squeezenet.cli.extras import packages
from support.commands import picture, python
from support.serving import until

COMMAND = [sys.executable, "-m", "squeezenet", "serve", "--port", "0", "--json"]


@contextmanager
def process(*arguments):
    """A server: its process, and the address that it printed."""
    server = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield server, urlsplit(json.loads(server.stdout.readline())["address"]).netloc
    finally:
        server.kill()
        server.communicate()


def ask(address, method, path, body=None):
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "image/png"} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.fixture
def png(tmp_path):
    with open(picture(tmp_path / "a.png"), "rb") as file:
        return file.read()


class Asking(threading.Thread):
    """Asks again and again until it is told to stop, or the server has ended; remembers every status."""

    def __init__(self, address, png):
        super().__init__()
        self.address, self.png, self.statuses, self.over, self.error = address, png, [], threading.Event(), None

    def run(self):
        while not self.over.is_set():
            try:
                self.statuses.append(ask(self.address, "POST", "/v1/models/bird/classify", self.png)[0])
            except OSError as error:
                self.error = error
                return


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_model_is_replaced_under_requests_and_a_bad_one_changes_nothing(tmp_path, png):
    file = tmp_path / "bird.sqz"
    copyfile(zoo.HERE / "digits.sqz", file)
    with process(file) as (server, address):
        clients = [Asking(address, png) for _ in range(3)]
        for client in clients:
            client.start()
        copyfile(zoo.HERE / "cifar10-small.sqz", tmp_path / "new.sqz")
        os.replace(tmp_path / "new.sqz", file)
        until(lambda: ask(address, "GET", "/v1/models/bird")[1]["labels"][0] == "airplane")  # by its time of change
        file.write_bytes(b"no model")
        server.send_signal(signal.SIGHUP)
        until(lambda: "bird.sqz" in ask(address, "GET", "/healthz")[1]["models"]["bird"]["fault"])
        assert ask(address, "GET", "/v1/models/bird")[1]["labels"][0] == "airplane"
        copyfile(zoo.HERE / "digits.sqz", file)
        server.send_signal(signal.SIGHUP)
        until(lambda: ask(address, "GET", "/v1/models/bird")[1]["labels"][0] == "0")
        assert ask(address, "GET", "/healthz")[1]["models"]["bird"]["fault"] == ""
        for client in clients:
            client.over.set()
        for client in clients:
            client.join()
            assert client.error is None
            assert set(client.statuses) == {200}
        server.terminate()
        _, errors = server.communicate(timeout=30)
        assert "the old version stays" in errors
        assert errors.count("loaded a new version") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_which_answers_what_it_has_taken(number, tmp_path, png):
    copyfile(zoo.HERE / "digits.sqz", tmp_path / "bird.sqz")
    with process(tmp_path / "bird.sqz") as (server, address):
        client = Asking(address, png)
        client.start()
        until(lambda: len(client.statuses) > 3)
        server.send_signal(number)
        out, errors = server.communicate(timeout=30)
        client.join(30)
        assert server.returncode == 0
        assert out == ""
        assert errors == "squeezenet serve: stopping: finishing the requests that run\n"
        assert set(client.statuses) <= {200, 503}
        assert isinstance(client.error, ConnectionRefusedError | ConnectionResetError | http.client.RemoteDisconnected)


def test_mistakes_are_one_line(refused, tmp_path):
    assert refused("serve", "no-such-model")[0] == 2
    assert "two models are called digits" in refused("serve", "digits", "digits")[1]
    assert "no name that fits" in refused("serve", "a b=digits")[1]
    assert "has no index.html" in refused("serve", "digits", "--page", tmp_path)[1]
    for where in (["--host", "192.0.2.1"], ["--port", "70000"], ["--host", "no such host"]):
        code, line = refused("serve", "digits", *where)
        assert code == 1
        assert line.endswith("; choose others with --host and --port")


@pytest.mark.skipif(not packages("serve"), reason="this installation is older than the extra [serve]")
def test_a_missing_package_is_named():
    code = "import sys; sys.modules['uvicorn'] = None; from squeezenet.cli.main import main; main(['serve', 'digits'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "squeezenet serve: this needs uvicorn; install it with: pip install 'sqznet[serve]'\n"


def test_help_loads_no_server():
    code = "import sys; from squeezenet.cli.main import main\ntry: main(['serve', '--help'])\nexcept SystemExit: pass\n"
    assert python(code + "print([m for m in sys.modules if 'starlette' in m or 'asyncio' in m])").endswith("[]\n")
