"""RAM, flash and instructions on an emulated Cortex-M4: ours, TensorFlow Lite Micro, emx-onnx-cgen, onnx2c.

    squeezenet compress squeezenet1_1 --random-weights 0 --max-bytes 330kB --out v11.sqz  # no trained one ships
    git clone https://github.com/tensorflow/tflite-micro      # its Makefile fetches CMSIS-NN and what else it needs
    git clone --recursive https://github.com/kraiskil/onnx2c  # build it as its README says
    python -m venv peers && peers/bin/pip install -c constraints.txt '.[train,peers,onnx]' emx-onnx-cgen
    peers/bin/python benchmarks/embedded.py digits cifar10-small imagenet@224 v11.sqz@224 --tflm tflite-micro \\
        --onnx2c onnx2c/build/onnx2c --out embedded.json

It needs `gcc-arm-none-eabi`, `libstdc++-arm-none-eabi-newlib` and `qemu-system-arm` (Debian's names). A MODEL is an
integer network, its name or its file; `@224` sets the side of its images. All tools get the same network and the same
photo, and the same C compiler; each its best settings (`boards/tools.py`). A tool that cannot build or run a network
has a row that says why.

- board: where it was measured: `netduinoplus2`, an STM32F405 with 1 MiB of flash and 192 KiB of RAM, if the program
  fits it together with the photo; else `mps2-an386`, the same processor with 16 MB. fits: whether flash and RAM are at
  most those of the first, without the photo.
- squeezenet: our export for all of that board's memory; *small*: for 512 KiB of flash and 128 KiB of RAM, where weights
  are decoded during the run. TFLM: TensorFlow Lite Micro.
- RAM: variables, arenas, heap and stack; the stack is painted before the run. An arena of TensorFlow Lite Micro is the
  smallest that works. Bytes.
- flash: code, constants and initial values of the linked program, without the photo and without the start of the
  board; code: the same without the constants of the model. Bytes.
- instructions: of one image, after another one. QEMU gives each instruction the same time on the emulated clock, which
  a timer of the board reads in steps of 16 or 40. This is no time: a processor takes more than one cycle for some.
- begin: instructions before the first image. per MAC: instructions of an image over its multiply-accumulates.
- answer: `same bits` if the logits are those of the tool's reference on the host (ours: the engine; TensorFlow Lite
  Micro: LiteRT's reference kernels; others: ONNX Runtime), or the largest difference over the range of the logits.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np

from boards import link, tools
from boards.link import DoesNotRun, Figures
from boards.tools import Network, Program, Sources, Tool
from squeezenet import sqz, zoo
from squeezenet.runtime.image import normalise, open_image, pixels

CONVERT = Path(__file__).parent / "runtimes" / "convert.py"
OURS = "squeezenet"
TOOLS: Mapping[str, Tool] = {
    OURS: tools.squeezenet,
    f"{OURS}, small": partial(tools.squeezenet, options=("--flash", "512KiB", "--ram", "128KiB")),
    "TFLM, CMSIS-NN": partial(tools.tflm, cmsis=True),
    "TFLM, reference": partial(tools.tflm, cmsis=False),
    "emx-onnx-cgen, float": partial(tools.emx, form="float"),
    "emx-onnx-cgen, int8": partial(tools.emx, form="channels"),
    "onnx2c, float": partial(tools.onnx2c, form="float"),
    "onnx2c, int8": partial(tools.onnx2c, form="tensors"),
}

Row = dict[str, Any]
"""A row of the table: `asdict(Figures)` with `answer`, or `why` alone."""


FORMS = {"TFLM": "litert_micro", "emx": "qlinear", "onnx2c": "qlinear"}
"""How a tool's name begins -> the function of runtimes/convert.py that writes its files."""


