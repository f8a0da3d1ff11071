"""The update client of a device: `enrol` and `update`. The actions that need no network are in `local.py`.

    >>> update(Path("model"), on_event=print).release                           # doctest: +SKIP
    12

The folder of a device has two slots: files with one model each. One slot holds the model in use. A new model is written
to the other one, read back, decoded and tested. Only then one write to the state makes the other slot the active one.
So after a power cut at any moment, the old or the new model works, and the next `update` continues where the last one
stopped.
"""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from squeezenet.errors import FleetError, SqueezeNetError, UpdateRefused, UsageError
from squeezenet.fleet import golden
from squeezenet.fleet.disk import Disk
from squeezenet.fleet.fetch import CHUNK, Broken, Http
from squeezenet.fleet.local import Outcome, alone, enrolled, reverted, with_refused
from squeezenet.fleet.releases import File, Release, listed, wanted
from squeezenet.fleet.state import DOWNLOAD, SLOTS, Slot, State, contents, load, model, save
from squeezenet.fleet.trust import check_root, refresh
from squeezenet.limits import FLEET_MODEL
from squeezenet.runtime.classifier import Classifier
from squeezenet.sqz import delta_file

TESTS = 5
"""How often the device may stop during the self-test of a release before it refuses the release."""
CONNECTIONS = 5
"""Connections in succession that break before `CHUNK` bytes have arrived; then `update` ends with an error."""
PAUSE = 0.5
"""Seconds before the next connection; they double each time."""
SYNC = 1 << 18
"""After so many bytes a download is synced to the disk: at most so many are fetched again after a power cut."""


@dataclass(frozen=True)
class Event:
    """A step of an update, for a log or a display."""

    kind: str  # checked, download, resumed, rebuilt, written, tested, switched, confirmed, refused, waiting
    text: str


class Mirror(Protocol):
    """Where files come from: `fetch.Http`."""

    def get(self, path: str, limit: int) -> bytes | None:
        """See `fetch.Http.get`."""

    def parts(self, path: str, start: int, limit: int) -> Iterator[tuple[int, bytes]]:
        """See `fetch.Http.parts`."""


Listener = Callable[[Event], None]


def enrol(
    disk: Disk | Path, url: str, root: bytes, device: str, channel: str = "stable", factory: bytes | None = None
) -> None:
    """Make the folder of a device. `root` is the root metadata of the publisher, from a source that is trusted.

    `factory` is a model that is used until the first update.
    """
    Http(url)  # refuses other addresses
    check_root(root)
    disk = disk if isinstance(disk, Disk) else Disk(disk)
    disk.folder.mkdir(parents=True, exist_ok=True)
    with alone(disk):
        with contextlib.suppress(FleetError):
            raise UsageError(
                f"{disk.folder}: belongs to the device {load(disk).device}; name another folder, or remove it"
            )
        state = State(device, channel, url if url.endswith("/") else f"{url}/", root.decode())
        if factory is not None:
            _check_model(factory)
            disk.put(SLOTS[0], factory)
            slot = Slot(0, hashlib.sha256(factory).hexdigest(), len(factory), None)
            state = replace(state.with_slot(0, slot), active=0)
        save(disk, state)


def update(
    disk: Disk | Path,
    on_event: Listener = lambda event: None,
    *,
    trial: bool = False,
    mirror: Mirror | None = None,
    now: datetime | None = None,
) -> Outcome:
    """Ask the publisher for a newer release, and install it if there is one.

    With `trial`, the program that uses the new model must confirm it (`Watched.confirm`); otherwise the device returns
    to the previous model after `STARTS` starts of the program. Without `trial`, a successful self-test is enough.

    Raises `DownloadError`, and `FleetError` with its subclasses. In all cases the model in use stays.
    """
    disk = enrolled(disk)
    with alone(disk):
        state = load(disk)
        first = state.running
        source = _Counted(mirror or Http(state.url))
        if state.candidate is not None:  # the power was cut during its self-test
            state = _tested_again(disk, state, trial, on_event)
        state = _refreshed(disk, state, source, now or datetime.now(UTC))
        on_event(Event("checked", f"{state.url}: {source.metadata:,} bytes of metadata"))
        if state.trial and state.running and state.running.release not in listed(state.trusted.targets):
            on_event(Event("refused", f"release {state.running.release}, on trial, was withdrawn by the publisher"))
            state = save(disk, reverted(disk, state))
        release = _due(disk, state)
        if release is not None and state.trial:
            on_event(Event("waiting", f"release {release.number} waits until the model on trial is confirmed"))
        elif release is not None:
            state = _install(disk, state, release, source, trial, on_event)
        _clean(disk)
        running = state.running
        if running is None:
            raise FleetError(
                f"{disk.folder}: channel {state.channel} has no release for the device {state.device} yet; "
                "try again later, or tell the publisher"
            )
        updated = first is None or running.sha256 != first.sha256
        before = None if first is None else first.release
        return Outcome(running.release, before, updated, state.trial, source.metadata, source.model)


