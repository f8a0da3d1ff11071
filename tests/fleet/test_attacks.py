"""The attacks that The Update Framework names, on a hostile mirror. Each is refused in one line; the old model runs."""

import contextlib
import gzip
import json
import random
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")

from tuf.api.metadata import Metadata

from squeezenet.errors import DownloadError, FleetError, UpdateRefused, WrongClock
from squeezenet.fleet import client, local, repository
from squeezenet.fleet.fetch import Http
from support.fleet import NOW, Files, Server, copied, enrolled, new_publisher, publish, serving, small_model


@dataclass
class World:
    base: Path
    publisher: Path  # offers releases 1 and 2
    before: Path  # its folder when it offered only release 1
    device: Path  # runs release 1
    server: Server
    now: object = NOW

    def update(self, now=None):
        mirror = Http(self.server.url, silence=0.5, slowest=2000)
        return client.update(self.device, mirror=mirror, now=now or self.now)

    def target(self, name):
        (path,) = (self.publisher / "public/targets").glob(f"*.{name}")
        return f"targets/{path.name}"

    def serve(self, other):
        """The mirror serves the files of another publisher's folder."""
        self.server.public = other / "public"

    def stolen(self, *kinds):
        """A copy of the publisher's folder, as a thief of keys of these kinds has it."""
        thief = copied(self.publisher, self.base / "thief")
        for key in (thief / "keys").iterdir():
            if not key.name.startswith(kinds):
                key.unlink()
        return thief


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    base = tmp_path_factory.mktemp("attacks")
    publisher = new_publisher(base / "publisher", small_model(0))
    with serving(publisher / "public") as server:
        device = enrolled(base / "device", publisher)
        client.update(device, mirror=Http(server.url), now=NOW)
    copied(publisher, base / "before")
    publish(publisher, small_model(3))
    return base


