"""What is pulled is the published file, whole, or one line says why not."""

import contextlib
import errno
import hashlib
import io
import json
import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from squeezenet import zoo
from squeezenet.cli.main import main
from squeezenet.errors import DownloadError, ModelError, UsageError
from squeezenet.zoo import PUBLISHED, Published
from squeezenet.zoo.pull import ATTEMPTS, pull

BODY = np.random.default_rng(0).bytes(300_000)
HASH = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no proxy between the tests and their server."""
    monkeypatch.setenv("SQUEEZENET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


class Server:
    """A web server on the loopback that does, connection after connection, what `plan` says; the last for ever."""

    def __init__(self, *plan, body=BODY, ranges=True):
        self.plan, self.body, self.ranges = list(plan) or ["serve"], body, ranges
        self.asked = []  # the Range header of every request
        self.done = threading.Event()  # lets stalled connections go
        self.reason = None

    def drip(self, request, data):
        """Two bytes every 20 milliseconds: soon enough that no read times out."""
        with contextlib.suppress(OSError):
            for start in range(0, len(data), 2):
                request.wfile.write(data[start : start + 2])
                request.wfile.flush()
                if self.done.wait(0.02):
                    break

    def answer(self, request):
        step = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        if isinstance(step, int):
            request.send_error(step, self.reason)
            return
        if step == "drip the head":
            self.drip(request, b"HTTP/1.1 200 OK\r\n" + 500 * b"X: y\r\n")
            return
        start = int(wanted[6:-1]) if wanted and self.ranges and step != "elsewhere" else 0
        if start >= len(self.body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(self.body)}")
            request.end_headers()
            return
        request.send_response(206 if wanted and self.ranges else 200)
        if wanted and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        if step != "unsized":
            request.send_header("Content-Length", str(len(self.body) - start))
        request.end_headers()
        rest = self.body[start:]
        if step == "silent":
            rest = b""
        elif step in ("break", "stall"):
            rest = rest[:100_000]
        elif step == "crumb":
            rest = rest[:30_000]
        if step == "drip":
            self.drip(request, rest)
            return
        request.wfile.write(rest)
        request.wfile.flush()
        if step in ("stall", "silent"):
            self.done.wait(10)


@contextmanager
def serving(*plan, **options):
    """The server, and the entry of a file on it."""
    server = Server(*plan, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.answer(self)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{http.server_port}/tiny-{HASH[:8]}.pth"
        try:
            yield server, Published("tiny", "a test", url, HASH, len(BODY), 0.0)
        finally:
            server.done.set()
            http.shutdown()
            thread.join()


def fetch(entry, **options):
    return pull(entry, timeout=0.3, pause=0.001, **options)


def failed(entry, error=DownloadError, **options):
    with pytest.raises(error) as caught:
        fetch(entry, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def part(entry):
    return zoo.cached(entry).with_name(entry.file + ".part")


def test_a_file_is_fetched_once(cache):
    with serving() as (server, entry):
        got = fetch(entry)
        assert (got.path, got.bytes, got.sha256, got.fetched) == (cache / entry.file, len(BODY), HASH, True)
        assert got.path.read_bytes() == BODY
        assert fetch(entry) == replace(got, fetched=False)
        assert server.asked == [None]
        assert fetch(entry, again=True).fetched
        assert len(server.asked) == 2
    assert not fetch(entry).fetched  # and the server is gone
    assert {p.name for p in cache.iterdir()} == {entry.file, entry.file + ".lock"}


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke():
    with serving("break", "break", "serve") as (server, entry):
        assert fetch(entry).path.read_bytes() == BODY
        assert server.asked == [None, "bytes=100000-", "bytes=200000-"]


def test_as_long_as_something_comes_a_connection_is_taken_up():
    with serving("crumb") as (server, entry):
        assert fetch(entry).path.read_bytes() == BODY
        assert len(server.asked) == 10 > ATTEMPTS


def test_a_server_that_knows_no_ranges_starts_over():
    with serving("break", "serve", ranges=False) as (server, entry):
        assert fetch(entry).path.read_bytes() == BODY
        assert len(server.asked) == 2


def test_a_part_that_was_not_asked_for_starts_over():
    with serving("break", "elsewhere") as (server, entry):
        assert fetch(entry).path.read_bytes() == BODY
        assert server.asked == [None, "bytes=100000-"]


def test_an_interrupted_pull_goes_on_where_it_was(monkeypatch):
    class Impatient:
        def __init__(self, *_):
            pass

        def show(self, have):
            raise KeyboardInterrupt

        def close(self):
            pass

    with serving() as (server, entry):
        with monkeypatch.context() as patch:
            patch.setattr("squeezenet.zoo.pull._Bar", Impatient)
            with pytest.raises(KeyboardInterrupt):
                fetch(entry)
        assert not zoo.cached(entry).exists()
        have = part(entry).stat().st_size
        assert 0 < have < len(BODY)
        assert fetch(entry).path.read_bytes() == BODY
        assert server.asked == [None, f"bytes={have}-"]


def test_a_connection_that_always_breaks_is_given_up_and_the_rest_comes_later():
    with serving("break", 503) as (server, entry):
        message = failed(entry)
        assert "100,000 bytes are kept" in message
        assert "503" in message
        assert len(server.asked) == 1 + ATTEMPTS - 1
        assert part(entry).read_bytes() == BODY[:100_000]
        assert not zoo.cached(entry).exists()
        server.plan, server.asked = ["serve"], []
        assert fetch(entry).path.read_bytes() == BODY
        assert server.asked == ["bytes=100000-"]
        assert not part(entry).exists()


@pytest.mark.parametrize("plan", [["break"], 20 * ["break", "crumb"]], ids=["the same", "more and less"])
def test_a_server_that_breaks_off_for_ever_without_ranges_ends(plan):
    with serving(*plan, ranges=False) as (server, entry):
        assert "kept" in failed(entry)
        assert len(server.asked) == ATTEMPTS


@pytest.mark.parametrize(("step", "kept"), [("stall", 100_000), ("silent", 0)])
def test_a_server_that_stalls_is_one_error_and_what_came_is_kept(step, kept):
    with serving(step) as (server, entry):
        message = failed(entry)
        assert "said nothing for 0.3 seconds" in message
        assert f"{kept:,} bytes are kept" in message
        assert part(entry).stat().st_size == kept
        assert not zoo.cached(entry).exists()
        server.plan = ["serve"]
        assert fetch(entry).path.read_bytes() == BODY


def test_altered_bytes_are_never_used():
    altered = bytearray(BODY)
    altered[12345] ^= 1
    with serving(body=bytes(altered)) as (_, entry):
        message = failed(entry)
        assert HASH in message
        assert hashlib.sha256(altered).hexdigest() in message
        assert not zoo.cached(entry).exists()
        assert not part(entry).exists()


def test_an_altered_partial_file_is_not_gone_on_from_for_ever():
    with serving() as (_, entry):
        part(entry).parent.mkdir()
        part(entry).write_bytes(b"x" * 1000)
        assert HASH in failed(entry)
        assert fetch(entry).path.read_bytes() == BODY


@pytest.mark.parametrize(("step", "words"), [("serve", "offers 300,001 bytes"), ("unsized", "more than 300,000 bytes")])
def test_no_more_bytes_are_taken_than_the_file_has(step, words):
    with serving(step, body=BODY + b"!") as (_, entry):
        assert words in failed(entry)
        assert not zoo.cached(entry).exists()


def test_of_a_file_without_a_known_size_no_more_is_taken_than_is_sensible():
    with serving() as (_, entry):
        assert "more than 200,000 bytes" in failed(entry._replace(bytes=None), unsized=200_000)
        assert part(entry).stat().st_size == 0


def test_another_page_does_not_cost_what_came():
    with serving(body=b"<html>please log in</html>", ranges=False) as (_, entry):
        part(entry).parent.mkdir()
        part(entry).write_bytes(BODY[:1000])
        assert "another file" in failed(entry)
        assert part(entry).read_bytes() == BODY[:1000]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(("there", "ok"), [(BODY, True), (BODY + b"!", False)], ids=["whole", "too long"])
def test_a_partial_file_that_is_complete(sized, there, ok):
    with serving() as (server, entry):
        entry = entry if sized else entry._replace(bytes=None)
        part(entry).parent.mkdir()
        part(entry).write_bytes(there)
        assert fetch(entry).path.read_bytes() == BODY
        assert server.asked == ([] if ok and sized else ["bytes=300000-"] if ok else ["bytes=300001-", None])


def test_a_size_that_the_server_does_not_tell():
    with serving("unsized") as (_, entry):
        assert fetch(entry).path.read_bytes() == BODY


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_is_not_there_is_said_at_once(status):
    with serving(status) as (server, entry):
        assert str(status) in failed(entry)
        assert len(server.asked) == 1


def test_no_server_at_all():
    with serving() as (_, entry):
        pass
    assert "cannot be reached" in failed(entry)
    assert "http" in failed(entry, UsageError, url="file:///etc/passwd")


def test_a_wrong_file_in_the_cache_is_neither_used_nor_touched():
    with serving() as (server, entry):
        zoo.cached(entry).parent.mkdir()
        zoo.cached(entry).write_bytes(b"mine")
        message = failed(entry, ModelError)
        assert str(zoo.cached(entry)) in message
        assert "--again" in message
        assert zoo.cached(entry).read_bytes() == b"mine"
        assert server.asked == []
        server.plan = [404]
        failed(entry, again=True)
        assert zoo.cached(entry).read_bytes() == b"mine"  # until there is something better
        server.plan = ["serve"]
        assert fetch(entry, again=True).path.read_bytes() == BODY


def test_a_mirror_is_held_to_the_same_hash(cache):
    with serving() as (server, entry):
        mirror, entry = entry.url + "?mirror", entry._replace(url="http://127.0.0.1:9/tiny.pth")
        assert fetch(entry, url=mirror).path == cache / "tiny.pth"
        server.body = BODY[::-1]
        assert HASH in failed(entry, url=mirror, again=True)


def test_of_a_short_hash_the_first_pull_records_the_rest():
    with serving() as (server, entry):
        entry = entry._replace(sha256=HASH[:8], bytes=None)
        fetch(entry)
        assert json.loads(zoo.recorded(entry).read_text()) == {"url": entry.url, "sha256": HASH}
        zoo.recorded(entry).write_text(json.dumps({"sha256": HASH[:8] + 56 * "0"}))
        assert HASH in failed(entry, ModelError)
        assert HASH in failed(entry, again=True)
        for text in ("{}", "no JSON", "[]", json.dumps({"sha256": 64 * "0"})):
            zoo.recorded(entry).write_text(text)
            assert f"{zoo.recorded(entry)}: no record" in failed(entry, ModelError)
        zoo.recorded(entry).unlink()
        assert fetch(entry).sha256 == HASH
        assert zoo.expected(entry) == HASH
        server.body = BODY[:-1]
        assert HASH[:8] in failed(entry, again=True)


def test_a_full_disk_is_one_line(monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    with serving() as (_, entry):
        part(entry).parent.mkdir()
        monkeypatch.setattr("squeezenet.zoo.pull.append_regular", lambda path: Full(path, "ab"))
        assert "disk is full" in failed(entry)


@pytest.mark.parametrize("step", ["drip", "drip the head"])
def test_a_server_that_drips_is_one_error_and_what_came_is_kept(step):
    with serving(step) as (server, entry):
        begun = time.monotonic()
        message = failed(entry)
        assert time.monotonic() - begun < 3
        assert ("bytes a second, less than 1,000" if step == "drip" else "said nothing for 0.3 seconds") in message
        kept = part(entry).stat().st_size
        assert f"{kept:,} bytes are kept" in message
        assert (kept > 0) == (step == "drip")
        server.done.set()
        server.plan = ["serve"]
        assert fetch(entry).path.read_bytes() == BODY


@pytest.mark.parametrize("suffix", ["", ".part", ".lock", ".json"])
def test_a_pipe_in_the_cache_is_one_error(suffix):
    with serving() as (_, entry):
        path = zoo.cached(entry).with_name(entry.file + suffix)
        path.parent.mkdir()
        os.mkfifo(path)
        message = failed(entry._replace(sha256=HASH[:8]), OSError)
        assert str(path) in message
    assert not zoo.is_cached(entry)


def test_another_pull_that_hangs_is_not_waited_for():
    import fcntl

    with serving() as (_, entry):
        zoo.cache_folder().mkdir()
        lock = zoo.cached(entry).with_name(entry.file + ".lock")
        with lock.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert str(lock) in failed(entry, patience=0.2)
        assert fetch(entry).fetched


def test_a_cache_that_cannot_be_written_to(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SQUEEZENET_CACHE", str(tmp_path / "file" / "cache"))
    with serving() as (_, entry):
        assert "set SQUEEZENET_CACHE" in failed(entry)


def test_without_a_home_folder_one_line_says_what_to_set(monkeypatch, capsys):
    monkeypatch.delenv("SQUEEZENET_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user whom nobody knows
    assert main(["pull", "alexnet"]) == 1
    assert "SQUEEZENET_CACHE" in capsys.readouterr().err
    assert main(["models"]) == 0
    assert zoo.find("alexnet") == Path("alexnet")


def test_a_servers_words_cannot_move_the_cursor(monkeypatch, capsys):
    with serving(404) as (server, entry):
        server.reason = "\x1b[2Kno\x07"
        monkeypatch.setitem(PUBLISHED, "squeezenet1_1", entry._replace(name="squeezenet1_1"))
        assert main(["pull", "squeezenet1_1"]) == 1
        err = capsys.readouterr().err
        assert r"404 \x1b[2Kno\x07" in err
        assert err.count("\n") == 1


def test_two_pulls_at_once_fetch_once():
    with serving("break", "serve") as (server, entry):
        got = []
        threads = [threading.Thread(target=lambda: got.append(fetch(entry))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(one.fetched for one in got) == [False, False, False, True]
        assert len(server.asked) == 2
        assert zoo.cached(entry).read_bytes() == BODY


def test_progress_is_for_terminals(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    with serving() as (_, entry):
        fetch(entry)
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr(sys, "stderr", Terminal())
        fetch(entry, again=True)
        assert "of 0.3 MB" in sys.stderr.getvalue()
        assert sys.stderr.getvalue().endswith("\r\033[K")


def test_the_verb(monkeypatch, capsys, cache):
    def said(*arguments):
        code = main([*arguments, "--json"])
        out, err = capsys.readouterr()
        return (json.loads(out), err) if code == 0 else (code, err)

    with serving() as (server, entry):
        monkeypatch.setitem(PUBLISHED, "squeezenet1_1", entry._replace(name="squeezenet1_1"))
        path = str(cache / entry.file)
        known = {"name": "squeezenet1_1", "path": path, "bytes": len(BODY), "sha256": HASH}
        assert said("pull", "squeezenet1_1") == ({**known, "fetched": True}, "")
        assert said("pull", "squeezenet1_1") == ({**known, "fetched": False}, "")
        assert main(["pull", "squeezenet1_1"]) == 0
        assert "nothing was fetched" in capsys.readouterr().out
        server.plan = [404]
        code, line = said("pull", "squeezenet1_1", "--again")
        assert code == 1
        assert line.count("\n") == 1
    assert main(["pull", "resnet50"]) == 2


def test_a_pulled_name_is_a_model_everywhere(monkeypatch, tmp_path, capsys):
    import torch

    from squeezenet.formats import load_model
    from squeezenet.models import create_seeded

    with pytest.raises(ModelError, match="squeezenet pull squeezenet1_1"):
        load_model("squeezenet1_1")
    module = create_seeded("squeezenet1_1", 0)
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    with serving(body=buffer.getvalue()) as (_, entry):
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        entry = entry._replace(name="squeezenet1_1", sha256=digest, bytes=len(buffer.getvalue()))
        monkeypatch.setitem(PUBLISHED, "squeezenet1_1", entry)
        fetch(entry)
    weight = module.state_dict()["features.0.weight"].numpy()
    model = load_model("squeezenet1_1")
    assert np.array_equal(model.weights["features.0"].weight.values(), weight)
    assert model.preparation.crop == 224
    assert len(model.labels) == 1000
    assert main(["inspect", "squeezenet1_1", "--json"]) == 0
    inspected = json.loads(capsys.readouterr().out)
    assert inspected["bytes"] == entry.bytes
    assert inspected["input"] == [3, 224, 224]
    zoo.cached(entry).write_bytes(b"something else")
    with pytest.raises(ModelError, match="squeezenet pull squeezenet1_1 --again"):
        load_model("squeezenet1_1")
