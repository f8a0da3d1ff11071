"""The update client: downloads, self-test, trial, return to the model before, a program that runs meanwhile."""

import errno
import os
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")

from squeezenet import zoo
from squeezenet.errors import DownloadError, FleetError, NotEnrolled, UpdateRefused, UsageError
from squeezenet.fleet import Watched, client, golden, local, repository
from squeezenet.fleet.disk import Disk
from squeezenet.fleet.fetch import Http
from squeezenet.fleet.state import State, Trusted, decode, encode, load, save
from squeezenet.runtime.classifier import Classifier
from squeezenet.sqz import delta_file
from support.commands import python
from support.fleet import NOW, Files, copied, enrolled, new_publisher, publish, serving, small_model


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A publisher with one release, and a device that runs it."""
    base = tmp_path_factory.mktemp("client")
    folder = new_publisher(base / "birds", small_model(0))
    client.update(enrolled(base / "car", folder), mirror=Files(folder), now=NOW)
    return base


@pytest.fixture
def folder(start, tmp_path):
    return copied(start / "birds", tmp_path / "birds")


@pytest.fixture
def device(start, tmp_path):
    return copied(start / "car", tmp_path / "car")


@pytest.fixture(autouse=True)
def no_proxy_and_no_pause(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(client, "PAUSE", 0.001)


def update(device, folder, **options):
    return client.update(device, mirror=Files(folder), now=NOW, **options)


def files(device):
    return {path.name for path in device.iterdir()}


def test_an_update_tells_what_it_does(folder, device):
    publish(folder, small_model(3))
    events = []
    got = update(device, folder, on_event=events.append)
    assert (got.release, got.before, got.updated, got.trial) == (2, 1, True, False)
    assert got.metadata_bytes < 2500
    assert got.model_bytes < 200  # a delta
    assert [event.kind for event in events] == ["checked", "download", "rebuilt", "written", "tested", "switched"]
    assert files(device) == {"lock", "slot.a.sqz", "slot.b.sqz", "state.0", "state.1"}


def broken(after):
    """A server that closes the connection after so many bytes."""

    def answer(request):
        request.send_response(200)
        request.send_header("Content-Length", "17986")
        request.end_headers()
        request.wfile.write(small_model(0)[:after])

    return answer


def test_a_download_is_resumed(folder, tmp_path):
    """Where it broke off, in another process if need be; and from the beginning where the kept bytes are damaged."""
    car = enrolled(tmp_path / "new", folder)
    with serving(folder / "public") as server:
        mirror = Http(server.url)
        (path,) = [f"targets/{each.name}" for each in (folder / "public/targets").glob("*.1.sqz")]
        server.lies[path] = broken(10_000)

        def refuse(request):
            request.send_error(503)

        lies = iter([broken(10_000), refuse, refuse, refuse, refuse, refuse])
        server.lies[path] = lambda request: next(lies)(request)
        with pytest.raises(DownloadError, match=r"503.*; 10,000 of 17,986 bytes are kept"):
            client.update(car, mirror=mirror, now=NOW)
        server.lies.clear()
        damaged = copied(car, tmp_path / "damaged")
        events = []
        got = client.update(car, events.append, mirror=mirror, now=NOW)
        assert (got.release, got.model_bytes) == (1, 7_986)
        assert "resumed" in [event.kind for event in events]
        assert (path, "bytes=10000-") in server.asked
        (damaged / "download").write_bytes(bytes(10_000))
        assert client.update(damaged, mirror=mirror, now=NOW).model_bytes == 7_986 + 17_986


def test_a_server_without_ranges_sends_the_whole_file_again(folder, tmp_path):
    car = enrolled(tmp_path / "new", folder)
    with serving(folder / "public") as server:
        (path,) = [f"targets/{each.name}" for each in (folder / "public/targets").glob("*.1.sqz")]
        lies = iter([broken(10_000), broken(17_986)])
        server.lies[path] = lambda request: next(lies)(request)
        assert client.update(car, mirror=Http(server.url), now=NOW).model_bytes == 10_000 + 17_986


def test_redirects_lead_to_web_servers_only(folder, device, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("{}")
    with serving(folder / "public") as server:

        def elsewhere(request):
            request.send_response(302)
            request.send_header("Location", f"ftp://127.0.0.1{secret}")
            request.end_headers()

        server.lies["metadata/timestamp.json"] = elsewhere
        with pytest.raises(DownloadError, match="the server answers 302"):
            client.update(device, mirror=Http(server.url), now=NOW)


def test_redirects_in_a_circle_are_left(folder, device):
    with serving(folder / "public") as server:

        def here(request):
            request.send_response(302)
            request.send_header("Location", f"{server.url}metadata/timestamp.json")
            request.end_headers()

        server.lies["metadata/timestamp.json"] = here
        with pytest.raises(DownloadError, match="the server answers 302") as caught:
            client.update(device, mirror=Http(server.url), now=NOW)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://a/", "file:///etc/passwd", "a.org", ""])
def test_other_addresses_are_refused(folder, tmp_path, url):
    with pytest.raises(UsageError, match="only http and https"):
        enrolled(tmp_path / "new", folder, url=url)
    assert not (tmp_path / "new").exists()


def test_a_release_that_fails_its_self_test_is_refused_for_ever(folder, device):
    """Its file is right, but this device computes other logits than the publisher."""
    got = publish(folder, small_model(3))
    changed = repository.load(folder)
    changed.targets.signed.targets["2.sqz"].unrecognized_fields["custom"]["golden"] = "0123456789abcdef"
    repository.signed(changed, NOW)
    told = r"release 2 failed its self-test on this device \(its answers differ.*\); release 1 stays"
    with pytest.raises(FleetError, match=told):
        update(device, folder)
    status = local.status(device, NOW)
    assert (status.release, status.intact, status.refused) == (1, True, (2,))
    assert update(device, folder).model_bytes == 0
    publish(folder, small_model(6))
    assert update(device, folder).release == 3
    assert got.record.number == 2


def test_the_self_test_notices_one_wrong_level():
    expected = golden.golden(small_model(0), 4)
    assert golden.fault(small_model(0), expected) == ""
    assert golden.fault(small_model(1), expected)
    assert "magic" in golden.fault(b"nothing", expected)
    assert golden.logits_hash(Classifier(small_model(0)), 4) != golden.logits_hash(Classifier(small_model(0)), 5)


def test_the_self_test_is_that_of_every_version():
    """A published release must pass it with later versions of squeezenet, too."""
    model = Classifier((zoo.HERE / "digits.sqz").read_bytes())
    assert golden.logits_hash(model, 1) == "79f589dce9edc5ab"


def test_a_model_of_the_enrolment_gets_its_number_and_its_deltas(folder, tmp_path):
    publish(folder, small_model(3))
    car = enrolled(tmp_path / "new", folder, factory=small_model(0))
    assert (local.status(car, NOW).release, local.status(car, NOW).intact) == (0, True)
    same = client.update(enrolled(tmp_path / "same", folder, factory=small_model(3)), mirror=Files(folder), now=NOW)
    assert (same.release, same.updated, same.model_bytes) == (2, False, 0)
    assert Watched(car).release == 0
    got = update(car, folder)
    assert (got.release, got.before) == (2, 0)
    assert got.model_bytes < 200
    assert local.rollback(car, NOW).release == 1
    with pytest.raises(UsageError, match="belongs to the device car-1"):
        enrolled(car, folder)


def test_a_damaged_model_is_fetched_again(folder, device):
    """Meanwhile the other slot runs, if it can."""
    publish(folder, small_model(3))
    update(device, folder)
    (device / "slot.b.sqz").write_bytes(b"rotten")
    assert not local.status(device, NOW).intact
    assert Watched(device).release == 1
    assert update(device, folder).release == 2
    assert local.status(device, NOW).intact
    for name in ("slot.a.sqz", "slot.b.sqz"):
        (device / name).write_bytes(b"rotten")
    with pytest.raises(FleetError, match="the models in both slots are damaged; squeezenet fleet update"):
        Watched(device)
    assert update(device, folder).model_bytes == len(small_model(3))
    assert Watched(device).release == 2


@pytest.mark.skipif(not delta_file.HAS_ENGINE, reason="the C engine was not built here")
def test_a_device_without_numpy_applies_a_delta(folder, device):
    publish(folder, small_model(3))
    code = """
