"""The actions of a device that need no network: trial, return to the previous model, status.

    >>> status(Disk(Path("model"))).release                                     # doctest: +SKIP
    12

Nothing here needs the packages of the extra `[fleet]`, so a program that uses a model needs them no more than
`squeezenet classify` does.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from squeezenet.errors import FleetError, UpdateRefused
from squeezenet.files import append_regular
from squeezenet.fleet.disk import Disk
from squeezenet.fleet.releases import listed
from squeezenet.fleet.state import SLACK, Slot, State, contents, load, save

if sys.platform != "win32":
    import fcntl

STARTS = 3
"""How often a program may start with a model on trial; the next start without confirmation returns to the previous."""
MOST_REFUSED = 64
"""Releases that a device remembers to refuse; the publisher lists far fewer."""
PATIENCE = 10.0
"""Seconds to wait for another process that is changing the folder."""


@dataclass(frozen=True)
class Outcome:
    """The result of `update`."""

    release: int  # that runs now
    before: int | None  # the release that was used before this call; None if there was no model
    updated: bool
    trial: bool  # whether the release still has to be confirmed
    metadata_bytes: int  # fetched
    model_bytes: int  # fetched: of the model, or of the delta


def confirm(disk: Disk | Path) -> None:
    """End the trial of the model in use: it works."""
    disk = enrolled(disk)
    with alone(disk):
        state = load(disk)
        _running(disk, state)
        if state.trial:
            save(disk, replace(state, trial=False, starts=0))


def started(disk: Disk | Path) -> None:
    """Count a start of a program that uses the model; a model on trial that was started too often is replaced."""
    disk = enrolled(disk)
    if not load(disk).trial:
        return  # such a program need not be allowed to write here
    with alone(disk):
        state = load(disk)
        if state.trial and state.starts >= STARTS:
            with contextlib.suppress(FleetError):  # the model before is damaged: the one on trial is all there is
                save(disk, reverted(disk, state))
        elif state.trial:
            save(disk, replace(state, starts=state.starts + 1))


def rollback(disk: Disk | Path, now: datetime | None = None) -> Outcome:
    """Return to the previous model, which is in the other slot. The rejected release is not installed again.

    TUF allows only what is signed by metadata that are valid now: outside of a trial, the older release must still be
    listed by metadata that have not expired. Raises `FleetError`.
    """
    disk = enrolled(disk)
    with alone(disk):
        state = load(disk)
        left = _running(disk, state)
        if not state.trial:
            _check_listed(disk, state, now or datetime.now(UTC))
        state = save(disk, reverted(disk, state))
        assert state.running is not None
        return Outcome(state.running.release, left.release, True, False, 0, 0)


def moment(time: datetime) -> str:
    """A time as TUF writes it. Texts of this form sort as the times do.

    >>> moment(datetime(2026, 11, 28, tzinfo=UTC))
    '2026-11-28T00:00:00Z'
    """
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def expires(metadata: str) -> str:
    """When metadata that were verified before expire; "" if there are none."""
    return str(json.loads(metadata)["signed"]["expires"]) if metadata else ""


@dataclass(frozen=True)
class Status:
    """What `squeezenet fleet status` shows."""

    device: str
    channel: str
    url: str
    release: int | None
    bytes: int
    sha256: str
    intact: bool  # whether the model that runs has the hash that it should have
    trial: bool
    previous: int | None  # the release in the other slot
    refused: tuple[int, ...]
    signed: str  # when the newest metadata were signed
    expires: str  # when the list of releases expires
    clock: str  # what is wrong with the clock, or ""


def status(disk: Disk | Path, now: datetime | None = None) -> Status:
    """The state of a device, from its own files; the server is not asked."""
    disk = enrolled(disk)
    state, now = load(disk), now or datetime.now(UTC)
    running, other = state.running, state.slots[1 - (state.active or 0)]
    usable = other is not None and state.candidate is None and other.release not in state.refused
    usable = usable and contents(disk, other, 1 - (state.active or 0)) is not None
    behind = moment(now + SLACK) < state.issued
    return Status(
        device=state.device,
        channel=state.channel,
        url=state.url,
        release=None if running is None else running.release,
        bytes=0 if running is None else running.length,
        sha256="" if running is None else running.sha256,
        intact=running is not None and contents(disk, running, state.active or 0) is not None,
        trial=state.trial,
        previous=other.release if other is not None and usable else None,
        refused=state.refused,
        signed=state.issued,
        expires=expires(state.trusted.targets),
        clock=f"it says {moment(now)}, but metadata were signed at {state.issued}" if behind else "",
    )


def reverted(disk: Disk, state: State) -> State:
    """The state after the return to the other slot. Raises `FleetError` if there is no intact model."""
    assert state.active is not None
    left, back = state.running, 1 - state.active
    slot = state.slots[back]
    if left is None or slot is None or back == state.candidate or contents(disk, slot, back) is None:
        raise FleetError(f"{disk.folder}: holds no model before this one; it can only be updated")
    return replace(state, active=back, trial=False, starts=0, refused=with_refused(state, left.release))


def _running(disk: Disk, state: State) -> Slot:
    if state.running is None:
        raise FleetError(f"{disk.folder}: has no model yet; squeezenet fleet update {disk.folder}")
    return state.running


def with_refused(state: State, release: int) -> tuple[int, ...]:
    """The releases that a device refuses, with one more."""
    return (*(number for number in state.refused if number != release), release)[-MOST_REFUSED:]


def _check_listed(disk: Disk, state: State, now: datetime) -> None:
    assert state.active is not None
    slot = state.slots[1 - state.active]
    if slot is None:
        return  # `reverted` raises the error
    if slot.release in state.refused:
        raise UpdateRefused(f"release {slot.release} was left before, so it is not installed again")
    if slot.release not in listed(state.trusted.targets):
        raise UpdateRefused(
            f"release {slot.release} is not offered by the publisher any more, so it must not run again"
        )
    if expires(state.trusted.targets) < moment(now):
        raise UpdateRefused(
            f"the list of releases has expired, so release {slot.release} may have been withdrawn; first run: "
            f"squeezenet fleet update {disk.folder}"
        )


def enrolled(disk: Disk | Path) -> Disk:
    """The disk of a folder that is enrolled. Raises `FleetError` for another one."""
    disk = disk if isinstance(disk, Disk) else Disk(disk)
    load(disk)  # raises, and creates no lock in a folder of something else
    return disk


@contextlib.contextmanager
def alone(disk: Disk) -> Iterator[None]:
    """Lock the folder, so that one process changes it. The lock ends with its process; Windows has none."""
    with append_regular(disk.folder / "lock") as lock:
        since = time.monotonic()
        while sys.platform != "win32":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - since > PATIENCE:
                    raise FleetError(
                        f"{disk.folder}: another process is changing it; wait until it has ended"
                    ) from None
            time.sleep(0.05)
        yield
