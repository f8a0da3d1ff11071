"""The publisher: keys and their replacement, channels, staged roll-out, rules."""

import json
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")

from tuf.api.exceptions import DownloadHTTPError

from squeezenet import sqz
from squeezenet.errors import FleetError, HeldBack, ModelError, UpdateRefused, UsageError
from squeezenet.fleet import client, publisher, repository
from squeezenet.fleet.publisher import Accuracy, Plan
from squeezenet.fleet.releases import listed, place, reached, wanted
from squeezenet.fleet.repository import Days, Keys
from support import ROOT
from support.fleet import NOW, Files, copied, enrolled, new_publisher, publish, small_model


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return new_publisher(tmp_path_factory.mktemp("publisher") / "birds", small_model(0))


@pytest.fixture
def folder(start, tmp_path):
    return copied(start, tmp_path / "birds")


def releases(folder):
    found = repository.load(folder)
    number = found.targets.signed.version
    return listed((found.public / f"metadata/{number}.targets.json").read_text())


def runs(folder, device, **options):
    return client.update(device, mirror=Files(folder), now=NOW, **options).release


def test_private_keys_can_be_read_by_their_owner_only(folder):
    keys = sorted((folder / "keys").iterdir())
    assert [path.name for path in keys] == ["online-1.pem", "root-1.pem", "root-2.pem", "root-3.pem", "targets-1.pem"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    assert stat.S_IMODE((folder / "keys").stat().st_mode) == 0o700
    served = [path for path in (folder / "public").rglob("*") if path.is_file()]
    assert not any(b"PRIVATE" in path.read_bytes() for path in served)


def test_a_check_without_news_costs_few_bytes(folder, tmp_path):
    device = enrolled(tmp_path / "car", folder)
    assert runs(folder, device) == 1
    mirror = Files(folder)
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(device.iterdir())]
    got = client.update(device, mirror=mirror, now=NOW)
    assert mirror.asked == ["metadata/2.root.json", "metadata/timestamp.json"]
    assert got.metadata_bytes < 450
    assert got.model_bytes == 0
    assert before == [(path.name, path.stat().st_mtime_ns) for path in sorted(device.iterdir())]  # nothing is written


def test_a_percentage_of_the_devices_is_reached_and_more_later(folder):
    """The same devices at each step, others first for another release, and as many as the percentage says."""
    devices = [f"car-{number}" for number in range(4000)]
    tenth = {device for device in devices if reached(7, device, 10)}
    half = {device for device in devices if reached(7, device, 50)}
    assert tenth < half
    assert 340 < len(tenth) < 460
    assert 1900 < len(half) < 2100
    assert len(tenth & {device for device in devices if reached(8, device, 10)}) < 80
    assert not any(reached(7, device, 0) for device in devices)
    assert all(reached(7, device, 100) for device in devices)


def test_a_staged_release_reaches_the_chosen_devices_only(folder, tmp_path):
    early = next(f"car-{number}" for number in range(100) if reached(2, f"car-{number}", 20))
    late, named = [f"car-{number}" for number in range(100) if not reached(2, f"car-{number}", 20)][:2]
    cars = {name: enrolled(tmp_path / name, folder, device=name) for name in (early, late, named)}
    publish(folder, small_model(3), Plan(percent=20, devices=(named,)))
    assert [runs(folder, cars[name]) for name in (early, late, named)] == [2, 1, 2]
    assert named not in (folder / "public/metadata/3.targets.json").read_text()  # no names of devices
    publisher.rollout(repository.load(folder), 2, Plan(percent=0), NOW)
    assert runs(folder, cars[early]) == 2  # what is installed stays
    publisher.rollout(repository.load(folder), 2, Plan(percent=100), NOW)
    assert runs(folder, cars[late]) == 2


def test_channels(folder, tmp_path):
    beta = enrolled(tmp_path / "beta", folder, device="car-b", channel="beta")
    stable = enrolled(tmp_path / "stable", folder, device="car-s")
    publish(folder, small_model(3), Plan("beta"))
    with pytest.raises(FleetError, match="channel nightly has no release"):
        runs(folder, enrolled(tmp_path / "nightly", folder, device="car-n", channel="nightly"))
    assert (runs(folder, beta), runs(folder, stable)) == (2, 1)
    publisher.rollout(repository.load(folder), 2, Plan("stable"), NOW)
    assert runs(folder, stable) == 2
    assert releases(folder)[2].channels == {"beta": 100, "stable": 100}


