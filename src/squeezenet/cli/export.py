"""`squeezenet export MODEL --to TARGET --out OUT`: writes a model for other runtimes. No PyTorch is needed."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import add_model, count, size
from squeezenet.errors import MissingDependency, UnsupportedOperation, UsageError
from squeezenet.printable import counted, printable

TARGETS = {
    "onnx": "ONNX; an integer network gets 8-bit layers, and in ONNX Runtime the same logits, bit for bit",
    "onnx-qdq": "ONNX with 8-bit layers in the usual form (QDQ): faster, but its answers may differ from the model's",
    "onnx-exact": "ONNX with operations on integers only, for ONNX Runtime: also without optimisations the same logits",
    "qonnx": "QONNX, for compilers for FPGAs, from a network squeezed with --scales power-of-two; the same logits",
    "c": "a folder with C for a microcontroller; the same logits, bit for bit, in a fixed amount of memory",
    "hls4ml": "a folder with a project of hls4ml, from a network squeezed with --scales power-of-two; the same logits",
    "rtl": "a folder with Verilog for an FPGA; the same logits, bit for bit, with all weights on the chip",
    "web": "a folder with a static web page, which classifies images in the browser; the same logits, bit for bit",
}

FORMS = {
    "onnx": "8-bit layers", "onnx-qdq": "8-bit layers (QDQ)", "onnx-exact": "operations on integers only",
    "qonnx": "Quant nodes (QONNX)",
}  # fmt: skip

ONLY_FOR = {
    "board": ("c",),
    "prefix": ("c",),
    "ram": ("c",),
    "flash": ("c",),
    "run": ("c",),
    "image": ("c", "hls4ml", "rtl"),
    "cycles": ("rtl",),
    "part": ("rtl",),
    "more": ("web",),
}
"""Options that only some targets have."""

EXAMPLES = """
# for ONNX Runtime, OpenVINO and browsers: the logits that squeezenet computes
squeezenet export birds.sqz --to onnx --out birds.onnx
# faster there, but with other logits: up to a few steps of 8 bits
squeezenet export birds.sqz --to onnx-qdq --out birds.onnx
# C for a Cortex-M4; `make -C birds-c test` runs its example in an emulator
squeezenet export birds.sqz --to c --board netduinoplus2 --out birds-c
# a project of hls4ml; `make -C birds-hls test` runs its C simulation
squeezenet export birds.sqz --to hls4ml --out birds-hls
# Verilog for FPGAs: about 50,000 cycles for an image
squeezenet export birds.sqz --to rtl --cycles 50000 --out birds-rtl
# a web page that compares two models
squeezenet export birds.sqz imagenet-small --to web --out birds-web
"""

OURS = b"\x12\x0asqueezenet"
"""The name of the producer, as it stands near the beginning of an ONNX file that squeezenet wrote."""


def configure(parser: ArgumentParser) -> None:
    from squeezenet.export.c.board import BOARDS
    from squeezenet.export.rtl.parts import PARTS, PLANNED

    add_model(parser)
    parser.add_argument("more", nargs="*", metavar="MODEL", help="for web: more models on the same page")
    what = "; ".join(f"{name}: {text}" for name, text in TARGETS.items())
    parser.add_argument("--to", required=True, choices=list(TARGETS), metavar="TARGET", help=what)
    parser.add_argument("--out", required=True, metavar="OUT", help="the .onnx file, or the folder to write")
    parser.add_argument("--force", action="store_true", help="replace files in OUT that squeezenet did not write")
    only_c = parser.add_argument_group("for --to c")
    boards = "; ".join(f"{name}: {board.about}" for name, board in BOARDS.items())
    only_c.add_argument("--board", choices=list(BOARDS), metavar="NAME", help=f"{boards} (default: host)")
    prefix = "begin the names of files, functions and constants with NAME, so that a program can have several models"
    only_c.add_argument("--prefix", metavar="NAME", help=f"{prefix} (default: model)")
    limit = (
        "bytes that the whole program may take, as in 128KiB (default: all of the board's; host: of the model alone)"
    )
    only_c.add_argument("--ram", type=size, metavar="BYTES", help=f"RAM: {limit}")
    only_c.add_argument("--flash", type=size, metavar="BYTES", help=f"flash: {limit}")
    parser.add_argument("--image", metavar="FILE", help="for c, hls4ml, rtl: the test image (default: artificial ones)")
    only_c.add_argument("--run", action="store_true", help="also run the example in the board's emulator, and count")
    only_rtl = parser.add_argument_group("for --to rtl")
    goal = "the cycles that an image may take (default: as few as fit into the part)"
    only_rtl.add_argument("--cycles", type=count, metavar="N", help=goal)
    parts = "; ".join(f"{name}: {PARTS[name].about}" for name in PLANNED)
    only_rtl.add_argument("--part", choices=list(PLANNED), metavar="NAME", help=f"{parts} (default: ecp5-85f)")


def run(args: Namespace) -> dict[str, Any]:
    """Write the file or folder; the JSON object names what was written, with its bytes."""
    out = Path(args.out)
    for option, targets in ONLY_FOR.items():
        if args.to not in targets and getattr(args, option) not in (None, False, []):
            name = "several models" if option == "more" else f"--{option}"
            raise UsageError(f"{name}: only for --to {', '.join(targets)}")
    found = {"c": _c, "hls4ml": _hls4ml, "rtl": _rtl, "web": _web}.get(args.to, _onnx)(args, out)
    return {"model": args.model, "to": args.to, "out": args.out, **found}


def _c(args: Namespace, out: Path) -> dict[str, Any]:
    from squeezenet.runtime.engine import PATHS

    if not PATHS:
        raise MissingDependency("writing C needs the C engine; install a C compiler, then squeezenet again")
    from squeezenet.export.c.write import export
    from squeezenet.export.folders import may_write
    from squeezenet.formats import load_model

    may_write(out, "c", args.force)
    model = load_model(args.model, args.random_weights)
    image = Path(args.image) if args.image is not None else None
    try:
        return export(
            model, Path(args.model).stem, out, args.board or "host",
            prefix="model" if args.prefix is None else args.prefix,
            ram=args.ram or 0, flash=args.flash or 0, image=image, run=args.run, force=args.force,
        )  # fmt: skip
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"{args.model} --to c: {error}") from None


def _hls4ml(args: Namespace, out: Path) -> dict[str, Any]:
    from squeezenet.export.folders import may_write
    from squeezenet.export.hls4ml.write import export
    from squeezenet.formats import load_model

    may_write(out, "hls4ml", args.force)
    model = load_model(args.model, args.random_weights)
    image = Path(args.image) if args.image is not None else None
    try:
        return export(model, Path(args.model).stem, out, image, force=args.force)
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"{args.model} --to hls4ml: {error}") from None


def _rtl(args: Namespace, out: Path) -> dict[str, Any]:
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise MissingDependency("writing Verilog needs NumPy; pip install 'sqznet[numpy]'") from None
    from squeezenet.export.folders import may_write
    from squeezenet.export.rtl.write import export
    from squeezenet.formats import load_model

    may_write(out, "rtl", args.force)
    model = load_model(args.model, args.random_weights)
    images = [Path(args.image)] if args.image is not None else None
    try:
        return export(
            model, Path(args.model).stem, out, cycles=args.cycles or 0, part=args.part or "ecp5-85f", images=images,
            force=args.force,
        )  # fmt: skip
    except UnsupportedOperation as error:
        raise UnsupportedOperation(f"{args.model} --to rtl: {error}") from None


def _web(args: Namespace, out: Path) -> dict[str, Any]:
    try:
        import numpy  # noqa: F401
    except ImportError:
        raise MissingDependency("writing a web page needs NumPy; pip install 'sqznet[numpy]'") from None
    from squeezenet.cli.arguments import model_path
    from squeezenet.export.folders import may_write
    from squeezenet.export.web.write import export, name_of
    from squeezenet.formats import load_model

    may_write(out, "web", args.force)
    sources: dict[str, Any] = {}
    for given in [args.model, *args.more]:
        path = model_path(Namespace(model=given, random_weights=args.random_weights))
        model = load_model(given, args.random_weights)
        sources[name_of(path, sources)] = path, model
    return export(sources, out, args.force)


def _onnx(args: Namespace, out: Path) -> dict[str, Any]:
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
    return {"integer": bool(model.scales), "opset": OPSET, "files": [{"path": args.out, "bytes": len(data)}]}


def render(result: dict[str, Any]) -> str:
    if result["to"] == "c":
        return _render_c(result)
    if result["to"] == "hls4ml":
        what = counted(result["convolutions"], "convolution")
        return f"{result['out']}: a project of hls4ml {result['hls4ml']}, {what}; next: make -C {result['out']} test"
    if result["to"] == "rtl":
        return _render_rtl(result)
    if result["to"] == "web":
        return (
            f"{result['out']}: a web page with {counted(len(result['models']), 'model')}; next: python3 -m http.server "
            f"--directory {result['out']}\n  a visit downloads {result['download']:,} bytes, of which "
            f"{result['engine']:,} are the engine (gzip)"
        )
    (file,) = result["files"]
    form = FORMS[result["to"]] if result["integer"] else "floats"
    return f"{file['path']}: {file['bytes']:,} bytes, opset {result['opset']}, {form}"


def _render_c(result: dict[str, Any]) -> str:
    lines = [f"{result['out']}: C for {result['board']}; next: make -C {result['out']} test"]
    lines.append(
        f"  model: {result['memory']:,} bytes of RAM, {result['weights']:,} bytes of flash, "
        f"{counted(result['decoded'], 'weight')} decoded for each image"
    )
    if result["compiler"]:
        lines.append(
            f"  program ({result['compiler']}): {result['ram']:,} bytes of RAM, "
            f"{result['flash']:,} bytes of flash, {result['code']:,} of them code; stack of the model: "
            f"{result['stack']:,} bytes"
        )
    if "instructions" in result:
        lines.append(
            f"  in QEMU: the logits of squeezenet, {result['instructions']:,} instructions, of which "
            f"{result['decoding_instructions']:,} decode weights; {result['stack_used']:,} bytes of stack used"
        )
    if not result["compiler"] and result["board"] != "host":
        from squeezenet.export.c.board import BOARDS

        compiler = BOARDS[result["board"]].compiler
        lines.append(
            f"  {compiler} or make is not installed here; with them, export also tells what the whole program takes"
        )
    return "\n".join(lines)


def _render_rtl(result: dict[str, Any]) -> str:
    from squeezenet.export.rtl.parts import PARTS

    part, cycles = PARTS[result["part"]], result["cycles"]
    skipped = 100 * result["skipped"]
    return "\n".join(
        [
            f"{result['out']}: Verilog in {len(result['stages'])} stages; next: make -C {result['out']} test",
            f"  an image takes {cycles:,} cycles by plan: {80_000_000 // cycles:,} images a second at 80 MHz; "
            f"{skipped:.1f}% of the multiplications by 0 are skipped",
            f"  {result['multipliers']:,} multipliers and {result['block_rams']:,} block RAMs by arithmetic; a "
            f"{part.about} has {part.multipliers:,} and {part.block_rams:,}",
        ]
    )


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
