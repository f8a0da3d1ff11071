"""`squeezenet models`: networks that can be named."""

from argparse import ArgumentParser, Namespace
from typing import Any

from squeezenet.cli.table import table
from squeezenet.formats import load_model
from squeezenet.models import ARCHITECTURES


def configure(parser: ArgumentParser) -> None:
    """No arguments."""


def run(args: Namespace) -> dict[str, Any]:
    """Every architecture with its cost."""
    rows = []
    for name, architecture in ARCHITECTURES.items():
        model = load_model(name, random_weights=0)
        rows.append(
            {
                "name": name,
                "description": architecture.description,
                "input_size": architecture.input_size,
                "parameters": model.parameters,
                "macs": sum(model.graph.macs()),
            }
        )
    return {"models": rows}


def render(result: dict[str, Any]) -> str:
    """For people."""
    rows = [
        [m["name"], str(m["input_size"]), f"{m['parameters']:,}", f"{m['macs']:,}", "  " + m["description"]]
        for m in result["models"]
    ]
    return table(["network", "image", "parameters", "MACs", "  "], rows) + "\n\nweights: squeezenet train --model NAME"