def test_a_withdrawn_release_is_replaced_by_the_one_before(folder, tmp_path):
    publish(folder, small_model(3))
    device, trial = (enrolled(tmp_path / name, folder, device=name) for name in ("car", "trial"))
    assert runs(folder, device) == 2
    publisher.withdraw(repository.load(folder), 2, "sees no wrens", NOW)
    assert runs(folder, device) == 1
    assert runs(folder, trial) == 1
    publish(folder, small_model(6))
    assert runs(folder, trial, trial=True) == 3
    publisher.withdraw(repository.load(folder), 3, "", NOW)
    assert runs(folder, trial) == 1  # during a trial, too
    assert [record.withdrawn for record in repository.load(folder).ledger.releases] == [
        "",
        "sees no wrens",
        "no reason given",
    ]
    for number, told in ((2, "is not offered any more"), (9, "has no release 9")):
        with pytest.raises(UsageError, match=told):
            publisher.withdraw(repository.load(folder), number, "", NOW)


def test_the_list_stays_short_and_everybody_finds_a_release_in_it(folder):
    """All from the newest complete release on, and the one before; deltas to the newest only."""
    for number in range(1, 7):
        publish(folder, small_model(number), Plan(percent=100 if number < 4 else 10))
    found = releases(folder)
    assert sorted(found) == [3, 4, 5, 6, 7]
    assert {number: sorted(release.deltas) for number, release in found.items() if release.deltas} == {7: [3, 4, 5, 6]}
    assert wanted(found, "car", "stable", ()) is not None


def test_the_number_of_deltas_is_a_setting(folder):
    publish(folder, small_model(1), deltas=0)
    for number, most, expected in ((2, 0, []), (3, 1, [3]), (4, 6, [1, 2, 3, 4])):
        assert sorted(publish(folder, small_model(number), deltas=most).deltas) == expected


def measured(**top1):
    """A function that measures, in place of a data set: top-1 by the number of changed levels."""
    by_model = {small_model(int(name[1:])): value for name, value in top1.items()}
    return lambda data: Accuracy(by_model[data], 1000, "photos")


def test_a_worse_release_is_held_back(folder):
    measure = measured(m0=90.0, m3=89.5, m6=90.0, m9=89.0)
    with pytest.raises(HeldBack, match=r"top-1 is 89.50%, that of release 1 is 90.00% \(1,000 images of photos\)"):
        publish(folder, small_model(3), measure=measure)
    assert sorted(releases(folder)) == [1]  # nothing was written
    publish(folder, small_model(6), measure=measure)
    got = publish(folder, small_model(3), measure=measure, tolerance=0.5)
    assert (got.record.number, got.faults) == (3, ())
    got = publish(folder, small_model(9), Plan("beta"), measure=measure)  # the first of its channel
    with pytest.raises(HeldBack, match=r"release 4: held back: top-1 is 89\.00%"):
        publisher.rollout(repository.load(folder), 4, Plan("stable"), NOW)
    publisher.rollout(repository.load(folder), 4, Plan("stable"), NOW, override="it is three times faster")
    assert repository.load(folder).ledger.releases[-1].override == "it is three times faster"


def test_other_labels_hold_a_release_back(folder):
    model = sqz.decode(small_model(3))
    data = sqz.encode(replace(model, labels=tuple("abcdefghij")))
    with pytest.raises(HeldBack, match="its labels are not those of release 1"):
        publish(folder, data)
    got = publish(folder, data, override="letters now")
    assert got.faults == ("its labels are not those of release 1",)
    publish(folder, small_model(6), Plan("beta"))
    with pytest.raises(HeldBack, match="release 3: held back: its labels are not those of release 2"):
        publisher.rollout(repository.load(folder), 3, Plan("stable"), NOW)