import sys
sys.modules["numpy"] = None
from datetime import datetime
from pathlib import Path
from squeezenet.fleet import client
from squeezenet.fleet.fetch import Http
got = client.update(Path(sys.argv[1]), mirror=Http(sys.argv[2]), now=datetime.fromisoformat(sys.argv[3]))
print(got.release, got.model_bytes < 200)
"""
    with serving(folder / "public") as server:
        assert python(code, str(device), server.url, NOW.isoformat()) == "2 True\n"


def test_rollback_is_possible_within_what_the_publisher_offers(folder, device):
    with pytest.raises(FleetError, match="holds no model before this one"):
        local.rollback(device, NOW)
    publish(folder, small_model(3))
    update(device, folder)
    with pytest.raises(UpdateRefused, match="the list of releases has expired"):
        local.rollback(device, NOW + timedelta(days=181))
    assert local.rollback(device, NOW).release == 1
    assert update(device, folder).release == 1  # release 2 is not installed again
    assert local.status(device, NOW).previous is None
    with pytest.raises(UpdateRefused, match="release 2 was left before, so it is not installed again"):
        local.rollback(device, NOW)
    publish(folder, small_model(6))
    publish(folder, small_model(9))
    assert update(device, folder).release == 4
    with pytest.raises(UpdateRefused, match="release 1 is not offered by the publisher any more"):
        local.rollback(device, NOW)


def test_a_model_on_trial_is_confirmed_or_left(folder, device):
    publish(folder, small_model(3))
    assert update(device, folder, trial=True).trial
    publish(folder, small_model(6))
    events = []
    assert update(device, folder, on_event=events.append).release == 2
    assert events[-1].kind == "waiting"
    assert [Watched(device).release for _ in range(5)] == [2, 2, 2, 1, 1]
    assert update(device, folder, trial=True).release == 3
    program = Watched(device)
    program.confirm()
    program.confirm()
    assert [Watched(device).release for _ in range(5)] == [3] * 5


def test_without_another_model_the_one_on_trial_stays(folder, device):
    publish(folder, small_model(3))
    update(device, folder, trial=True)
    (device / "slot.a.sqz").unlink()
    assert [Watched(device).release for _ in range(5)] == [2] * 5


def test_a_running_program_changes_models_without_losing_a_request(folder, device):
    program = Watched(device, seconds=0.0)
    picture = golden.picture(1)
    expected = {tuple(Classifier(small_model(number)).classify(picture)) for number in (0, 2, 4, 6, 8)}
    faults, answers, over = [], [], threading.Event()

    def ask():
        while not over.is_set():
            try:
                answers.append(tuple(program.classify(picture)))
            except BaseException as error:
                faults.append(error)
            time.sleep(0.002)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in (2, 4, 6, 8):
        publish(folder, small_model(number))
        update(device, folder)
    last = tuple(Classifier(small_model(8)).classify(picture))
    since = len(answers)
    while last not in answers[since:] and not faults:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert not faults
    assert set(answers) <= expected
    assert (program.release, program.fault) == (5, "")


def test_a_program_keeps_its_model_when_the_folder_is_lost(device):
    program = Watched(device, seconds=0.0)
    for path in device.iterdir():
        path.unlink()
    assert len(program.classify(golden.picture(1), top=1)) == 1
    assert "is not enrolled" in program.fault


def test_a_program_needs_neither_numpy_nor_the_packages_of_the_extra(device):
    code = """