@pytest.fixture
def world(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    publisher, before, device = (copied(prepared / name, tmp_path / name) for name in ("publisher", "before", "device"))
    with serving(publisher / "public") as server:
        yield World(tmp_path, publisher, before, device, server)


def endless(request):
    request.send_response(200)
    request.end_headers()
    with contextlib.suppress(OSError):
        while True:
            request.wfile.write(bytes(1 << 16))


def drip(world):
    def answer(request):
        request.send_response(200)
        request.end_headers()
        while not world.server.done.wait(0.1):
            request.wfile.write(b"{")
            request.wfile.flush()

    return answer


def mute(world):
    return lambda request: world.server.done.wait(20) and None


def compressed(data, end=b""):
    """An answer whose body is compressed with gzip, as many web servers do it."""

    def answer(request):
        body = gzip.compress(data) + end
        request.send_response(200)
        request.send_header("Content-Encoding", "gzip")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def public(folder, path):
    return (folder / "public" / path).read_bytes()


# Each attack prepares the mirror. -----------------------------------------------------------------------------------


def arbitrary_model(world):
    world.server.lies[world.target("1-2.sqzd")] = bytes(len(public(world.publisher, world.target("1-2.sqzd"))))


def altered_delta(world):
    path = world.target("1-2.sqzd")
    world.server.lies[path] = flipped(public(world.publisher, path))


def wrong_length_short(world):
    path = world.target("1-2.sqzd")
    world.server.lies[path] = public(world.publisher, path)[:-1]


def wrong_length_long(world):
    path = world.target("1-2.sqzd")
    world.server.lies[path] = public(world.publisher, path) + b"!"


def endless_model(world):
    world.server.lies[world.target("1-2.sqzd")] = endless


def endless_timestamp(world):
    world.server.lies["metadata/timestamp.json"] = endless


def endless_root(world):
    world.server.lies["metadata/2.root.json"] = endless


def compression_bomb(world):
    world.server.lies["metadata/timestamp.json"] = compressed(bytes(3_000_000))


def compression_with_a_tail(world):
    path = "metadata/timestamp.json"
    world.server.lies[path] = compressed(public(world.publisher, path), b"!")


def slow_model(world):
    world.server.lies[world.target("1-2.sqzd")] = drip(world)


def slow_timestamp(world):
    world.server.lies["metadata/timestamp.json"] = drip(world)


def mute_server(world):
    world.server.lies["metadata/timestamp.json"] = mute(world)


def arbitrary_metadata(world):
    world.server.lies["metadata/timestamp.json"] = b"[" * 4000


def freeze(world):
    world.now = NOW + timedelta(days=8)


def rollback_of_everything(world):
    world.update()
    local.rollback(world.device, NOW)  # so that release 1 runs, as in the other attacks
    world.serve(world.before)


def rollback_of_the_snapshot(world):
    """With the online key: a newer timestamp names the older snapshot, and this the older list of releases."""
    world.update()
    local.rollback(world.device, NOW)
    thief = world.stolen("online")
    stolen = repository.load(thief)
    stolen.snapshot.signed.meta["targets.json"] = repository.load(world.before).snapshot.signed.meta["targets.json"]
    repository.signed(stolen, NOW, targets=False)
    world.serve(thief)


def mix_and_match(world):
    """The newest timestamp, with the snapshot and the list of releases of another moment."""
    publish(world.publisher, small_model(6))
    world.server.lies["metadata/4.snapshot.json"] = public(world.publisher, "metadata/3.snapshot.json")


def mix_and_match_targets(world):
    publish(world.publisher, small_model(6))
    world.server.lies["metadata/4.targets.json"] = public(world.publisher, "metadata/3.targets.json")


def wrong_keys(world):
    world.serve(new_publisher(world.base / "other", small_model(9), small_model(12)))


def compromised_online_key(world):
    """The thief signs snapshot and timestamp, and lists a model of their own."""
    thief = world.stolen("online")
    evil = new_publisher(world.base / "evil", small_model(9), small_model(12))
    stolen, own = repository.load(thief), repository.load(evil)
    own.targets.signed.version = 9
    own.targets.signatures = stolen.targets.signatures
    path = thief / "public/metadata/9.targets.json"
    path.write_bytes(own.targets.to_bytes())
    stolen.snapshot.signed.meta["targets.json"] = repository._meta(own.targets)
    repository.signed(stolen, NOW, targets=False)
    shutil.copytree(evil / "public/targets", thief / "public/targets", dirs_exist_ok=True)
    world.serve(thief)


def too_few_root_keys(world):
    """One of three root keys was stolen; two are needed."""
    thief = world.stolen("root-1", "targets", "online")
    assert repository.revoke(repository.load(thief), "online-1", NOW) is not None
    shutil.copy(thief / "staged/2.root.json", thief / "public/metadata")
    world.serve(thief)


def a_root_that_is_left_out(world):
    """A chain of roots cannot be entered in the middle."""
    repository.revoke(repository.load(world.publisher), "online-1", NOW)
    repository.revoke(repository.load(world.publisher), "targets-1", NOW)
    world.server.lies["metadata/2.root.json"] = public(world.publisher, "metadata/3.root.json")


ATTACKS = {
    arbitrary_model: (UpdateRefused, "its bytes are not those that were signed"),
    altered_delta: (UpdateRefused, "its bytes are not those that were signed"),
    wrong_length_short: (UpdateRefused, "not the .* that were signed"),
    wrong_length_long: (UpdateRefused, "sends more than"),
    endless_model: (UpdateRefused, "sends more than"),
    endless_timestamp: (UpdateRefused, "sends more than the 4,096 bytes"),
    compression_bomb: (UpdateRefused, "sends more than the 4,096 bytes"),
    compression_with_a_tail: (UpdateRefused, "its gzip compression is damaged"),
    endless_root: (UpdateRefused, "sends more than the 65,536 bytes"),
    slow_model: (DownloadError, "bytes a second, less than"),
    slow_timestamp: (DownloadError, "bytes a second, less than"),
    mute_server: (DownloadError, "said nothing for 0.5 seconds"),
    arbitrary_metadata: (UpdateRefused, "timestamp metadata refused"),
    freeze: (UpdateRefused, "timestamp metadata expired at 2026-12-05 12:00 UTC.*holds updates back"),
    rollback_of_everything: (UpdateRefused, "timestamp metadata refused: New timestamp version 2 must be >= 3"),
    rollback_of_the_snapshot: (UpdateRefused, "snapshot metadata refused: Expected targets.json version"),
    mix_and_match: (UpdateRefused, "snapshot metadata refused"),
    mix_and_match_targets: (UpdateRefused, "targets metadata refused"),
    wrong_keys: (UpdateRefused, "timestamp metadata refused: timestamp was signed by 0/1 keys"),
    compromised_online_key: (UpdateRefused, "targets metadata refused: targets was signed by 0/1 keys"),
    too_few_root_keys: (UpdateRefused, "root metadata refused: root was signed by 1/2 keys"),
    a_root_that_is_left_out: (UpdateRefused, "root metadata refused"),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_refused_and_the_old_model_runs(world, attack):
    error, told = ATTACKS[attack]
    attack(world)
    with pytest.raises(error, match=told) as caught:
        world.update()
    assert "\n" not in str(caught.value)
    status = local.status(world.device, NOW)
    assert (status.release, status.intact) == (1, True)
    assert status.refused in ((), (2,))
    world.server.lies.clear()
    world.serve(world.publisher)
    if (world.base / "thief").exists():  # whoever has the online key can raise the version numbers
        repository.revoke(repository.load(world.publisher), "online-1", NOW)
    newest = max(record.number for record in repository.load(world.publisher).ledger.releases)
    # After the rollback that prepares two of the attacks, release 2 is not installed again.
    assert world.update(NOW).release == (1 if status.refused else newest)


def test_metadata_may_be_compressed_on_the_way(world):
    for name in ("timestamp.json", "3.snapshot.json", "3.targets.json"):
        data = public(world.publisher, f"metadata/{name}")
        assert len(gzip.compress(data)) < 0.75 * len(data)
        world.server.lies[f"metadata/{name}"] = compressed(data)
    assert world.update().release == 2


def test_a_fast_forward_is_recovered_from_by_a_new_key(world):
    """With the online key, a thief raises the version numbers so far that the publisher's are refused."""
    thief = world.stolen("online")
    stolen = repository.load(thief)
    stolen.timestamp.signed.version = stolen.snapshot.signed.version = 2**31 - 2
    repository.signed(stolen, NOW, targets=False)
    world.serve(thief)
    world.update()  # the signatures are right
    world.serve(world.publisher)
    with pytest.raises(UpdateRefused, match="New timestamp version 3 must be >= 2147483647"):
        world.update()
    assert repository.revoke(repository.load(world.publisher), "online-1", NOW) is None
    assert world.update().release == 2
    world.serve(thief)
    with pytest.raises(UpdateRefused, match="timestamp metadata refused: timestamp was signed by 0/1 keys"):
        world.update()


def test_a_fast_forward_of_the_list_of_releases_too(world):
    """With the targets key as well; its replacement brings a new online key."""
    thief = world.stolen("online", "targets")
    stolen = repository.load(thief)
    stolen.targets.signed.version = 2**31 - 2
    repository.signed(stolen, NOW)
    world.serve(thief)
    world.update()
    world.serve(world.publisher)
    with pytest.raises(UpdateRefused):
        world.update()
    assert repository.revoke(repository.load(world.publisher), "targets-1", NOW) is None
    publish(world.publisher, small_model(6))
    assert world.update().release == 3


def test_a_signed_delta_that_gives_another_file_is_not_used(world):
    """A mistake of the publisher: the whole file is fetched."""
    mistaken = repository.load(world.publisher)
    from squeezenet.fleet import publisher
    from squeezenet.sqz import delta

    publisher._add(mistaken, "1-2.sqzd", delta.make(small_model(0), small_model(9)))
    repository.signed(mistaken, NOW)
    assert world.update().release == 2
    assert [path for path, _ in world.server.asked if path.endswith(".2.sqz")]


@pytest.mark.parametrize("days", [-2, -400])
def test_a_clock_that_is_behind_is_said(world, days):
    with pytest.raises(WrongClock, match="set the clock"):
        world.update(NOW + timedelta(days=days))
    assert local.status(world.device, NOW + timedelta(days=days)).clock
    assert not local.status(world.device, NOW - timedelta(minutes=5)).clock
    assert world.update().release == 2


def test_a_root_that_nobody_signed_is_not_enrolled(world):
    root = json.loads(public(world.publisher, "metadata/1.root.json"))
    root["signatures"] = root["signatures"][:1]
    with pytest.raises(FleetError, match="root was signed by 1/2 keys"):
        client.enrol(world.base / "new", world.server.url, json.dumps(root).encode(), "car-2")
    assert Metadata.from_bytes(public(world.publisher, "metadata/1.root.json")).signed.version == 1


def test_signatures_are_checked_in_python_where_cryptography_is_missing(world):
    """As on a device with only the extra [fleet]."""
    import subprocess
    import sys

    code = """
import sys
sys.modules["cryptography"] = None
from datetime import datetime
from pathlib import Path
from squeezenet.fleet import client
from squeezenet.fleet.fetch import Http
print(client.update(Path(sys.argv[1]), mirror=Http(sys.argv[2]), now=datetime.fromisoformat(sys.argv[3])).release)
"""
    arguments = [str(world.device), world.server.url, NOW.isoformat()]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json"])
def test_damaged_metadata_are_refused_in_one_line(prepared, tmp_path, name):
    """Whatever a mirror does to one file: bytes changed, removed, repeated; parts of other files."""
    publisher, device = (
        copied(prepared / "publisher", tmp_path / "publisher"),
        copied(prepared / "device", tmp_path / "d"),
    )
    if name == "2.root.json":
        repository.revoke(repository.load(publisher), "root-1", NOW)
    path = publisher / "public/metadata" / name
    honest, other = path.read_bytes(), (publisher / "public/metadata/1.targets.json").read_bytes()
    chance = random.Random(name)
    said = []
    for _ in range(60):
        data, start = bytearray(honest), chance.randrange(len(honest))
        end = min(len(data), start + chance.randrange(1, 40))
        match chance.randrange(5):
            case 0:
                data[start] = chance.randrange(256)
            case 1:
                del data[start:end]
            case 2:
                data[start:start] = data[start:end]
            case 3:
                data[start:end] = other[start:end]
            case 4:
                data[start:end] = str(chance.choice([-1, 0, 2**63, 1e99, "null", "[]", "{}", '"\\ud800"'])).encode()
        path.write_bytes(data)
        work = copied(device, tmp_path / "work")
        try:
            assert client.update(work, mirror=Files(publisher), now=NOW).release == 2
        except FleetError as error:
            said.append(str(error))
        assert local.status(work, NOW).intact
        shutil.rmtree(work)
    assert len(said) > 40
    assert not any("\n" in line for line in said)
