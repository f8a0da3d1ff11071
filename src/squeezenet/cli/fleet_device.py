"""The actions of `squeezenet fleet` for a device. Each returns its part of the JSON object."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from squeezenet.files import read_regular
from squeezenet.fleet import local
from squeezenet.limits import FLEET_MODEL, FLEET_ROOT
from squeezenet.printable import printable

if TYPE_CHECKING:
    from squeezenet.fleet.client import Event

Result = dict[str, Any]


def enrol(args: Namespace) -> Result:
    from squeezenet.fleet import client

    device = args.device or args.folder.resolve().name
    model = None if args.model is None else read_regular(args.model, FLEET_MODEL)
    client.enrol(args.folder, args.url, read_regular(args.root, FLEET_ROOT), device, args.channel, model)
    text = f"{args.folder} is the folder of the device {device}, channel {args.channel}"
    text += f"; get its model with: squeezenet fleet update {args.folder}"
    return {"device": device, "channel": args.channel, "text": [text]}


def update(args: Namespace) -> Result:
    from squeezenet.fleet import client

    got = client.update(args.folder, _told, trial=args.trial)
    if not got.updated:
        text = f"release {got.release} is up to date"
    elif got.before is None:
        text = f"release {got.release} is installed"
    else:
        text = f"release {got.before} was replaced by release {got.release}"
    text += "; it runs on trial: squeezenet fleet confirm" if got.trial else ""
    text += f" ({got.metadata_bytes:,} bytes of metadata, {got.model_bytes:,} of the model)"
    return {**asdict(got), "text": [text]}


def status(args: Namespace) -> Result:
    got = local.status(args.folder)
    model = "no model yet" if got.release is None else f"release {got.release}, {got.bytes:,} bytes"
    model += " on trial" if got.trial else ""
    if got.release is not None and not got.intact:
        model += f"; it is DAMAGED: squeezenet fleet update {args.folder}"
    lines = [f"{got.device} (channel {got.channel} of {got.url}): {model}"]
    if got.previous is not None:
        lines.append(f"previous: release {got.previous}; squeezenet fleet rollback {args.folder} returns to it")
    if got.refused:
        lines.append(f"refused: {', '.join(map(str, got.refused))}")
    if got.signed:
        lines.append(f"metadata: signed at {got.signed}; the list of releases is valid until {got.expires}")
    if got.clock:
        lines.append(f"the clock is wrong: {got.clock}")
    return {**asdict(got), "text": lines, "failed": got.release is not None and not got.intact}


def confirm(args: Namespace) -> Result:
    local.confirm(args.folder)
    release = local.status(args.folder).release
    return {"release": release, "text": [f"release {release} is confirmed"]}


def rollback(args: Namespace) -> Result:
    got = local.rollback(args.folder)
    return {
        **asdict(got),
        "text": [f"release {got.before} was replaced by release {got.release}, and is not installed again"],
    }


ACTIONS: Mapping[str, Callable[[Namespace], Result]] = {
    "enrol": enrol, "update": update, "status": status, "confirm": confirm, "rollback": rollback,
}  # fmt: skip


def _told(event: "Event") -> None:
    if sys.stderr.isatty():
        print(printable(event.text), file=sys.stderr)
