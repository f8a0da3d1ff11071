"""`squeezenet fleet ACTION DIR`: publish models to many devices, and update a device (docs/updating.md)."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import DATA, count, not_negative, whole
from squeezenet.cli.extras import modules
from squeezenet.cli.parser import add_common
from squeezenet.errors import MissingDependency

EXAMPLES = """
# the publisher: keys and an empty repository
squeezenet fleet init birds
# a release for one device in ten
squeezenet fleet publish birds a.sqz --data photos/ --percent 10
# and then for all
squeezenet fleet rollout birds 1 --percent 100
# the online key was stolen
squeezenet fleet revoke birds online-1
# a device: enrol it once
squeezenet fleet enrol car --url https://my.org/ --root 1.root.json
# and then ask for updates
squeezenet fleet update car
"""

PUBLISHER = {
    "init": "make a publisher's folder: keys, and a repository to serve",
    "publish": "offer a model as the next release",
    "rollout": "offer a release to other devices",
    "withdraw": "stop offering a release; devices that have it return to another one",
    "releases": "list releases and keys",
    "renew": "sign the timestamp anew; run it every day",
    "revoke": "replace a key, for example one that was stolen",
    "sign": "sign a new root with the root keys in the folder keys/",
}
DEVICE = {
    "enrol": "make the folder of a device, which then trusts one publisher",
    "update": "fetch, test and install a newer release",
    "status": "show which release a device uses, and whether it is intact",
    "confirm": "end the trial of a model: it works",
    "rollback": "return to the previous model",
}


def configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", dest="action", required=True)
    added = {}
    for name, summary in {**PUBLISHER, **DEVICE}.items():
        action = added[name] = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        whose = "the publisher" if name in PUBLISHER else "the device"
        action.add_argument("folder", metavar="DIR", type=Path, help=f"the folder of {whose}")
    _configure_publisher(added)
    _configure_device(added)
    for action in added.values():
        add_common(action)


def run(args: Namespace) -> dict[str, Any]:
    """Do it; the JSON object of this verb, with the lines of its `text` for people."""
    if args.action in PUBLISHER:
        try:
            from squeezenet.cli.fleet_publisher import ACTIONS
        except ModuleNotFoundError as error:  # some of its packages are in the extra of the device, too
            missing = (error.name or "").partition(".")[0]
            if missing not in modules("publish"):
                raise
            told = f"a publisher needs {missing}; install it with: pip install 'sqznet[publish]'"
            raise MissingDependency(told) from None
    else:
        from squeezenet.cli.fleet_device import ACTIONS
    return {"action": args.action, **ACTIONS[args.action](args)}


def render(result: dict[str, Any]) -> str:
    return "\n".join(result["text"])


def percentage(text: str) -> float:
    """From 0 to 100, in steps of 0.01."""
    value = not_negative(text)
    if value > 100 or round(value, 2) != value:
        raise ArgumentTypeError(f"{text}: must be at most 100, with at most two decimals")
    return value


def _configure_publisher(actions: dict[str, ArgumentParser]) -> None:
    init = actions["init"]
    for role, number, needed, what in (("root", 3, 2, "a new root"), ("targets", 1, 1, "a list of releases")):
        keys = f"number of {role} keys (default: {number})"
        init.add_argument(f"--{role}-keys", type=count, default=number, metavar="N", help=keys)
        signers = f"how many of them must sign {what} (default: {needed})"
        init.add_argument(f"--{role}-threshold", type=count, default=needed, metavar="N", help=signers)
    secret = "root keys get a password, from the terminal or the variable SQUEEZENET_KEY_PASSWORD"
    init.add_argument("--password", action="store_true", help=secret)
    for role, days in (("root", 730), ("targets", 180), ("snapshot", 30), ("timestamp", 7)):
        valid = f"days for which {role} metadata are valid (default: {days})"
        init.add_argument(f"--{role}-days", type=count, default=days, metavar="N", help=valid)
    actions["publish"].add_argument("model", metavar="F.sqz", type=Path, help="an integer network, from `compress`")
    start = "how many earlier releases get a delta to this one (default: 4)"
    actions["publish"].add_argument("--deltas", type=whole, default=4, metavar="N", help=start)
    for name in ("rollout", "withdraw"):
        actions[name].add_argument("release", type=count, metavar="RELEASE", help="its number")
    for name in ("publish", "rollout"):
        who = actions[name].add_argument_group("which devices")
        who.add_argument("--channel", default="stable", metavar="NAME", help="the channel (default: stable)")
        share = "percentage of the channel's devices (default: 100); a hash of the device's name decides which"
        who.add_argument("--percent", type=percentage, default=100.0, metavar="P", help=share)
        who.add_argument("--devices", nargs="+", default=[], metavar="ID", help="also the devices with these names")
        rules = actions[name].add_argument_group("rules that hold a release back")
        if name == "publish":
            rules.add_argument("--data", metavar="DATA", help=f"compare the accuracy on these images: {DATA}")
        lower = "points by which top-1 may be lower than that of the last release of the channel (default: 0)"
        rules.add_argument("--tolerance", type=not_negative, default=0.0, metavar="POINTS", help=lower)
        reason = "continue although a rule holds the release back; the reason is recorded"
        rules.add_argument("--override", default="", metavar="REASON", help=reason)
    actions["withdraw"].add_argument("--reason", default="", metavar="TEXT", help="is recorded")
    actions["renew"].add_argument("--root", action="store_true", help="also the root; needs its keys")
    actions["revoke"].add_argument("key", metavar="KEY", help="its name, as `releases` shows it")


def _configure_device(actions: dict[str, ArgumentParser]) -> None:
    enrol = actions["enrol"]
    enrol.add_argument("--url", required=True, metavar="URL", help="address of the publisher's folder `public`")
    trusted = "root metadata of the publisher (1.root.json), from a source that you trust"
    enrol.add_argument("--root", required=True, type=Path, metavar="FILE", help=trusted)
    enrol.add_argument("--device", metavar="ID", help="name of this device (default: the name of DIR)")
    enrol.add_argument("--channel", default="stable", metavar="NAME", help="channel of this device (default: stable)")
    enrol.add_argument("--model", type=Path, metavar="F.sqz", help="a model to use until the first update")
    proof = "the program must confirm the new model, or the previous one returns after three starts of the program"
    actions["update"].add_argument("--trial", action="store_true", help=proof)
