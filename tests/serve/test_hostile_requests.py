"""Clients that are slow, malformed or many: none keeps others from being answered."""

import re
import socket
from contextlib import ExitStack

import pytest

pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("prometheus_client", reason="the extra [serve] is not installed")

from squeezenet.serve.body import named_images
from squeezenet.serve.gate import Refused
from support.serving import received, serving, until

CLASSIFY = b"POST /v1/models/digits/classify HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def served():
    with serving("digits", head_seconds=0.5, body_seconds=0.5, connections=8) as server:
        yield server


@pytest.fixture(autouse=True)
def still_answers(served):
    yield
    until(lambda: served.ask("GET", "/healthz")[0] == 200)
    until(lambda: served.service.bodies.held == 0)
    assert served.service.workers.gate.taken == 0


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        CLASSIFY + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        CLASSIFY + b"Content-Length: -1\r\n\r\n",
        CLASSIFY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        CLASSIFY + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n",
        CLASSIFY + b"Transfer-Encoding: gzip\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 10_000,
    ],
)
def test_a_malformed_request_ends_the_connection(served, data):
    answer = served.raw(data)
    assert not answer or answer.split()[1] in (b"400", b"404", b"501"), answer[:100]


def test_ten_thousand_headers_are_refused(served):
    answer = served.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 10_000 + b"\r\n")
    assert not answer or answer.split()[1] in (b"400", b"431")
    few = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"a: b\r\n" * 150 + b"\r\n"
    assert served.raw(few).split()[1] == b"431"


@pytest.mark.parametrize("begun", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\na: "])
def test_a_head_that_does_not_arrive_ends_the_connection(served, begun):
    assert served.raw(begun) == b""


def test_a_second_head_that_does_not_arrive_ends_the_connection(served):
    answer = served.raw(b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /heal")
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "body", [b"Content-Length: 1000\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_a_body_that_does_not_arrive_is_answered_with_408(served, body):
    answer = served.raw(CLASSIFY + body)
    assert answer.split()[1] == b"408"
    assert b"connection: close" in answer.lower()


def test_a_refused_body_that_does_not_arrive_ends_the_connection(served):
    answer = served.raw(CLASSIFY.replace(b"digits", b"none") + b"Content-Length: 1000\r\n\r\nabc")
    assert answer.split()[1] == b"404"


def test_a_client_that_trickles_its_head_loses_its_connection(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
        connection.settimeout(0.1)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(50):
            try:
                connection.sendall(b"a: b\r\n")
                assert connection.recv(100) == b""
                break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("the connection is still open")


def test_one_client_cannot_have_all_connections(served):
    with ExitStack() as stack:
        mine = [stack.enter_context(socket.create_connection(("127.0.0.1", served.port), 5)) for _ in range(5)]
        answer = received(mine[-1])
        assert answer.split()[1] == b"503"
        assert b"Retry-After: 1" in answer


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"GET /healthz/live HTTP/1.0\r\n\r\n", [b"200"]),
        (b"GET /healthz/live HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n", [b"200"]),
        (b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", [b"200"]),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1,0-1,0-1\r\n\r\n", [b"200"]),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", [b"200"]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [b"404", b"400"]),
        (b"CONNECT evil.org:443 HTTP/1.1\r\nHost: evil.org\r\n\r\n", [b"421"]),
        (b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40, [b"200"] * 40),
    ],
)
def test_an_odd_request_is_answered_and_its_connection_ends(served, data, statuses):
    assert re.findall(rb"HTTP/1\.1 (\d+) ", served.raw(data)) == statuses


def test_a_body_in_chunks_without_end_loses_its_connection(served):
    refused = CLASSIFY.replace(b"digits", b"none")
    for head in (CLASSIFY, refused):
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")

            def ended(connection=connection):
                try:
                    connection.sendall(b"1\r\na\r\n" * 100)
                except ConnectionError:
                    return True
                return False

            until(ended)


def test_a_large_head_of_a_part_is_refused_at_once():
    """A search in 8 MB of it took seconds, in which nobody else was answered."""
    body = b'--x\r\nContent-Disposition: form-data; name="a"' + b"; " * 2**14 + b"\r\n\r\nGIF\r\n--x--\r\n"
    with pytest.raises(Refused, match="a part has no head, or one of more than 16,384 bytes"):
        named_images(body, "multipart/form-data; boundary=x", 2)


def test_a_client_that_does_not_read_its_answers_loses_its_connection():
    with serving("digits", write_seconds=0.3) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.2)
        connection.connect(("127.0.0.1", served.port))
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"

        def lost():
            try:
                connection.sendall(request * 50)
            except TimeoutError:
                return False
            except ConnectionError:
                return True
            return False

        until(lost)
        assert served.ask("GET", "/healthz")[0] == 200
