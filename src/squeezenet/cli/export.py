"""`squeezenet export MODEL --to TARGET --out FILE`: writes a model for other runtimes. No PyTorch is needed."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import add_model
from squeezenet.errors import MissingDependency, UnsupportedOperation, UsageError
from squeezenet.printable import printable

TARGETS = {
    "onnx": "ONNX; an integer network gets 8-bit layers (QDQ), whose answers may differ a little from the model's",
    "onnx-exact": "ONNX with operations on integers only: in ONNX Runtime the same logits, bit for bit, on every CPU",
}

EXAMPLES = """
# fast 8-bit layers in ONNX Runtime, OpenVINO and in browsers
squeezenet export birds.sqz --to onnx --out birds.onnx
# the same logits as squeezenet computes, bit for bit
squeezenet export birds.sqz --to onnx-exact --out birds.onnx
"""

OURS = b"\x12\x0asqueezenet"
"""The name of the producer, as it stands near the beginning of an ONNX file that squeezenet wrote."""


def configure(parser: ArgumentParser) -> None:
    add_model(parser)
    what = "; ".join(f"{name}: {text}" for name, text in TARGETS.items())
    parser.add_argument("--to", required=True, choices=list(TARGETS), metavar="TARGET", help=what)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .onnx file to write")
    parser.add_argument("--force", action="store_true", help="replace FILE even if squeezenet did not write it")


def run(args: Namespace) -> dict[str, Any]:
    """Write the file; the JSON object names it and its size."""
    out = Path(args.out)
    _check(out, args.force)
    try:
        import onnx_ir  # noqa: F401
    except ImportError as error:
        raise MissingDependency(f"writing ONNX needs {error.name}; pip install 'sqznet[onnx]'") from None
    from squeezenet.export.onnx import OPSET, encode
    from squeezenet.files import write_atomically
    from squeezenet.formats import load_model

    model = load_model(args.model, args.random_weights)
    try:
        data = encode(model, args.to)
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"{args.model} --to {args.to}: {error}") from None
    write_atomically(out, data)
    return {
        "model": args.model,
        "to": args.to,
        "integer": bool(model.scales),
        "opset": OPSET,
        "files": [{"path": args.out, "bytes": len(data)}],
    }


def render(result: dict[str, Any]) -> str:
    (file,) = result["files"]
    form = "operations on integers only" if result["to"] == "onnx-exact" else "8-bit layers (QDQ)"
    form = form if result["integer"] else "floats"
    return f"{file['path']}: {file['bytes']:,} bytes, opset {result['opset']}, {form}"


def _check(out: Path, force: bool) -> None:
    name = printable(str(out))
    if out.suffix != ".onnx":
        raise UsageError(f"{name}: the name of an ONNX file ends in .onnx")
    if not out.parent.is_dir():
        raise UsageError(f"{printable(str(out.parent))}: no such folder; create it, or name another")
    if out.exists() and not out.is_file():
        raise UsageError(f"{name}: is a folder or a device, not a file; give another name")
    if out.exists() and not force:
        with out.open("rb") as file:
            ours = OURS in file.read(32)
        if not ours:
            raise UsageError(f"{name}: exists, and squeezenet did not write it; pass --force to replace it")
