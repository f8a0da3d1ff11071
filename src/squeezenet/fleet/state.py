"""What the update client knows: its two slots, which of them runs, and the metadata that it trusts.

The state is one record. It is stored in two files, `state.0` and `state.1`, which are written in turn, with a sequence
number and a checksum. Whoever reads takes the intact record with the higher number. A power cut can only damage the
file that is being written, and the other one still holds the state before.

>>> decode(encode(State("car-1", "stable", "http://127.0.0.1/"))).device
'car-1'
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta

from squeezenet.errors import FleetError, NotEnrolled
from squeezenet.fleet.disk import Disk
from squeezenet.limits import FLEET_MODEL, FLEET_STATE

RECORDS = ("state.0", "state.1")
SLOTS = ("slot.a.sqz", "slot.b.sqz")
DOWNLOAD = "download"
SLACK = timedelta(minutes=10)
"""How far the clock of a device may be behind that of the publisher."""


@dataclass(frozen=True)
class Golden:
    """The self-test of a release: synthetic images that follow from `seed`, and the SHA-256 of the logits for them."""

    seed: int
    logits: str


@dataclass(frozen=True)
class Slot:
    """What a slot holds. `release` is 0 for a model that was put there at enrolment."""

    release: int
    sha256: str
    length: int  # bytes
    golden: Golden | None


@dataclass(frozen=True)
class Trusted:
    """The newest metadata of each role that the client has verified: the text of the files; "" where there is none."""

    root: str = ""
    timestamp: str = ""
    snapshot: str = ""
    targets: str = ""


@dataclass(frozen=True)
class State:
    """The record. Each field is described where it is used, in `client.py` and `local.py`."""

    device: str
    channel: str
    url: str
    anchor: str = ""  # the root metadata of the enrolment; trust starts here again if `trusted.root` is lost
    slots: tuple[Slot | None, Slot | None] = (None, None)
    active: int | None = None  # the slot that runs
    trial: bool = False  # whether the active slot still has to prove itself
    starts: int = 0  # starts of the program during the trial
    candidate: int | None = None  # the slot that is being tested before it may run
    attempts: int = 0  # at this test
    refused: tuple[int, ...] = ()  # releases that this device does not install (again)
    pending: str = ""  # the SHA-256 of the file that `download` is a part of
    issued: str = ""  # when the newest timestamp metadata was signed: the clock cannot be earlier
    trusted: Trusted = field(default_factory=Trusted)
    sequence: int = 0

    def with_slot(self, index: int, slot: Slot | None) -> "State":
        """The state with another content of one slot."""
        first, second = self.slots
        return replace(self, slots=(slot, second) if index == 0 else (first, slot))

    @property
    def running(self) -> Slot | None:
        """The content of the active slot."""
        return None if self.active is None else self.slots[self.active]


def encode(state: State) -> bytes:
    """The bytes of a record: the SHA-256 of a line of JSON, and this line."""
    body = json.dumps(asdict(state), separators=(",", ":"), sort_keys=True).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(data: bytes) -> State | None:
    """The state of a record; None if the record is damaged."""
    digest, _, body = data.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    values = json.loads(body)  # intact, so it is what `encode` wrote
    slots = tuple(
        slot and Slot(**{**slot, "golden": slot["golden"] and Golden(**slot["golden"])}) for slot in values["slots"]
    )
    return State(
        **{**values, "slots": slots, "refused": tuple(values["refused"]), "trusted": Trusted(**values["trusted"])}
    )


def load(disk: Disk) -> State:
    """The newest intact record. Raises `FleetError` if there is none."""
    records = [disk.read(name, FLEET_STATE) for name in RECORDS]
    states = [state for data in records if data is not None and (state := decode(data)) is not None]
    if not states:
        if any(data is not None for data in records):
            raise FleetError(f"{disk.folder}: both copies of the state are damaged; enrol the device again")
        raise NotEnrolled(f"{disk.folder}: is not enrolled; squeezenet fleet enrol {disk.folder} --url URL --root FILE")
    return max(states, key=lambda state: state.sequence)


def save(disk: Disk, state: State) -> State:
    """Write the next record over the older of the two files; the state as it was written, with its number."""
    state = replace(state, sequence=state.sequence + 1)
    disk.put(RECORDS[state.sequence % 2], encode(state))
    return state


def contents(disk: Disk, slot: Slot | None, index: int) -> bytes | None:
    """The model in a slot; None if the slot is empty or damaged."""
    data = None if slot is None else disk.read(SLOTS[index], FLEET_MODEL)
    return data if slot is not None and data is not None and hashlib.sha256(data).hexdigest() == slot.sha256 else None


def model(disk: Disk, state: State) -> tuple[int, bytes]:
    """The slot that runs and its model; the other slot if this one is damaged. Raises `FleetError` if both are."""
    first = state.active or 0
    for index in (first, 1 - first):
        # A slot that is not active may hold a candidate, which has not been tested yet.
        if index != state.candidate and (data := contents(disk, state.slots[index], index)) is not None:
            return index, data
    if state.active is None:
        raise FleetError(f"{disk.folder}: has no model yet; squeezenet fleet update {disk.folder}")
    raise FleetError(f"{disk.folder}: the models in both slots are damaged; squeezenet fleet update {disk.folder}")