def test_what_cannot_be_published(folder):
    with pytest.raises(ModelError, match="is a network of floats"):
        publish(folder, (ROOT / "tests/golden/tiny_v2.sqz").read_bytes())
    with pytest.raises(UsageError, match=r"is release 1; offer it .* rollout"):
        publish(folder, small_model(0))
    with pytest.raises(ModelError):
        publish(folder, b"\x89SQZ nothing")


def test_signing_needs_the_keys(folder):
    for name in ("targets-1", "online-1"):
        hidden = (folder / f"keys/{name}.pem").rename(folder / name)
        with pytest.raises(FleetError, match=f"signing as (targets|snapshot) needs 1 of the keys {name}; 0 of them"):
            publish(folder, small_model(3))
        hidden.rename(folder / f"keys/{name}.pem")
    assert publish(folder, small_model(3)).record.number == 2
    (folder / "keys/online-1.pem").write_text("nothing")
    with pytest.raises(FleetError, match="is not a private key"):
        publish(folder, small_model(6))


def test_a_new_folder_is_made_after_a_password_was_typed_wrong(tmp_path, monkeypatch):
    words = ["apple", "apple", "pear", "peer", "apple", "apple", "pear", "pear"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("squeezenet.fleet.keys.getpass", lambda _: words.pop(0))
    folder = tmp_path / "birds"
    with pytest.raises(UsageError, match="root-2: the password is empty, or was not typed the same way twice"):
        repository.create(folder, Keys(2, 2), Keys(1, 1), Days(), NOW, password=True)
    assert not folder.exists()
    assert len(repository.create(folder, Keys(2, 2), Keys(1, 1), Days(), NOW, password=True).keys) == 4


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_root_key_whose_password_openssl_has_hardened_still_signs(tmp_path, monkeypatch):
    """The command of docs/updating.md."""
    monkeypatch.setenv("SQUEEZENET_KEY_PASSWORD", "quince")
    folder = repository.create(tmp_path / "birds", Keys(1, 1), Keys(1, 1), Days(), NOW, password=True).folder
    key = folder / "keys/root-1.pem"
    command = ["openssl", "pkcs8", "-topk8", "-scrypt", "-in", key, "-out", tmp_path / "root-1.pem"]
    words = ["-passin", "env:SQUEEZENET_KEY_PASSWORD", "-passout", "env:SQUEEZENET_KEY_PASSWORD"]
    subprocess.run([*command, *words], check=True, capture_output=True)
    (tmp_path / "root-1.pem").replace(key)
    repository.renew(repository.load(folder), NOW, root=True)
    assert (folder / "public/metadata/2.root.json").exists()


def test_root_keys_with_a_password(tmp_path, monkeypatch):
    """It is asked for twice when a key is made, and once when the key signs; programs take it from a variable."""
    asked, words = [], ["apple", "apple", "pear", "pear", "apple", "pear", "plum", "plum"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("squeezenet.fleet.keys.getpass", lambda told: asked.append(told) or words.pop(0))
    folder = repository.create(tmp_path / "birds", Keys(2, 2), Keys(1, 1), Days(), NOW, password=True).folder
    assert b"ENCRYPTED" in (folder / "keys/root-1.pem").read_bytes()
    assert b"ENCRYPTED" not in (folder / "keys/online-1.pem").read_bytes()
    assert asked[:2] == ["password of root-1: ", "password of root-1, again: "]
    publish(folder, small_model(0))
    assert len(asked) == 4  # publishing needs no root key
    assert repository.revoke(repository.load(folder), "online-1", NOW) is None
    assert asked[4:] == ["password of root-1: ", "password of root-2: "]
    words[1] = "grape"
    with pytest.raises(UsageError, match="root-3: the password is empty, or was not typed the same way twice"):
        repository.revoke(repository.load(folder), "root-2", NOW)
    monkeypatch.setenv("SQUEEZENET_KEY_PASSWORD", "quince")
    with pytest.raises(FleetError, match="or the password is wrong"):
        repository.renew(repository.load(folder), NOW, root=True)
    monkeypatch.delenv("SQUEEZENET_KEY_PASSWORD")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(FleetError, match="root-1: its password is needed; set SQUEEZENET_KEY_PASSWORD"):
        repository.renew(repository.load(folder), NOW, root=True)
    (folder / "keys/root-1.pem").write_bytes((folder / "keys/online-2.pem").read_bytes())
    with pytest.raises(FleetError, match="is another key than root-1"):
        repository.renew(repository.load(folder), NOW, root=True)


def test_two_of_three_targets_keys(tmp_path):
    made = repository.create(tmp_path / "birds", Keys(1, 1), Keys(3, 2), Days(), NOW)
    (made.folder / "keys/targets-3.pem").unlink()
    publish(made.folder, small_model(0))
    assert runs(made.folder, enrolled(tmp_path / "car", made.folder)) == 1
    (made.folder / "keys/targets-2.pem").unlink()
    with pytest.raises(FleetError, match="needs 2 of the keys targets-1, targets-2, targets-3; 1 of them"):
        publish(made.folder, small_model(3))
    with pytest.raises(UsageError, match="--targets-threshold 4: must be from 1 to 3, the number of targets keys"):
        repository.create(tmp_path / "other", Keys(1, 1), Keys(3, 4), Days(), NOW)


def test_a_root_key_after_the_other(folder, tmp_path):
    """The root keys lie with three people. Each signs on a copy of the folder; the second signature publishes."""
    device = enrolled(tmp_path / "car", folder)
    away = tmp_path / "away"
    away.mkdir()
    for number in (1, 2, 3):
        (folder / f"keys/root-{number}.pem").rename(away / f"root-{number}.pem")
    staged = repository.revoke(repository.load(folder), "root-2", NOW)
    assert staged == folder / "staged/2.root.json"
    assert repository.missing(repository.load(folder), staged) == "2 more of root-1, root-2, root-3"
    assert runs(folder, device) == 1  # nothing has changed for devices
    with pytest.raises(FleetError, match="waits for signatures"):
        repository.revoke(repository.load(folder), "online-1", NOW)
    (away / "root-1.pem").rename(folder / "keys/root-1.pem")
    assert repository.sign(folder, NOW) == staged
    (folder / "keys/root-1.pem").rename(away / "root-1.pem")
    (away / "root-3.pem").rename(folder / "keys/root-3.pem")
    assert repository.sign(folder, NOW) is None
    assert "root-2" not in repository.load(folder).keys
    publish(folder, small_model(3))
    assert runs(folder, device) == 2
    with pytest.raises(UsageError, match="no root waits"):
        repository.sign(folder, NOW)
    with pytest.raises(UsageError, match="root-2: no such key; the keys are online-1, root-1"):
        repository.revoke(repository.load(folder), "root-2", NOW)


def test_many_replaced_keys_are_followed(folder, tmp_path):
    """Also by a device that saw none of them; the file of a replaced key is removed."""
    device = enrolled(tmp_path / "car", folder)
    for name in ("online-1", "targets-1", "root-1", "root-2"):
        assert repository.revoke(repository.load(folder), name, NOW) is None
        assert not (folder / f"keys/{name}.pem").exists()
    publish(folder, small_model(3))
    assert runs(folder, device) == 2
    found = repository.load(folder)
    assert found.root.signed.version == 5
    assert {key.keyid for key in found.root.signed.keys.values()} == set(found.keys.values())


def cut_after(monkeypatch, ending):
    """The power is cut before a file with this ending is written."""
    write = repository._write

    def cut(path, *others):
        if path.name.endswith(ending):
            raise KeyboardInterrupt
        write(path, *others)

    monkeypatch.setattr(repository, "_write", cut)


def test_a_publication_that_was_cut_is_repeated(folder, tmp_path, monkeypatch):
    device = enrolled(tmp_path / "car", folder)
    with monkeypatch.context() as patch:
        cut_after(patch, "timestamp.json")
        with pytest.raises(KeyboardInterrupt):
            publish(folder, small_model(3))
    assert runs(folder, device) == 1
    cut = folder / "public/metadata/3.targets.json"
    before = cut.read_bytes()
    assert publish(folder, small_model(3)).record.number == 3
    assert cut.read_bytes() == before  # no version number is signed twice
    assert runs(folder, device) == 3
    publish(folder, small_model(6))
    assert runs(folder, device) == 4


@pytest.mark.parametrize("ending", ["2.root.json", "3.targets.json", "3.snapshot.json", "timestamp.json"])
def test_a_replacement_of_keys_that_was_cut_is_completed(folder, tmp_path, monkeypatch, ending):
    device = enrolled(tmp_path / "car", folder)
    with monkeypatch.context() as patch:
        cut_after(patch, ending)
        with pytest.raises(KeyboardInterrupt):
            repository.revoke(repository.load(folder), "targets-1", NOW)
    if ending == "2.root.json":
        repository.revoke(repository.load(folder), "targets-1", NOW)
    else:
        repository.renew(repository.load(folder), NOW)
    assert runs(folder, device) == 1
    publish(folder, small_model(3))
    assert runs(folder, device) == 2
    assert "targets-1" not in repository.load(folder).keys


def test_renewal_keeps_devices_content(folder, tmp_path):
    device = enrolled(tmp_path / "car", folder)
    later = NOW + timedelta(days=20)
    with pytest.raises(UpdateRefused, match="timestamp metadata expired"):
        client.update(device, mirror=Files(folder), now=later)
    assert repository.renew(repository.load(folder), later) is None
    assert client.update(device, mirror=Files(folder), now=later).release == 1
    found = repository.load(folder)
    assert (found.targets.signed.version, found.snapshot.signed.version) == (2, 3)
    much_later = NOW + timedelta(days=100)
    repository.renew(found, much_later)
    assert repository.load(folder).targets.signed.version == 3  # its time was half over
    assert repository.renew(repository.load(folder), much_later, root=True) is None
    assert repository.load(folder).root.signed.expires == much_later + timedelta(days=730)
    assert client.update(device, mirror=Files(folder), now=much_later).release == 1


def test_the_client_of_python_tuf_takes_what_we_publish(folder, tmp_path):
    """The repository is an ordinary one of TUF."""
    from tuf.ngclient import FetcherInterface, Updater

    class Fetcher(FetcherInterface):
        def _fetch(self, url):
            data = Files(folder).get(url.removeprefix("http://a/"), 1 << 20)
            if data is None:
                raise DownloadHTTPError("no such file", 404)
            return iter([data])

    publish(folder, small_model(3))
    repository.revoke(repository.load(folder), "targets-1", NOW)
    moment = datetime.now(UTC)  # that client asks the clock
    repository.renew(repository.load(folder), moment, root=True)
    root = (folder / "public/metadata/1.root.json").read_bytes()
    (tmp_path / "metadata").mkdir()
    updater = Updater(str(tmp_path / "metadata"), "http://a/metadata/", str(tmp_path), "http://a/targets/", Fetcher(),
                      bootstrap=root)  # fmt: skip
    target = updater.get_targetinfo("2.sqz")
    assert Path(updater.download_target(target)).read_bytes() == small_model(3)
    assert target.custom["channels"] == {"stable": 10_000}


def test_a_model_that_was_removed_is_not_the_start_of_a_delta(folder):
    publish(folder, small_model(3))
    (old,) = (folder / "public/targets").glob("*.1.sqz")
    old.unlink()
    assert list(publish(folder, small_model(6)).deltas) == [2]


def test_a_folder_of_something_else(folder, tmp_path):
    with pytest.raises(UsageError, match="is not a publisher's folder"):
        repository.load(tmp_path)
    with pytest.raises(UsageError, match="is a publisher's folder already"):
        repository.create(folder, Keys(1, 1), Keys(1, 1), Days(), NOW)


def test_metadata_that_would_be_refused_are_not_written(folder):
    found = repository.load(folder)
    for number in range(4000):
        found.targets.signed.targets[f"{number + 5}.sqz"] = found.targets.signed.targets["1.sqz"]
    with pytest.raises(FleetError, match="more than the 262,144 that devices read"):
        repository.signed(found, NOW)


def test_places_are_those_of_every_version(folder):
    """The order of the devices must not change with a version of squeezenet."""
    assert place(12, "car-17") == "91bedf021c64ab1d"
    assert json.loads((folder / "fleet.json").read_text())["releases"][0]["number"] == 1