# The steps of an update ----------------------------------------------------------------------------------------------


def _refreshed(disk: Disk, state: State, source: "_Counted", now: datetime) -> State:
    """The state with the newest metadata that can be trusted. What was verified before an error is stored first."""
    got = refresh(state.trusted, state.anchor, state.issued, source.get, now)
    if (got.trusted, got.issued) != (state.trusted, state.issued):
        state = save(disk, _numbered(replace(state, trusted=got.trusted, issued=got.issued)))
    if got.error is not None:
        raise got.error
    return state


def _numbered(state: State) -> State:
    """Give a model of the enrolment the number of the release that has the same bytes, once this release is listed."""
    releases = {release.file.sha256: release for release in listed(state.trusted.targets).values()}
    for index, slot in enumerate(state.slots):
        if slot is not None and slot.release == 0 and (release := releases.get(slot.sha256)) is not None:
            state = state.with_slot(index, replace(slot, release=release.number, golden=release.golden))
    return state


def _due(disk: Disk, state: State) -> Release | None:
    """The release to install: if another one than the release in use should be used, or the model in use is damaged."""
    releases, running = listed(state.trusted.targets), state.running
    release = wanted(releases, state.device, state.channel, state.refused)
    if release is None or running is None or contents(disk, running, state.active or 0) is None:
        return release
    if release.file.sha256 == running.sha256 or (running.release in releases and release.number < running.release):
        return None
    return release


def _install(disk: Disk, state: State, release: Release, source: "_Counted", trial: bool, on_event: Listener) -> State:
    """Fetch a release into the slot that is not in use, test it, and make this slot the active one."""
    try:
        index, old = model(disk, state)
    except FleetError:  # no model yet, or none that is intact
        index, old = 1, None
    spare, file = 1 - index, release.file
    slot = Slot(release.number, file.sha256, file.length, release.golden)
    if contents(disk, slot, spare) is None:
        data = None
        base = state.slots[index]
        delta = release.deltas.get(base.release) if base is not None and old is not None else None
        if old is not None and delta is not None:
            state, patch = _downloaded(disk, state, delta, source, on_event)
            data = _rebuilt(old, patch, file, on_event)
        if data is None:
            state, data = _downloaded(disk, state, file, source, on_event)
        disk.put(SLOTS[spare], data)
        on_event(Event("written", f"{SLOTS[spare]}: {len(data):,} bytes, read back"))
    works = index if old is not None else None
    state = save(disk, replace(state.with_slot(spare, slot), active=works, candidate=spare, attempts=1))
    return _test(disk, state, slot, trial, on_event)


def _downloaded(disk: Disk, state: State, file: File, source: "_Counted", on_event: Listener) -> tuple[State, bytes]:
    """The bytes of a target. If the download is interrupted, only the missing bytes are fetched the next time."""
    if state.pending != file.sha256:
        disk.remove(DOWNLOAD)
        disk.sync_names()
        state = save(disk, replace(state, pending=file.sha256))
    if kept := disk.size(DOWNLOAD):
        on_event(Event("resumed", f"{file.name}: {kept:,} of {file.length:,} bytes are here"))
    else:
        on_event(Event("download", f"{file.name}: {file.length:,} bytes"))
    _fetch(disk, file, source)
    data = disk.read(DOWNLOAD, file.length)
    if kept and (data is None or hashlib.sha256(data).hexdigest() != file.sha256):  # a power cut damaged what was kept
        disk.create(DOWNLOAD)
        _fetch(disk, file, source)
        data = disk.read(DOWNLOAD, file.length)
    if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
        disk.remove(DOWNLOAD)
        raise UpdateRefused(
            f"{file.name}: its bytes are not those that were signed; refused, and the model in use stays"
        )
    return state, data