def network(told: str, photo: str, folder: Path, only: Sequence[str]) -> Network:
    """NAME or NAME@SIZE, converted for these tools."""
    name, _, size = told.partition("@")
    path = str(Path(name).resolve() if Path(name).is_file() else zoo.find(name))
    forms = {form for start, form in FORMS.items() if any(tool.startswith(start) for tool in only)}
    for kind in ("squeezenet", *sorted(forms)):
        command = [sys.executable, str(CONVERT), kind, path, photo, size or "0", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            print(f"{told}: not converted: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
    model = sqz.read(folder / "squeezenet.sqz")
    image = pixels(open_image(photo), model.preparation)
    colours = image[::-1] if model.preparation.channels == "BGR" else image
    return Network(model, colours.transpose(1, 2, 0), normalise(image, model.preparation), folder)


def numbers(program: Program, told: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Logits as real numbers, from the integers that a program printed.

    >>> numbers(Program([], np.zeros(2), step=0.5, zero=-1), [255, 3])
    array([0., 2.])
    """
    if program.bits == "float32":
        return np.array(told, "<u4").view("<f4").astype(np.float64)
    whole = np.array(told, "<u4").view("<i4") if program.bits == "int32" else np.array(told, "u1").view("i1")
    return (whole.astype(np.float64) - program.zero) * program.step


def answer(program: Program, told: Sequence[int]) -> str:
    """How far the logits are from the reference on the host."""
    if len(told) != len(program.expected):
        return f"{len(told)} logits"
    difference = float(np.abs(numbers(program, told) - program.expected).max())
    # Steps are float32 in the files and the programs; half of a thousandth of a step is rounding.
    if difference <= (program.step / 2000 if program.bits != "float32" else 0):
        return "same bits"
    return f"{difference / float(np.ptp(program.expected)):.1e}"


def measure(tool: Tool, given: Network, sources: Sources, empty: Figures) -> Row:
    """One row."""
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder = Path(temporary)
        try:
            program = tool(given, sources, folder)
            found = link.measured(program.objects, folder, empty)
        except DoesNotRun as reason:
            return {"why": str(reason)}
    row = asdict(found) | {"ram": found.ram, "answer": answer(program, found.logits)}
    del row["logits"]
    return row


def nothing(folder: Path) -> Figures:
    """What a program needs that does nothing."""
    tool = link.compiled(link.HERE / "empty.c", folder / "empty.o", ("-O2",))
    image = link.binary(b"", "image", ".image", folder, "image", size=True)
    return link.measured([tool, image], folder, None)


COLUMNS = ("board", "fits", "RAM", "stack", "flash", "code", "instructions", "per MAC", "begin", "answer")


def cells(row: Row, macs: int) -> list[str]:
    """What the table shows of a row, after the tool's name."""
    if "why" in row:
        return [row["why"].replace("|", "/"), *[""] * (len(COLUMNS) - 1)]
    code = row["flash"] - row["model"]
    counts = [f"{row[name]:,}" for name in ("ram", "stack", "flash")]
    tail = [f"{row['again']:,}", f"{row['again'] / macs:.2f}", f"{row['begin']:,}", row["answer"]]
    fits = row["flash"] <= link.NETDUINO.flash[1] and row["ram"] <= link.NETDUINO.ram[1]
    return [row["board"], "yes" if fits else "no", *counts, f"{code:,}", *tail]


def rendered(name: str, macs: int, rows: Mapping[str, Row]) -> str:
    """The rows in Markdown, and ours over TensorFlow Lite Micro's with CMSIS-NN."""
    lines = [f"| {name}, {macs / 1e6:.1f} million MACs | " + " | ".join(COLUMNS) + " |"]
    lines.append("|-" * (1 + len(COLUMNS)) + "|")
    lines += [f"| {tool} | " + " | ".join(cells(row, macs)) + " |" for tool, row in rows.items()]
    ours, theirs = rows.get(OURS, {"why": ""}), rows.get("TFLM, CMSIS-NN", {"why": ""})
    if "why" not in ours and "why" not in theirs:
        shares = (f"{what} {ours[key] / theirs[key]:.3f}" for what, key in RATIOS.items())
        lines += ["", "ours / TFLM with CMSIS-NN: " + ", ".join(shares)]
    return "\n".join(lines)


RATIOS = {"RAM": "ram", "flash": "flash", "instructions": "again"}


def versions(args: argparse.Namespace) -> dict[str, str]:
    """Of all that had a part in the figures."""

    def said(*command: str) -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split("\n")[0].strip()
        except FileNotFoundError:
            return "not installed"

    found = {name: said(name, "--version") for name in ("arm-none-eabi-gcc", "qemu-system-arm")}
    for package in ("squeezenet", "ai-edge-litert", "ai-edge-quantizer", "litert-torch", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found | {name: text for name, _, text in (told.partition("=") for told in args.version)}


def main() -> None:
    """Measure, print, and write the figures with the versions they are true of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL[@SIZE]")
    parser.add_argument("--photo", help="a JPEG to label (default: one that comes with scikit-learn)")
    parser.add_argument("--only", nargs="+", choices=TOOLS, default=list(TOOLS), help="tools (default: all)")
    parser.add_argument("--tflm", type=Path, help="the sources of TensorFlow Lite Micro; it is built there")
    parser.add_argument("--emx", default=f"{sys.executable} -m emx_onnx_cgen", help="the command emx-onnx-cgen")
    parser.add_argument("--onnx2c", default="onnx2c", help="the program onnx2c")
    parser.add_argument("--squeezenet", default=f"{sys.executable} -m squeezenet", help="the command squeezenet")
    parser.add_argument("--version", action="append", default=[], metavar="TOOL=TEXT", help="to write into the JSON")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file; rows already in it stay")
    args = parser.parse_args()
    if args.photo is None:
        args.photo = str(distribution("scikit-learn").locate_file("sklearn/datasets/images/china.jpg"))
    sources = Sources(
        args.tflm and args.tflm.resolve(), tuple(args.emx.split()), args.onnx2c, tuple(args.squeezenet.split())
    )
    results: dict[str, Any] = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    results["versions"] = results.get("versions", {}) | versions(args)
    found = results.setdefault("networks", {})
    with tempfile.TemporaryDirectory() as temporary:
        empty = nothing(Path(temporary))
    for told in args.models:
        with tempfile.TemporaryDirectory() as temporary:
            given = network(told, str(Path(args.photo).resolve()), Path(temporary), args.only)
            name = Path(told).name
            macs = sum(given.model.graph.macs())
            table = found.setdefault(name, {"macs": macs, "rows": {}})["rows"]
            for tool in args.only:
                table[tool] = measure(TOOLS[tool], given, sources, empty)
                print(f"{name}, {tool}: {table[tool]}", file=sys.stderr, flush=True)
                if args.out:
                    args.out.write_text(json.dumps(results, indent=1) + "\n")
    if args.json:
        print(json.dumps(results, indent=1))
        return
    for name, told_of in found.items():
        ordered = {tool: told_of["rows"][tool] for tool in TOOLS if tool in told_of["rows"]}
        print(rendered(name, told_of["macs"], ordered), end="\n\n")


if __name__ == "__main__":
    main()
