"""`squeezenet inspect MODEL`: the paper's table 1 for any model. The work itself is in `cli/inspect_run.py`."""

from argparse import ArgumentParser, Namespace
from typing import Any

from squeezenet.cli.arguments import add_model, sides
from squeezenet.cli.table import table

EXAMPLES = """
# what is in a file: every layer's shape, parameters, density, bits and bytes
squeezenet inspect birds.sqz
# a network before it is trained, for images of 128 x 128 pixels
squeezenet inspect squeezenet1_1 --image-size 128
# every number, for a program
squeezenet inspect birds.sqz --json
"""

MEMORY = {"weights": "of weights", "decoding": "while they are decoded", "running": "while an image is classified"}


def configure(parser: ArgumentParser) -> None:
    add_model(parser)
    pixels = "compute shapes and MACs for N x N pixels, or for HEIGHTxWIDTH"
    parser.add_argument("--image-size", type=sides, metavar="N", help=pixels)


def run(args: Namespace) -> dict[str, Any]:
    """A row for every layer and pooling; a pooling has the number of the layer before it, as in table 1."""
    from squeezenet.cli.inspect_run import inspect

    return inspect(args)


def _outputs(result: dict[str, Any]) -> str:
    """How many outputs a model has, how many of them have names, and what they mean."""
    count, named = result["classes"], result["labels"]
    if result["outputs"] == "classes":
        return f"{count} classes, {named} labels"
    if count == 1:
        return f"one output, {'a label' if named else 'without a label'}: yes if its probability is over 50%"
    return f"{count} outputs, {named} labels, each of them a yes or no"


def _boards(boards: dict[str, dict[str, Any]]) -> str:
    """Those that can take the network first, each of the others with the reason."""
    said = {"yes": "", "perhaps": "perhaps ", "no": "not "}
    return ", ".join(
        f"{before}{name}" + (f" ({board['reason']})" if board["reason"] else "")
        for fits, before in said.items()
        for name, board in boards.items()
        if board["fits"] == fits
    )


def render(result: dict[str, Any]) -> str:
    from squeezenet.preparation import spelled

    rows = []
    for row in result["layers"]:
        owner = row["parameters"] > 0
        rows.append(
            [
                row["name"],
                "x".join(map(str, row["shape"])),
                row["window"],
                f"{row['parameters']:,}" if owner else "",
                f"{100 * row['density']:.1f}%" if owner else "",
                f"{row['nonzero']:,}" if owner else "",
                str(row["bits"]) if owner else "",
                f"{row['bytes']:,}" if owner else "",
                f"{row['macs']:,}" if owner else "",
            ]
        )
    total = [
        "total", "", "", f"{result['parameters']:,}", f"{100 * result['density']:.1f}%", f"{result['nonzero']:,}", "",
        f"{result['bytes']:,}", f"{result['macs']:,}",
    ]  # fmt: skip
    head = ["layer", "output", "filter/stride", "parameters", "kept", "after pruning", "bits", "bytes", "MACs"]
    prepared = result["preparation"]
    memory = result["memory"] or {}
    needs = ", ".join(f"{bytes_:,} bytes {MEMORY[name]}" for name, bytes_ in memory.items())
    told = dict(result["provenance"])
    recipe = [line for line in told.pop("recipe", "").split(r"\n") if line]  # line ends come escaped
    places = [name if why is None else f"not {name} ({why})" for name, why in result["targets"].items()]
    made = ", ".join(f"{key} {value}" for key, value in told.items())
    return "\n".join(
        [
            f"{result['model']}: {result['bytes']:,} bytes, {result['ratio']:.1f}x smaller than its float32 weights",
            f"reads {'x'.join(map(str, result['input']))} {prepared['channels']} images, {prepared['fit']} to "
            f"{spelled(prepared['resize'])}, crop {spelled(prepared['crop'])}; {_outputs(result)}",
            f"squeezenet export --to: {', '.join(places)}",
            *([f"boards for --to c: {_boards(result['boards'])}"] if result["boards"] else []),
            *([f"memory in the C engine: {needs}"] if needs else []),
            *([made] if made else []),
            *(["recipe:", *(f"    {line}" for line in recipe)] if recipe else []),
            "",
            table(head, [*rows, total]),
        ]
    )
