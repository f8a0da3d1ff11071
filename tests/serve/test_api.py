"""The HTTP API over a real connection: answers, limits, hosts and origins, and the metrics."""

import gc
import io
import socket
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("prometheus_client", reason="the extra [serve] is not installed")

from squeezenet import load, zoo
from squeezenet.runtime.classifier import Classifier
from support.commands import picture
from support.serving import form, serving, until


@pytest.fixture(scope="module")
def served():
    with serving(
        "digits", "ten=cifar10-small", origins=["https://my.org"], body_bytes=200_000, pixels=10_000
    ) as server:
        yield server


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = picture(tmp_path_factory.mktemp("images") / "a.png", size=(20, 20))
    with open(path, "rb") as file:
        return file.read()


def test_an_answer_is_that_of_the_command_classify(served, png, tmp_path, said):
    path = tmp_path / "a.png"
    path.write_bytes(png)
    wanted = said("classify", path, "--model", "digits", "--top", 3)
    status, answer = served.classify(png, query="?top=3")
    assert status == 200
    assert answer.pop("milliseconds") >= 0
    assert list(wanted) == ["model", "outputs", "image", "predictions", "milliseconds"]
    assert answer == {**{name: wanted[name] for name in answer}, "image": "image"}


def test_several_images_get_an_answer_each_and_an_unreadable_one_an_error(served, png):
    body, kind = form(("a.png", png), ("b%22.txt", b"no image"), ("c.png", png))
    status, answer = served.classify(body, kind=kind)
    assert status == 200
    assert answer["failed"] == 1
    assert [result["image"] for result in answer["results"]] == ["a.png", "b%22.txt", "c.png"]
    assert answer["results"][1]["error"].startswith("b%22.txt: not an image")
    best = load("digits").classify(png)[0]
    assert answer["results"][2]["predictions"][0] == best._asdict()
    body, kind = form(("a.png", png))
    assert served.classify(body, kind=kind)[1]["image"] == "a.png"


def test_models_are_listed_with_their_cards(served):
    status, _, answer = served.ask("GET", "/v1/models")
    assert status == 200
    assert [model["name"] for model in answer["models"]] == ["digits", "ten"]
    assert answer["models"][1]["card"] == zoo.card("cifar10-small")
    labels = served.ask("GET", "/v1/models/digits")[2]["labels"]
    assert labels == [*load("digits").labels]
    assert served.ask("GET", "/v1/models/birds")[0] == 404


@pytest.mark.parametrize(
    ("body", "query", "kind", "status"),
    [
        (b"", "", "image/png", 400),
        (b"no image", "", "image/png", 422),
        (b"x", "?top=0", "image/png", 400),
        (b"x", "?top=1001", "image/png", 400),
        (b"x", "?top=%C2%B2", "image/png", 400),
        (b"x", "", "text/plain", 415),
        (b"x", "", "application/x-www-form-urlencoded", 415),
        (b"x", "", "multipart/form-data", 400),
        (b"x", "", "multipart/form-data; boundary=b", 400),
        (b"--b\r\n\r\n", "", "multipart/form-data; boundary=b", 400),
        (b"--b\r\nno head--b--", "", "multipart/form-data; boundary=b", 400),
        (b"--b\r\n\r\nx" * 18 + b"\r\n--b--", "", "multipart/form-data; boundary=b", 422),
        (b"x" * 200_001, "", "image/png", 413),
    ],
)
def test_a_wrong_request_is_refused_with_one_line(served, body, query, kind, status):
    got, answer = served.classify(body, query=query, kind=kind)
    assert got == status, answer
    assert list(answer) == ["error"]
    assert "\n" not in answer["error"]


def test_more_images_than_allowed_are_refused(served, png):
    body, kind = form(*[("a.png", png)] * 17)
    assert served.classify(body, kind=kind) == (413, {"error": "more than 16 images in one request"})


def test_a_body_without_length_is_refused_once_it_is_too_long(served):
    def pieces():
        for _ in range(300):
            yield b"x" * 1000

    assert served.classify(pieces())[0] == 413
    assert served.service.bodies.held == 0


