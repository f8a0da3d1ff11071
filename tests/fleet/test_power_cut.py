"""The power is cut at every write of the update client: a model always works, and the update is completed later."""

import random

import pytest

pytest.importorskip("tuf", reason="needs the extra [fleet]")
pytest.importorskip("cryptography", reason="needs the extra [publish]")

from squeezenet.errors import FleetError
from squeezenet.fleet import client, local
from squeezenet.fleet.state import load, model
from squeezenet.runtime.classifier import Classifier
from support.fleet import NOW, Files, new_publisher, publish, small_model
from support.power import MemoryDisk, PowerCut, every_cut

OLD, NEW, NEWEST = small_model(0), small_model(3), small_model(6)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A publisher with one release, the same with two, and a device in memory that runs release 1."""
    base = tmp_path_factory.mktemp("fleet")
    publisher = new_publisher(base / "publisher", OLD)
    root = (publisher / "public/metadata/1.root.json").read_bytes()
    (base / "device").mkdir()
    disk = MemoryDisk(base / "device")
    client.enrol(disk, "http://127.0.0.1:9/", root, "car-1")
    fresh = disk.image()
    client.update(disk, mirror=Files(publisher), now=NOW)
    publish(publisher, NEW)
    return Files(publisher), disk.folder, root, fresh, disk.image()


def update(disk, mirror):
    return client.update(disk, mirror=mirror, now=NOW)


def works(disk, *allowed):
    """The device has one of these models, whole, and it can be loaded."""
    _, data = model(disk, load(disk))
    assert data in allowed
    assert len(Classifier(data).labels) == 10
    return data


def completed(disk, mirror, expected=NEW):
    update(disk, mirror)
    assert works(disk, expected) == expected
    assert disk.size("download") == 0


def test_an_update(world):
    mirror, folder, _, _, start = world
    operations, images = every_cut(folder, start, lambda disk: update(disk, mirror))
    assert operations > 20
    for image in images:
        disk = MemoryDisk(folder, image)
        works(disk, OLD, NEW)
        completed(disk, mirror)


def test_the_first_install(world):
    """Of the whole file, in parts. Without a model until now, and with one from the enrolment."""
    mirror, folder, root, fresh, _ = world
    _, images = every_cut(folder, fresh, lambda disk: update(disk, mirror))
    for image in images:
        completed(MemoryDisk(folder, image), mirror)
    disk = MemoryDisk(folder)
    client.enrol(disk, "http://127.0.0.1:9/", root, "car-1", factory=NEWEST)
    _, images = every_cut(folder, disk.image(), lambda disk: update(disk, mirror))
    for image in images:
        disk = MemoryDisk(folder, image)
        works(disk, NEWEST, NEW)
        completed(disk, mirror)


def test_an_enrolment(world):
    """It is done, or it has not happened and can be repeated."""
    mirror, folder, root, *_ = world

    def enrol(disk):
        client.enrol(disk, "http://127.0.0.1:9/", root, "car-1", factory=OLD)

    _, images = every_cut(folder, (), enrol)
    for image in images:
        disk = MemoryDisk(folder, image)
        try:
            works(disk, OLD)
        except FleetError:
            enrol(disk)
        completed(disk, mirror)


def test_a_rollback_and_a_trial(world):
    mirror, folder, _, _, start = world
    disk = MemoryDisk(folder, start)
    client.update(disk, mirror=mirror, now=NOW, trial=True)
    on_trial = disk.image()
    local.confirm(disk)
    confirmed = disk.image()
    for image in (on_trial, confirmed):
        operations, images = every_cut(folder, image, lambda disk: local.rollback(disk, NOW))
        assert operations == 4
        for after in images:
            disk = MemoryDisk(folder, after)
            if works(disk, OLD, NEW) == NEW:
                local.rollback(disk, NOW)
            works(disk, OLD)
            update(disk, mirror)
            works(disk, OLD)  # the release that was left is not installed again
    for step in (local.confirm, local.started):
        _, images = every_cut(folder, on_trial, step)
        for after in images:
            disk = MemoryDisk(folder, after)
            works(disk, NEW)
            local.confirm(disk)
            assert not load(disk).trial


@pytest.mark.parametrize("seed", range(4))
def test_many_cuts_in_succession(world, seed):
    """Every restart is cut again, at a random operation, and finds a random one of the states that are possible."""
    mirror, folder, _, _, start = world
    chance, image = random.Random(seed), start
    for _ in range(60):
        disk = MemoryDisk(folder, image, chance.randrange(12), chance.random() < 0.5)
        try:
            update(disk, mirror)
        except PowerCut:
            pass
        except FleetError:  # its self-test was cut five times
            assert load(disk).refused == (2,)
            image = start
            continue
        image = chance.choice(list(disk.after_a_cut()))
        works(MemoryDisk(folder, image), OLD, NEW)


@pytest.mark.parametrize("damaged", ["state.0", "state.1", "slot.a.sqz", "slot.b.sqz"])
def test_any_one_file_may_rot(world, damaged):
    mirror, folder, _, _, start = world
    disk = MemoryDisk(folder, start)
    update(disk, mirror)
    files = dict(disk.image())
    data = bytearray(files[damaged])
    data[len(data) // 2] ^= 1
    disk = MemoryDisk(folder, tuple({**files, damaged: bytes(data)}.items()))
    works(disk, OLD, NEW)
    completed(disk, mirror)


def test_storage_that_lies_is_noticed(world):
    """What was written is read back before the device depends on it."""
    mirror, folder, _, _, start = world

    class Lying(MemoryDisk):
        def sync(self, name):
            super().sync(name)
            if name.startswith("slot"):
                self.now[name].now = self.now[name].now[:-1] + b"?"

    disk = Lying(folder, start)
    with pytest.raises(FleetError, match="replace the storage"):
        update(disk, mirror)
    works(disk, OLD)


def test_a_test_that_crashes_the_device_is_given_up(world, monkeypatch):
    """Five times at most."""
    mirror, folder, _, _, start = world

    def crash(*_):
        raise PowerCut

    monkeypatch.setattr("squeezenet.fleet.golden.fault", crash)
    disk = MemoryDisk(folder, start)
    for _ in range(5):
        with pytest.raises(PowerCut):
            update(disk, mirror)
        disk = MemoryDisk(folder, disk.image())
        works(disk, OLD)
    with pytest.raises(FleetError, match=r"release 2 failed its self-test on this device \(the device stopped 5 times"):
        update(disk, mirror)
    assert update(disk, mirror).release == 1
    assert load(disk).refused == (2,)
