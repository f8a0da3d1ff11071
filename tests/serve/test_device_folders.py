"""A server of the model in a device's folder, which the update client replaces."""

import pytest

pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
pytest.importorskip("prometheus_client", reason="the extra [serve] is not installed")
pytest.importorskip("tuf", reason="the extra [publish] is not installed")

from squeezenet.fleet import client
from support.commands import picture
from support.fleet import NOW, Files, enrolled, new_publisher, publish, small_model
from support.serving import serving, until


def test_an_update_of_a_device_is_served(tmp_path):
    folder = new_publisher(tmp_path / "birds", small_model(0))
    device = enrolled(tmp_path / "car", folder)
    client.update(device, mirror=Files(folder), now=NOW)
    with open(picture(tmp_path / "a.png"), "rb") as file:
        image = file.read()
    with serving(f"bird={device}") as served:
        assert served.ask("GET", "/v1/models/bird")[2]["release"] == 1
        before = served.ask("GET", "/healthz")[2]["models"]["bird"]["sha256"]
        publish(folder, small_model(20))
        client.update(device, mirror=Files(folder), now=NOW)
        until(lambda: served.ask("GET", "/v1/models/bird")[2]["release"] == 2)
        assert served.ask("GET", "/healthz")[2]["models"]["bird"]["sha256"] != before
        assert served.classify(image, "bird")[0] == 200
        assert [line[:5] for line in served.said] == ["bird:"]