def test_a_compressed_body_is_refused(served):
    assert served.ask("POST", "/v1/models/digits/classify", b"x", Content_Encoding="gzip")[0] == 415


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(served):
    bomb = io.BytesIO()
    Image.new("1", (2_000, 2_000)).save(bomb, "PNG")
    status, answer = served.classify(bomb.getvalue())
    assert status == 422
    assert "2000 x 2000 pixels are over the limit of 10,000" in answer["error"]


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1)])
def test_an_image_of_one_row_or_column_is_classified(served, size, tmp_path):
    picture(tmp_path / "a.png", size=size)
    assert served.classify((tmp_path / "a.png").read_bytes())[0] == 200


def test_a_truncated_image_is_refused(served, png):
    assert served.classify(png[:-40])[0] == 422


@pytest.mark.parametrize("host", ["evil.org", "evil.org:8000", "127.0.0.1.evil.org", "[::1", "localhost:no", ""])
def test_other_host_names_are_not_answered(served, host):
    assert served.ask("GET", "/healthz", Host=host)[0] in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7"])
def test_addresses_and_localhost_are_answered(served, host):
    assert served.ask("GET", "/healthz", Host=host)[0] == 200


def test_pages_of_other_origins_may_not_send_images(served, png):
    def asked(origin):
        return served.ask("POST", "/v1/models/digits/classify", png, Origin=origin)

    for origin in ("https://evil.org", "null", "http://[", f"https://127.0.0.1:{served.port + 1}"):
        status, headers, _ = asked(origin)
        assert status == 403
        assert "Access-Control-Allow-Origin" not in headers
    assert asked(f"http://127.0.0.1:{served.port}")[0] == 200
    status, headers, _ = asked("https://my.org")
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, "https://my.org")


def test_no_origin_is_allowed_by_default(png):
    with serving("digits") as served:
        answer = served.ask("OPTIONS", "/v1/models", Origin="https://my.org", Access_Control_Request_Method="GET")
        assert answer[0] == 405
        assert "Access-Control-Allow-Origin" not in served.ask("GET", "/v1/models", Origin="https://my.org")[1]


def test_the_page_may_run_no_script_of_others(served):
    status, headers, text = served.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "<script>" not in text
    assert served.ask("GET", "/page.js")[1].get_content_type() == "text/javascript"
    for path in ("/page", "/../settings.py", "/%2e%2e/settings.py", "//etc/passwd"):
        assert served.ask("GET", path)[0] == 404


def test_another_page_can_be_served(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "engine.wasm").write_bytes(b"\0asm")
    with serving("digits", page=tmp_path) as served:
        assert served.ask("GET", "/")[2] == "mine"
        assert served.ask("GET", "/sub/engine.wasm")[1].get_content_type() == "application/wasm"


def test_metrics_count_requests_and_images(served, png):
    served.classify(png)
    text = served.ask("GET", "/metrics")[2]
    assert 'squeezenet_requests_total{route="/v1/models/{name}/classify",status="200"}' in text
    assert 'squeezenet_images_total{model="digits",outcome="classified"}' in text
    assert "squeezenet_places_taken 0.0" in text


def test_the_description_names_every_route_and_status(served):
    status, _, answer = served.ask("GET", "/openapi.json")
    assert status == 200
    routes = {route.path for route in served.service.routes} - {"/{path:path}"}
    assert routes == set(answer["paths"])
    responses = answer["paths"]["/v1/models/{name}/classify"]["post"]["responses"]
    assert {"200", "413", "429", "503"} <= set(responses)


@pytest.fixture
def held(monkeypatch):
    """Classifying waits until this event is set."""
    go_on = threading.Event()
    classify = Classifier.classify

    def waiting(self, *arguments):
        assert go_on.wait(30)
        return classify(self, *arguments)

    monkeypatch.setattr(Classifier, "classify", waiting)
    yield go_on
    go_on.set()


def test_a_full_queue_sends_clients_away_and_empties(held, png):
    with serving("digits", workers=1, queue=3) as served, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(served.classify, png) for _ in range(2)]  # 2 of 4 places are the share of a client
        until(lambda: served.service.workers.gate.taken == 2)
        status, headers, answer = served.ask("POST", "/v1/models/digits/classify", png)
        assert (status, answer["error"]) == (
            429, "this client has 2 images in the queue, which is its share; try again later",
        )  # fmt: skip
        assert int(headers["Retry-After"]) >= 1
        held.set()
        assert [done.result()[0] for done in asked] == [200, 200]
        until(lambda: served.service.workers.gate.taken == 0)
        assert served.classify(png)[0] == 200


