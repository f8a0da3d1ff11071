"""The actions of `squeezenet fleet` for the publisher. Each returns its part of the JSON object."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from squeezenet.errors import UsageError
from squeezenet.files import read_regular
from squeezenet.fleet import publisher, repository
from squeezenet.fleet.disk import Disk
from squeezenet.fleet.local import alone
from squeezenet.fleet.publisher import Accuracy, Measure, Plan
from squeezenet.fleet.repository import Days, Keys
from squeezenet.limits import FLEET_MODEL

Result = dict[str, Any]


def init(args: Namespace) -> Result:
    days = Days(args.root_days, args.targets_days, args.snapshot_days, args.timestamp_days)
    made = repository.create(
        args.folder,
        Keys(args.root_keys, args.root_threshold),
        Keys(args.targets_keys, args.targets_threshold),
        days,
        _now(),
        args.password,
    )
    roots = [name for name in made.keys if name.startswith("root-")]
    text = [
        f"serve {made.public}; give {made.public / 'metadata/1.root.json'} to every device",
        f"keys: {', '.join(made.keys)}. Move {', '.join(roots)} from {args.folder / 'keys'} to separate media "
        f"that are not connected to a computer; {args.root_threshold} of them are needed to replace a key",
    ]
    return {"public": str(made.public), "keys": list(made.keys), "text": text}


def publish(args: Namespace) -> Result:
    _check_plan(args)
    data = read_regular(args.model, FLEET_MODEL)
    measure = None if args.data is None else _measure_on(args.data)
    got = publisher.publish(
        repository.load(args.folder),
        data,
        args.model.name,
        _plan(args),
        _now(),
        measure,
        args.tolerance,
        args.override,
        args.deltas,
    )
    record = got.record
    lines = [f"release {record.number}: {record.name}, {record.length:,} bytes, for {_shown(_plan(args))}"]
    if got.deltas:
        listed = ", ".join(f"{size:,} bytes from release {old}" for old, size in got.deltas.items())
        lines.append(f"deltas: {listed}")
    if record.top1 is None:
        lines.append("accuracy: not checked; give --data")
    else:
        lines.append(f"accuracy: top-1 {record.top1:.2f}% of {record.images:,} images")
    lines += [f"overridden: {fault}" for fault in got.faults]
    deltas = {str(old): size for old, size in got.deltas.items()}
    return {
        "release": record.number,
        "bytes": record.length,
        "deltas": deltas,
        "top1": record.top1,
        "text": lines,
    }


def rollout(args: Namespace) -> Result:
    _check_plan(args)
    plan = _plan(args)
    publisher.rollout(repository.load(args.folder), args.release, plan, _now(), args.tolerance, args.override)
    return {"release": args.release, "text": [f"release {args.release} is for {_shown(plan)}"]}


def withdraw(args: Namespace) -> Result:
    publisher.withdraw(repository.load(args.folder), args.release, args.reason, _now())
    text = f"release {args.release} is not offered any more; devices return to the newest one that is left"
    return {"release": args.release, "text": [text]}


def releases(args: Namespace) -> Result:
    found = repository.load(args.folder)
    offers = publisher.offers(found)
    rows = []
    for record in found.ledger.releases:
        channels = offers.get(record.number, {})
        told = ", ".join(f"{name} {percent:g}%" for name, percent in channels.items()) or "not offered"
        told += f", withdrawn: {record.withdrawn}" if record.withdrawn else ""
        told += f", overridden: {record.override}" if record.override else ""
        accuracy = "" if record.top1 is None else f", top-1 {record.top1:.2f}%"
        rows.append(f"{record.number:>4}  {record.name}, {record.length:,} bytes{accuracy}: {told}")
    ends = {role: getattr(found, role).signed.expires for role in ("root", "targets", "snapshot", "timestamp")}
    rows.append(f"keys: {', '.join(found.keys)}")
    rows.append("valid until: " + ", ".join(f"{role} {end:%Y-%m-%d}" for role, end in ends.items()))
    return {
        "releases": [
            {"release": each.number, "channels": offers.get(each.number, {})} for each in found.ledger.releases
        ],
        "keys": list(found.keys),
        "expires": {role: end.isoformat() for role, end in ends.items()},
        "text": rows,
    }


def renew(args: Namespace) -> Result:
    found = repository.load(args.folder)
    staged = repository.renew(found, _now(), args.root)
    if staged is not None:
        return _waiting(args, staged)
    now = repository.load(args.folder)
    return {"staged": None, "text": [f"renewed until {now.timestamp.signed.expires:%Y-%m-%d %H:%M} UTC"]}


def revoke(args: Namespace) -> Result:
    before = repository.load(args.folder).keys
    staged = repository.revoke(repository.load(args.folder), args.key, _now())
    if staged is not None:
        return _waiting(args, staged)
    keys = repository.load(args.folder).keys
    old, new = [name for name in before if name not in keys], [name for name in keys if name not in before]
    return {"staged": None, "keys": list(keys), "text": [f"{', '.join(old)} replaced by {', '.join(new)}"]}


def sign(args: Namespace) -> Result:
    staged = repository.sign(args.folder, _now())
    if staged is not None:
        return _waiting(args, staged)
    version = repository.load(args.folder).root.signed.version
    return {"staged": None, "text": [f"root {version} has all signatures and is published"]}


Action = Callable[[Namespace], Result]


def _alone(action: Action) -> Action:
    """The action while no other process changes the folder: `renew` runs by cron."""

    def run(args: Namespace) -> Result:
        repository.load(args.folder)  # raises, and creates no lock in a folder of something else
        with alone(Disk(args.folder)):
            return action(args)

    return run


ACTIONS: Mapping[str, Action] = {
    "init": init,
    "releases": releases,
    **{action.__name__: _alone(action) for action in (publish, rollout, withdraw, renew, revoke, sign)},
}


def _waiting(args: Namespace, staged: Any) -> Result:
    lacking = repository.missing(repository.load(args.folder), staged)
    text = (
        f"{staged}: lacks the signatures of {lacking}. Put a key into {args.folder / 'keys'}, run: squeezenet fleet "
        f"sign {args.folder}"
    )
    return {"staged": str(staged), "text": [text]}


def _now() -> datetime:
    return datetime.now(UTC)


def _plan(args: Namespace) -> Plan:
    return Plan(args.channel, args.percent, tuple(args.devices))


def _shown(plan: Plan) -> str:
    named = f", and {', '.join(plan.devices)}" if plan.devices else ""
    return f"{plan.percent:g}% of channel {plan.channel}{named}"


def _check_plan(args: Namespace) -> None:
    if not args.channel.isascii() or not args.channel.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--channel {args.channel}: use letters, digits, - and _ only")


def _measure_on(source: str) -> Measure:
    """A function that measures top-1. All models of one command are measured on the same images."""
    import os

    from squeezenet import sqz
    from squeezenet.data.classes import match_classes
    from squeezenet.data.evaluate import evaluate
    from squeezenet.data.examples import fingerprint
    from squeezenet.data.judged import load_judged
    from squeezenet.runtime.run import runner

    chosen: list[Any] = []

    def measure(data: bytes) -> Accuracy:
        model = sqz.decode(data)
        if not chosen:
            chosen.append(load_judged(source, model.provenance)[0])
        examples = match_classes(chosen[0], model.labels, model.graph.classes)
        answer = runner(model, os.cpu_count() or 1, data=data)
        score = evaluate(answer, examples, model.preparation, progress=False)
        return Accuracy(score.top1, score.images, f"{source} ({fingerprint(chosen[0])[:8]})")

    return measure
