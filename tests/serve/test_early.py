"""While the queue is full, a request is refused by its head alone: as the application would, and nothing else."""

import asyncio
import socket
import time
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

h11 = pytest.importorskip("h11", reason="the extra [serve] is not installed")
pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("prometheus_client", reason="the extra [serve] is not installed")

from squeezenet.serve.early import Early, usual_head
from squeezenet.serve.gate import Gate
from squeezenet.serve.settings import HEAD_BYTES, Limits
from support.serving import serving, until

PATH = b"/v1/models/digits/classify?top=3"
HEADERS = (b"Host: localhost", b"Content-Type: image/png", b"Content-Length: 5")


def request(path=PATH, headers=HEADERS, body=b"image", line=b"POST %s HTTP/1.1"):
    return b"\r\n".join([line % path if b"%s" in line else line, *headers, b"", body])


def of_h11(data):
    """Path, headers, bytes of the whole request and of its body, as h11 reads them."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.method == b"POST"
    left, body = connection.next_event(), 0
    while isinstance(left, h11.Data):
        body += len(left.data)
        left = connection.next_event()
    assert isinstance(left, h11.EndOfMessage)
    assert connection.their_state is h11.DONE  # it may be followed by another request
    headers = {name.decode(): value.decode() for name, value in event.headers}
    return event.target.decode(), headers, len(data) - len(connection.trailing_data[0]), body


FIELDS = st.sampled_from(
    [
        *HEADERS, b"content-length: 0", b"Content-Length: 05", b"Content-Length: +5", b"Content-Length: 5, 5", b"X:",
        b"Host: other", b"Transfer-Encoding: chunked", b"transfer-encoding:chunked", b"Expect: 100-continue", b" a: b",
        b"Connection: close", b"Connection: Keep-Alive", b"Origin: http://a", b"Upgrade: h2c", b"a\tb: c", b"b :c",
        b"a_b: c", b"X:  \xe9", b"X: a\0b", b"X: a\tb", b"X: \t a", b"X: a  ", b"", b"X: a\rb", b"X: a\nb",
    ]
)  # fmt: skip


@given(
    st.lists(FIELDS, max_size=6).flatmap(lambda more: st.permutations([*HEADERS, *more])),
    st.sampled_from([b"POST /a HTTP/1.1", b"POST /a HTTP/1.0", b"POST  /a HTTP/1.1", b"POST a HTTP/1.1"]),
)
def test_a_head_is_read_as_h11_reads_it_or_not_at_all(headers, line):
    data = request(headers=headers, line=line)
    head = usual_head(b"before" + data, 6)
    if head is not None:
        assert (head.path, head.headers, head.size + head.body, head.body) == of_h11(data)


def test_the_usual_head_is_read():
    assert usual_head(request()) == (
        PATH.decode(), {"host": "localhost", "content-type": "image/png", "content-length": "5"},
        len(request()) - 5, 5,
    )  # fmt: skip
    assert usual_head(request(headers=[*HEADERS, b"connection: Keep-Alive"])) is not None
    assert usual_head(request()[:50]) is None


def test_spaces_in_a_head_take_no_time():
    """While the event loop reads a head, it does nothing else."""
    data = request(headers=[*HEADERS, b"X: a" + b" " * (HEAD_BYTES - 200) + b"b  "])
    begun = time.process_time()
    assert usual_head(data).headers["x"].endswith(" b")
    assert time.process_time() - begun < 0.03  # 0.15 s where the time grew with the square of the spaces


@contextmanager
def full(**limits):
    """A server whose places are all taken."""
    with serving("digits", **limits) as served:
        served.service.workers.gate.taken = served.service.limits.places
        yield served
        served.service.workers.gate.taken = 0


@pytest.fixture(scope="module")
def busy():
    with full(body_seconds=0.3, head_seconds=0.5, body_bytes=100_000) as served:
        yield served


def answers(connection, count):
    """Status, headers and body of so many answers."""
    found = []
    file = connection.makefile("rb")
    for _ in range(count):
        status = int(file.readline().split()[1])
        headers = dict(line.strip().lower().split(b": ", 1) for line in iter(file.readline, b"\r\n"))
        found.append((status, headers, file.read(int(headers[b"content-length"]))))
    return found


def asked(served, *requests, count=None):
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        for data in requests:
            connection.sendall(data)
        return answers(connection, len(requests) if count is None else count)


def counted(served):
    return served.service.metrics.requests.labels("/v1/models/{name}/classify", "429")._value.get()


def test_the_answer_is_that_of_the_application(busy, monkeypatch):
    before = counted(busy)
    ((status, headers, body),) = asked(busy, request())
    monkeypatch.setattr(Early, "refusal", lambda *_: None)
    ((status_of_application, wanted, body_of_application),) = asked(busy, request())
    assert headers.pop(b"date")
    assert wanted.pop(b"date")
    assert (status, headers, body) == (status_of_application, wanted, body_of_application)
    assert (status, body) == (429, b'{"error":"the queue is full; try again later"}')
    assert counted(busy) == before + 2


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"path": b"/v1/models/none/classify"}, 404),
        ({"path": b"/v1/models/digits/classify?top=0"}, 429),
        ({"path": b"/healthz"}, 405),
        ({"headers": [b"Host: evil.org", *HEADERS[1:]]}, 421),
        ({"headers": [*HEADERS, b"Origin: https://evil.org"]}, 403),
        ({"headers": [HEADERS[0], b"Content-Length: 100001"]}, 429),
        ({"headers": [*HEADERS, *[b"X%d: a" % number for number in range(150)]]}, 431),
        ({"headers": [HEADERS[0], b"Transfer-Encoding: chunked"], "body": b"0\r\n\r\n"}, 429),
    ],
)
def test_other_requests_are_answered_as_ever(busy, changed, status):
    assert asked(busy, request(**changed))[0][0] == status


def test_bodies_of_refused_requests_are_skipped(busy):
    other = b"GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    large = request(headers=[*HEADERS[:2], b"Content-Length: 90000"], body=bytes(90_000))
    found = asked(busy, large + request() + other + request(), request()[:-2], b"ge" + other, count=6)
    assert [status for status, _, _ in found] == [429, 429, 200, 429, 429, 200]


@pytest.mark.parametrize("data", [request()[:-1], request()])
def test_a_connection_whose_request_was_refused_ends_in_time(busy, data):
    """Both while its body does not arrive, and while no other request does."""
    assert busy.raw(data).startswith(b"HTTP/1.1 429 ")


def test_a_client_that_does_not_read_refusals_loses_its_connection():
    with full(write_seconds=0.3) as served, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", served.port))
        until(lambda: served.runner._server.server_state.connections)
        (mine,) = served.runner._server.server_state.connections
        mine.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def lost():
            try:
                connection.sendall(request() * 10)
            except ConnectionError:
                return True
            return False

        until(lost)
        assert mine.transport.get_write_buffer_size() < 100_000
        assert served.ask("GET", "/healthz")[0] == 200


def test_requests_that_arrive_together_do_not_all_see_the_last_place():
    async def arriving():
        gate = Gate(4, 2)
        early = Early({"digits"}, (), Limits(), gate)
        first = [early.refusal("192.0.2.1", request(), 0) for _ in range(3)]
        other = early.refusal("192.0.2.2", request(), 0)
        await asyncio.sleep(0)
        return first, other, early.refusal("192.0.2.1", request(), 0)

    first, other, later = asyncio.run(arriving())
    assert [found is None for found in first] == [True, True, False]
    assert first[2][1] == len(request())
    assert other is None
    assert later is None


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(busy):
    with socket.create_connection(("127.0.0.1", busy.port), timeout=10) as connection:
        connection.sendall(request())
        answers(connection, 1)
        (mine,) = busy.runner._server.server_state.connections
        theirs = mine.transport.get_extra_info("socket")
        assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
