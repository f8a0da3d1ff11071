"""`squeezenet convert IN OUT`: the authors' `.net`, PyTorch's `.pth`, `.safetensors`, `.sqz`."""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import add_model
from squeezenet.errors import UsageError
from squeezenet.formats import load_model, save_model


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    add_model(parser)
    parser.add_argument("out", metavar="OUT", help="file to write: .sqz, .safetensors, .pth or .net")
    parser.add_argument("--labels", metavar="FILE", help="a text file with the name of one class per line")


def run(args: Namespace) -> dict[str, Any]:
    """Convert, and say what was written."""
    model = load_model(args.model, args.random_weights)
    if args.labels:
        labels = _lines(args.labels)
        if len(labels) != model.graph.classes:
            raise UsageError(f"{args.labels}: {len(labels)} lines for {model.graph.classes} classes")
        model = replace(model, labels=labels)
    save_model(model, args.out)
    size = Path(args.out).stat().st_size
    return {
        "model": args.model,
        "out": args.out,
        "parameters": model.parameters,
        "density": round(model.density, 6),
        "bytes": size,
        "ratio": round(model.float32_bytes / size, 2),
    }


def render(result: dict[str, Any]) -> str:
    """For people."""
    return (
        f"{result['out']}: {result['bytes']:,} bytes, {result['parameters']:,} parameters, "
        f"{100 * result['density']:.1f}% of the weights kept, {result['ratio']:.1f}x smaller than float32"
    )


def _lines(path: str) -> tuple[str, ...]:
    try:
        return tuple(Path(path).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8; write the name of one class per line") from None