import sys
sys.modules.update(dict.fromkeys(["numpy", "tuf", "securesystemslib", "urllib3", "urllib.request", "http.client"]))
from squeezenet.fleet import Watched
print(Watched(sys.argv[1]).release)
"""
    assert python(code, str(device)) == "1\n"


def test_one_process_at_a_time(folder, device, monkeypatch):
    monkeypatch.setattr(local, "PATIENCE", 0.1)
    with local.alone(Disk(device)), pytest.raises(FleetError, match="another process is changing it"):
        update(device, folder)
    assert update(device, folder).release == 1


def test_a_full_disk_leaves_the_old_model(folder, device):
    publish(folder, small_model(3))

    class Full(Disk):
        def append(self, name, data):
            if name.startswith("slot"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            super().append(name, data)

    with pytest.raises(OSError, match="No space left"):
        client.update(Full(device), mirror=Files(folder), now=NOW)
    assert Watched(device).release == 1
    assert update(device, folder).release == 2


def test_a_device_without_a_model_has_nothing_to_confirm(folder, tmp_path):
    car = enrolled(tmp_path / "new", folder)
    for work in (local.confirm, local.rollback):
        with pytest.raises(FleetError, match="has no model yet; squeezenet fleet update"):
            work(car)


def test_a_folder_of_something_else(tmp_path):
    for work in (local.status, local.rollback, local.confirm, client.update, Watched):
        with pytest.raises(NotEnrolled, match="is not enrolled; squeezenet fleet enrol"):
            work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_state_is_stored_twice(tmp_path):
    disk, state = Disk(tmp_path), State("car-1", "stable", "http://a/", trusted=Trusted(root="{}"))
    for number in range(1, 4):
        state = save(disk, replace(state, attempts=number))
        assert load(disk) == state
    assert decode(encode(state)) == state
    newest = tmp_path / "state.1"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert load(disk).attempts == 2
    (tmp_path / "state.0").write_bytes(b"")
    with pytest.raises(FleetError, match="both copies of the state are damaged"):
        load(disk)


def test_a_list_of_releases_of_a_later_version_is_refused(folder, device):
    """Signed by the publisher, but with fields that this version does not understand."""
    changed = repository.load(folder)
    changed.targets.signed.targets["1.sqz"].unrecognized_fields["custom"] = {"rings": [1, 2]}
    repository.signed(changed, NOW)
    with pytest.raises(UpdateRefused, match="update squeezenet on this device"):
        update(device, folder)
    assert Watched(device).release == 1