def test_clients_behind_a_proxy_have_shares_of_their_own(held, png):
    proxied = {"workers": 1, "queue": 3, "proxies": ["127.0.0.1"]}
    with serving("digits", **proxied) as served, ThreadPoolExecutor(8) as pool:

        def asked(client):
            return served.ask("POST", "/v1/models/digits/classify", png, X_Forwarded_For=client)[0]

        first = [pool.submit(asked, "192.0.2.1") for _ in range(2)]
        until(lambda: served.service.workers.gate.taken == 2)
        assert asked("192.0.2.1") == 429
        other = pool.submit(asked, "192.0.2.2")
        until(lambda: served.service.workers.gate.taken == 3)
        held.set()
        assert [done.result() for done in (*first, other)] == [200] * 3


def test_a_client_cannot_fill_the_memory_for_requests(png):
    head = b"POST /v1/models/digits/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with serving("digits", body_bytes=1000, held_bytes=3000) as served, ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            connection.sendall(head + b"x" * 700)
        until(lambda: served.service.bodies.held == 1400)
        assert served.classify(b"x" * 900)[0] == 429
        assert served.service.bodies.held == 1400
    assert served.service.bodies.held == 0


def test_a_request_has_no_more_images_than_a_client_has_places(png):
    body, kind = form(*[("a.png", png)] * 3)
    with serving("digits", workers=1, queue=3) as served:
        assert served.classify(body, kind=kind) == (413, {"error": "more than 2 images in one request"})


def test_a_client_that_leaves_gives_its_place_back(held, png, caplog):
    with serving("digits", workers=1, queue=3) as served, ThreadPoolExecutor(8) as pool:
        first = pool.submit(served.classify, png)
        until(lambda: served.service.workers.gate.taken == 1)
        head = f"POST /v1/models/digits/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(png)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(head.encode() + png)
            until(lambda: served.service.workers.gate.taken == 2)
        until(lambda: served.service.workers.gate.taken == 1)
        held.set()
        assert first.result()[0] == 200
    gc.collect()
    assert not caplog.records


def test_the_image_of_a_client_that_has_left_is_not_kept(held, png):
    size = 4_000_000
    head = f"POST /v1/models/digits/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()
    with serving("digits", workers=1, queue=3) as served, ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.classify, png)
        until(lambda: served.service.workers.gate.taken == 1)
        tracemalloc.start()
        for _ in range(4):
            with socket.create_connection(("127.0.0.1", served.port)) as connection:
                connection.sendall(head + bytes(size))
                until(lambda: served.service.workers.gate.taken == 2)
            until(lambda: served.service.workers.gate.taken == 1)
        until(lambda: tracemalloc.get_traced_memory()[0] < size)
        tracemalloc.stop()
        held.set()
        assert first.result()[0] == 200


def test_an_image_that_waits_too_long_is_given_up(held, png):
    with serving("digits", workers=1, queue=3, seconds=0.2) as served:
        status, headers, answer = served.ask("POST", "/v1/models/digits/classify", png)
        assert (status, answer["error"]) == (503, "no answer within 0.2 seconds; try again later")
        assert int(headers["Retry-After"]) >= 1
        held.set()


def test_a_stop_answers_what_runs_and_refuses_what_comes(held, png):
    with serving("digits", workers=1, queue=3) as served, ThreadPoolExecutor(8) as pool:
        running = [pool.submit(served.classify, png) for _ in range(2)]
        until(lambda: served.service.workers.gate.taken == 2)
        served.do(served.service.stop)
        until(lambda: served.ask("GET", "/healthz")[0] == 503)
        assert served.ask("GET", "/healthz/live")[0] == 200
        status, headers, answer = served.ask("POST", "/v1/models/digits/classify", png)
        assert (status, answer) == (503, {"error": "the server is stopping"})
        assert headers["Retry-After"]
        served.do(served.runner.stop)
        held.set()
        assert [done.result()[0] for done in running] == [200, 200]


def test_a_fault_while_a_model_is_reloaded_is_not_the_end_of_reloading(monkeypatch):
    with serving("digits") as served:
        model = served.service.models["digits"]
        tried = []

        def refresh(force):
            tried.append(force)
            raise ValueError("a fault of ours")

        monkeypatch.setattr(model, "refresh", refresh)
        for count in (1, 2):
            served.do(served.runner.reload)
            until(lambda count=count: len(served.said) >= count)
        assert served.said[0] == "digits: the old version stays: ValueError: a fault of ours"