def _fetch(disk: Disk, file: File, source: "_Counted") -> None:
    """Append the missing bytes to the download."""
    have, failures, unsynced = disk.size(DOWNLOAD), 0, 0
    if not 0 < have <= file.length:
        disk.create(DOWNLOAD)
        have = 0
    while have < file.length:
        start = have
        try:
            for position, chunk in source.parts(file.path, have, file.length):
                if position != have:
                    disk.create(DOWNLOAD)
                disk.append(DOWNLOAD, chunk)
                have, unsynced = position + len(chunk), unsynced + len(chunk)
                if unsynced >= SYNC:
                    disk.sync(DOWNLOAD)
                    unsynced = 0
        except Broken as error:
            failures = 1 if have - start >= CHUNK else failures + 1
            if failures >= CONNECTIONS:
                disk.sync(DOWNLOAD)
                raise type(error)(f"{error}; {have:,} of {file.length:,} bytes are kept") from None
            time.sleep(PAUSE * 2 ** (failures - 1))
            continue
        if have < file.length:
            disk.remove(DOWNLOAD)
            raise UpdateRefused(
                f"{file.name}: has {have:,} bytes on the server, not the {file.length:,} that were signed; refused, "
                "and the model in use stays"
            )
    disk.sync(DOWNLOAD)
    disk.sync_names()


def _rebuilt(old: bytes, patch: bytes, file: File, on_event: Listener) -> bytes | None:
    """The new file from the old one and a delta; None if the result is not the signed file."""
    try:
        data = delta_file.apply(old, patch)
    except SqueezeNetError as error:
        on_event(Event("refused", f"the delta does not fit ({error}); the whole file is fetched"))
        return None
    if len(data) != file.length or hashlib.sha256(data).hexdigest() != file.sha256:
        on_event(Event("refused", "the delta gives another file than the signed one; the whole file is fetched"))
        return None
    on_event(Event("rebuilt", f"{file.name}: {file.length:,} bytes from a delta of {len(patch):,}"))
    return data


def _tested_again(disk: Disk, state: State, trial: bool, on_event: Listener) -> State:
    """Repeat a self-test that was interrupted by a power cut or a crash."""
    assert state.candidate is not None
    slot = state.slots[state.candidate]
    if slot is None or contents(disk, slot, state.candidate) is None:  # it will be fetched again
        return save(disk, replace(state.with_slot(state.candidate, None), candidate=None))
    if state.attempts < TESTS:
        state = save(disk, replace(state, attempts=state.attempts + 1))
        return _test(disk, state, slot, trial, on_event)
    raise _failed(disk, state, slot, f"the device stopped {TESTS} times during it")


def _test(disk: Disk, state: State, slot: Slot, trial: bool, on_event: Listener) -> State:
    """Test the candidate, which is in `slot`. It becomes the active slot, or is refused for ever."""
    index = state.candidate
    assert index is not None
    assert slot.golden is not None
    data = contents(disk, slot, index)
    fault = "it was damaged on the storage" if data is None else golden.fault(data, slot.golden)
    if fault:
        raise _failed(disk, state, slot, fault)
    on_event(Event("tested", f"release {slot.release}: gives the answers that it gave at the publisher"))
    on_trial = trial and state.running is not None
    state = save(disk, replace(state, active=index, candidate=None, attempts=0, starts=0, trial=on_trial))
    on_event(Event("switched", f"release {slot.release} runs" + (" on trial" if on_trial else "")))
    return state


def _failed(disk: Disk, state: State, slot: Slot, fault: str) -> FleetError:
    """Store that this device refuses the candidate."""
    assert state.candidate is not None
    refused = with_refused(state, slot.release)
    save(disk, replace(state.with_slot(state.candidate, None), candidate=None, refused=refused))
    _clean(disk)
    kept = "there is no other model" if state.running is None else f"release {state.running.release} stays"
    return FleetError(f"release {slot.release} failed its self-test on this device ({fault}); {kept}")


def _clean(disk: Disk) -> None:
    """Remove the download, which is not needed any more."""
    if disk.size(DOWNLOAD):
        disk.remove(DOWNLOAD)
        disk.sync_names()


class _Counted:
    """A mirror that counts the bytes that came."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror, self.metadata, self.model = mirror, 0, 0

    def get(self, path: str, limit: int) -> bytes | None:
        data = self.mirror.get(path, limit)
        self.metadata += len(data or b"")
        return data

    def parts(self, path: str, start: int, limit: int) -> Iterator[tuple[int, bytes]]:
        for position, chunk in self.mirror.parts(path, start, limit):
            self.model += len(chunk)
            yield position, chunk


def _check_model(data: bytes) -> None:
    if len(data) > FLEET_MODEL:
        raise FleetError(f"a model for a fleet may have {FLEET_MODEL:,} bytes, not {len(data):,}")
    Classifier(data)
