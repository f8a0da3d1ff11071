"""`squeezenet models [NAME]`: the models that ship or can be fetched, and the networks; or the card of one model."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from squeezenet import zoo
from squeezenet.architectures import ARCHITECTURES
from squeezenet.cli.table import table
from squeezenet.errors import UsageError

EXAMPLES = """
# every model and network
squeezenet models
# the card of one: data, accuracy, licence, limits
squeezenet models imagenet
"""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="show the card (data, accuracy, limits) of this model")


def run(args: Namespace) -> dict[str, Any]:
    """All models and networks, or the card of one. Nothing is fetched."""
    if args.name is not None:
        return {"name": args.name, "card": _card(args.name)}
    about = ("name", "description", "bytes", "top1")
    shipped = [_fields(model, about) for model in zoo.SHIPPED.values()]
    published = [
        {**_fields(model, (*about[:2], "url", "sha256", *about[2:])), "cached": zoo.is_cached(model)}
        for model in zoo.PUBLISHED.values()
    ]
    sizes = ("description", "input_size", "parameters", "macs")
    networks = [{"name": name, **_fields(network, sizes)} for name, network in ARCHITECTURES.items()]
    return {"shipped": shipped, "published": published, "models": networks}


def render(result: dict[str, Any]) -> str:
    if "card" in result:
        return _card(result["name"]).rstrip()  # with its line breaks, which a result does not keep
    shipped = [[m["name"], f"{m['bytes']:,}", f"{m['top1']:.2f}%", "  " + m["description"]] for m in result["shipped"]]
    published = [
        [m["name"], f"{m['bytes']:,}" if m["bytes"] else "", f"{m['top1']:.2f}%", "yes" if m["cached"] else "no",
         "  " + m["description"]] for m in result["published"]
    ]  # fmt: skip
    networks = [
        [m["name"], str(m["input_size"]), f"{m['parameters']:,}", f"{m['macs']:,}", "  " + m["description"]]
        for m in result["models"]
    ]
    blocks = [
        _table(["ships", "bytes", "top-1"], shipped),
        _table(["squeezenet pull", "bytes", "top-1", "here"], published),
        _table(["squeezenet train --model", "image", "parameters", "MACs"], networks),
        "more about a model: squeezenet models NAME",
    ]
    return "\n\n".join(blocks)


def _fields(value: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _card(name: str) -> str:
    """The card of a model or a network, in Markdown. Raises `UsageError` for a name that is neither."""
    if name in zoo.SHIPPED or name in zoo.PUBLISHED:
        return zoo.card(name)
    if network := ARCHITECTURES.get(name):
        side = network.input_size
        size = f"{network.parameters:,} parameters and {network.macs:,} MACs for 1,000 classes"
        return (
            f"# {name}\n\nA network without weights: {network.description}. By default it reads images of {side} x "
            f"{side} pixels,\nand has {size}.\n\n"
            f"    squeezenet train --data photos/ --model {name} --out run\n    squeezenet inspect {name}\n"
        )
    if Path(name).exists():
        raise UsageError(
            f"{name}: files and folders have no card; to see what this one contains, use: squeezenet inspect {name}"
        )
    raise UsageError(f"no model is called {name}; {zoo.nearest(name, [*zoo.SHIPPED, *zoo.PUBLISHED, *ARCHITECTURES])}")


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A table whose last column is text, aligned left."""
    width = max(len(row[-1]) for row in rows)
    return "\n".join(
        line.rstrip() for line in table([*head, ""], [[*row[:-1], row[-1].ljust(width)] for row in rows]).splitlines()
    )
