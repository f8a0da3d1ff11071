"""Compiles an exported folder for its board, and reads how much memory the linked program takes.

>>> measure(Path("birds"), BOARDS["netduinoplus2"], "model", script)    # doctest: +SKIP
Measured(flash=371204, ram=104512, stack=6052, reserved=6112, code=17820, compiler='arm-none-eabi-gcc 12.2.1')
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from squeezenet.errors import ModelError
from squeezenet.export.c import stack
from squeezenet.export.c.board import Board

ENTRIES = ("begin", "row", "finish")
"""The three functions, without the prefix of their names."""

COUNTED = re.compile(r"^(instructions|decoding|stack) (\d+)$", re.MULTILINE)
"""What the example prints."""


@dataclass(frozen=True)
class Measured:
    """Bytes of a linked program."""

    flash: int
    ram: int
    """The memory of the model, the variables of the example, and the reserved stack."""
    stack: int
    """Stack that the three functions of the model use."""
    reserved: int
    """Stack that the whole example uses, up to the next multiple of 16."""
    code: int
    """The part of `flash` that is neither the model (weights, tables, names) nor the example and the board's files."""
    compiler: str


def tools(board: Board) -> str | None:
    """The compiler with its version, or None if it or `make` is not installed."""
    programs = ("make", *(f"{board.prefix}{name}" for name in ("gcc", "objdump", "size")))
    if not board.prefix or not all(map(shutil.which, programs)):
        return None
    version = subprocess.run([board.compiler, "-dumpfullversion"], capture_output=True, text=True, check=False)
    return f"{board.compiler} {version.stdout.strip()}"


def measure(folder: Path, board: Board, prefix: str, script: Callable[[int], bytes]) -> Measured:
    """Compile the files in `folder` and read the figures; `board/link.ld` becomes `script(bytes of stack)`.

    `prefix`: of the names of the three functions.
    """
    link = folder / "board" / "link.ld"
    link.write_bytes(script(0))
    build(folder, "all", "EXTRA=-fcallgraph-info")
    listing = _printed(f"{board.prefix}objdump", "-d", "--no-show-raw-insn", folder / "build/example")
    graphs = [path.read_text(encoding="utf-8", errors="replace") for path in (folder / "build").rglob("*.ci")]
    sources = {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.[ch]")}
    reached = stack.pointers(graphs, sources)
    program = stack.functions(listing)
    used = stack.deepest(program, reached, [f"{prefix}_{name}" for name in ENTRIES])
    reserved = -(-stack.deepest(program, reached, (board.start,)) // 16) * 16
    link.write_bytes(script(reserved))
    build(folder, "all")
    rest = [*(folder / "build").glob("*.o"), *(folder / "build/board").glob("*.o")]
    (flash, ram), *parts = sizes(board, folder / "build/example", *rest)
    return Measured(flash, ram, used, reserved, flash - sum(part for part, _ in parts), tools(board) or "")


def emulate(folder: Path) -> dict[str, int]:
    """Run the example in the emulator of its board: the instructions, those of decoding, the bytes of stack it used.

    Raises `ModelError` if the logits are not those of squeezenet.
    """
    printed = build(folder, "test")
    if (folder / "board/decoding.c").exists():
        printed += build(folder, "decoding")
    found = {name: int(number) for name, number in COUNTED.findall(printed)}
    return {
        "instructions": found.get("instructions", 0),
        "decoding_instructions": found.get("decoding", 0),
        "stack_used": found["stack"],
    }


def build(folder: Path, *targets: str) -> str:
    """Call `make` in a folder; returns what it prints. Raises `ModelError` with what the linker says."""
    command = ["make", "-C", str(folder), *targets]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line or "overflow" in line or "full" in line]
        raise ModelError("; ".join(said[:3]) or done.stderr[-300:])
    return done.stdout


def sizes(board: Board, *files: Path) -> list[tuple[int, int]]:
    """Bytes of flash and of RAM of each object or program, as `size` counts them."""
    lines = _printed(f"{board.prefix}size", *files).splitlines()[1:]
    counted = [[int(number) for number in line.split()[:3]] for line in lines]
    return [(text + data, data + bss) for text, data, bss in counted]


def _printed(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout
