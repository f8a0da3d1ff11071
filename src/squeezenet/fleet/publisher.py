"""Publishing: releases, channels, staged roll-out, deltas, and the rules that hold a release back.

    >>> repository = create(Path("birds"), Keys(3, 2), Keys(1, 1), Days(), now)           # doctest: +SKIP
    >>> publish(repository, model, "birds.sqz", Plan("stable", percent=10), now)          # doctest: +SKIP

A release is first offered on one channel, to a percentage of its devices. `rollout` changes both later. `withdraw`
takes a release out of the list: devices that run it return to the newest release that is left.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import TargetFile

from squeezenet import sqz
from squeezenet.errors import FleetError, HeldBack, ModelError, UsageError
from squeezenet.files import read_regular, write_atomically
from squeezenet.fleet.golden import golden
from squeezenet.fleet.local import moment
from squeezenet.fleet.releases import WHOLE, place
from squeezenet.fleet.repository import Record, Repository, signed
from squeezenet.limits import FLEET_MODEL
from squeezenet.runtime.classifier import Classifier

DELTAS = 4
"""Releases from which a new release can be reached by a delta, if the publisher does not say otherwise."""


@dataclass(frozen=True)
class Plan:
    """Which devices get a release: a percentage of those of a channel, and devices by name."""

    channel: str = "stable"
    percent: float = 100.0
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accuracy:
    """What a release reaches on a validation set."""

    top1: float  # percent
    images: int
    data: str


Measure = Callable[[bytes], Accuracy]


@dataclass(frozen=True)
class Published:
    """The result of `publish`. `deltas`: the bytes of each delta, by the release that it starts from."""

    record: Record
    deltas: Mapping[int, int]
    faults: tuple[str, ...]  # the rules that were overridden


def publish(
    repository: Repository,
    data: bytes,
    name: str,
    plan: Plan,
    now: datetime,
    measure: Measure | None = None,
    tolerance: float = 0.0,
    override: str = "",
    deltas: int = DELTAS,
) -> Published:
    """Offer a model as the next release. Raises `HeldBack` if a rule is broken and `override` gives no reason.

    `measure` finds the accuracy of a model; without it, this rule is not checked. The accuracy may be lower than that
    of the last release by `tolerance` points. `deltas`: how many earlier releases get a delta to this one.
    """
    if len(data) > FLEET_MODEL:
        raise FleetError(f"{name}: has {len(data):,} bytes; devices take up to {FLEET_MODEL:,}")
    with sqz.named(name):
        model = sqz.decode(data)
    if not model.scales:
        raise ModelError(
            f"{name}: is a network of floats, whose answers differ from machine to machine, so a device cannot test "
            "it; make an integer network: squeezenet compress"
        )
    releases = repository.ledger.releases
    sha256 = hashlib.sha256(data).hexdigest()
    if same := [record for record in releases if record.sha256 == sha256 and record.number in _numbers(repository)]:
        raise UsageError(
            f"{name}: is release {same[-1].number}; offer it to other devices with: squeezenet fleet rollout "
            f"{repository.folder} {same[-1].number}"
        )
    number = max([record.number for record in releases] + [int(each) for each in _numbers(repository)], default=0) + 1
    record = Record(number, name, sha256, len(data), moment(now))
    last = _newest(repository, plan.channel)
    if measure is not None:
        record = _measured(record, measure(data))
        if last is not None and (last.top1 is None or last.data != record.data):
            last = _measured(last, measure(_model(repository, last)))
    faults = _faults(repository, record, data, last, tolerance)
    if faults and not override:
        raise HeldBack(f"{name}: held back: {'; '.join(faults)}. Publish it anyway with --override REASON")
    record = replace(record, override=override if faults else "")
    made = _add_files(repository, record, data, plan, deltas)
    ledger = replace(repository.ledger, releases=(*releases, record))
    signed(replace(repository, ledger=ledger), now)
    return Published(record, made, tuple(faults))


def rollout(
    repository: Repository, number: int, plan: Plan, now: datetime, tolerance: float = 0.0, override: str = ""
) -> None:
    """Offer a release on a channel, or to another percentage of its devices. Raises as `publish` does."""
    record = record_of(repository, number)
    target = repository.targets.signed.targets.get(f"{number}.sqz")
    if target is None:
        raise UsageError(f"release {number} is not offered any more; publish its model again")
    channels = dict(_custom(target)["channels"])
    if plan.channel not in channels:
        last = _newest(repository, plan.channel)
        faults = _faults(repository, record, _model(repository, record), last, tolerance)
        if faults and not override:
            raise HeldBack(f"release {number}: held back: {'; '.join(faults)}. Offer it anyway with --override REASON")
        record = replace(record, override=override if faults else record.override)
    channels[plan.channel] = _share(plan.percent)
    _custom(target)["channels"] = channels
    if plan.devices:
        known = _custom(target).get("devices", [])
        _custom(target)["devices"] = sorted({*known, *(place(number, device) for device in plan.devices)})
    _prune(repository)
    signed(_with(repository, record), now)


def withdraw(repository: Repository, number: int, reason: str, now: datetime) -> None:
    """Take a release out of the list. Devices that run it return to the newest release that is left for them."""
    record = record_of(repository, number)
    targets = repository.targets.signed.targets
    if f"{number}.sqz" not in targets:
        raise UsageError(f"release {number} is not offered any more")
    for name in [name for name in targets if number in _ends(name)]:
        del targets[name]
    signed(_with(repository, replace(record, withdrawn=reason or "no reason given")), now)


def record_of(repository: Repository, number: int) -> Record:
    """The record of a release. Raises `UsageError` if there is none."""
    for record in repository.ledger.releases:
        if record.number == number:
            return record
    raise UsageError(f"{repository.folder}: has no release {number}; squeezenet fleet releases {repository.folder}")


def offers(repository: Repository) -> dict[int, dict[str, float]]:
    """The percentages of each channel, of every release that is offered."""
    targets = repository.targets.signed.targets
    return {
        number: {
            channel: share * 100 / WHOLE for channel, share in _custom(targets[f"{number}.sqz"])["channels"].items()
        }
        for number in _numbers(repository)
    }


def _faults(repository: Repository, record: Record, data: bytes, last: Record | None, tolerance: float) -> list[str]:
    """The rules that a release with the model `data` breaks, compared with the last one of the channel."""
    if last is None:
        return []
    faults, now, before = [], record.top1, last.top1
    if now is not None and before is not None and last.data == record.data and now < before - tolerance:
        faults.append(
            f"top-1 is {now:.2f}%, that of release {last.number} is {before:.2f}% "
            f"({record.images:,} images of {record.data})"
        )
    if Classifier(data).labels != Classifier(_model(repository, last)).labels:
        faults.append(f"its labels are not those of release {last.number}")
    return faults


def _measured(record: Record, accuracy: Accuracy) -> Record:
    return replace(record, top1=round(accuracy.top1, 4), images=accuracy.images, data=accuracy.data)


def _newest(repository: Repository, channel: str) -> Record | None:
    """The newest release of a channel."""
    numbers = [number for number, channels in offers(repository).items() if channel in channels]
    return record_of(repository, max(numbers)) if numbers else None


def _add_files(repository: Repository, record: Record, data: bytes, plan: Plan, most: int) -> dict[int, int]:
    """Write the model and at most `most` deltas, and list them; the bytes of the deltas."""
    from squeezenet.sqz.delta import make

    targets = repository.targets.signed.targets
    custom: dict[str, Any] = {"channels": {plan.channel: _share(plan.percent)}}
    if plan.devices:
        custom["devices"] = sorted(place(record.number, device) for device in plan.devices)
    custom["golden"] = golden(data, record.number).logits
    deltas = {}
    earlier = [each for each in repository.ledger.releases if not each.withdrawn and _path(repository, each).exists()]
    for old in earlier[max(0, len(earlier) - most) :]:
        delta = make(_model(repository, old), data)
        if len(delta) < len(data):
            _add(repository, f"{old.number}-{record.number}.sqzd", delta)
            deltas[old.number] = len(delta)
    _add(repository, f"{record.number}.sqz", data)
    targets[f"{record.number}.sqz"].unrecognized_fields["custom"] = custom
    _prune(repository)
    return deltas


def _add(repository: Repository, name: str, data: bytes) -> None:
    target = TargetFile.from_data(name, data, ["sha256"])
    write_atomically(repository.public / "targets" / f"{target.hashes['sha256']}.{name}", data)
    repository.targets.signed.targets[name] = target


def _prune(repository: Repository) -> None:
    """Keep the list short, since every device fetches it with every release.

    Of each channel these stay: the newest release that every device may have, all newer ones, and the one before, to
    which a device can return. Deltas stay that lead to the newest release of a channel.
    """
    offered = offers(repository)
    kept, newest = set(), set()
    for channel in {channel for channels in offered.values() for channel in channels}:
        numbers = sorted((number for number, channels in offered.items() if channel in channels), reverse=True)
        complete = next((i for i, number in enumerate(numbers) if offered[number][channel] >= 100), len(numbers))
        kept |= set(numbers[: complete + 2])
        newest.add(numbers[0])
    targets = repository.targets.signed.targets
    for name in list(targets):
        *_, number = _ends(name)
        if number not in (kept if name.endswith(".sqz") else newest):
            del targets[name]


def _with(repository: Repository, record: Record) -> Repository:
    records = tuple(record if each.number == record.number else each for each in repository.ledger.releases)
    return replace(repository, ledger=replace(repository.ledger, releases=records))


def _model(repository: Repository, record: Record) -> bytes:
    path = _path(repository, record)
    data = read_regular(path, FLEET_MODEL)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise FleetError(f"{path}: is not the file that was published; restore it from a copy")
    return data


def _path(repository: Repository, record: Record) -> Path:
    return repository.public / "targets" / f"{record.sha256}.{record.number}.sqz"


def _numbers(repository: Repository) -> list[int]:
    return [int(name[:-4]) for name in repository.targets.signed.targets if name.endswith(".sqz")]


def _ends(name: str) -> list[int]:
    """The releases in the name of a target: `11-12.sqzd` -> 11 and 12."""
    return [int(number) for number in Path(name).stem.split("-")]


def _custom(target: TargetFile) -> dict[str, Any]:
    custom: dict[str, Any] = target.unrecognized_fields["custom"]
    return custom


def _share(percent: float) -> int:
    """A percentage as the list of releases has it: signed JSON has whole numbers only."""
    return round(percent * WHOLE / 100)
