"""Compiles an exported folder for its board, and reads how much memory the linked program takes.

>>> measure(Path("birds"), BOARDS["netduinoplus2"], ({"sqz_max_pool"}, set()), script)    # doctest: +SKIP
Measured(flash=371204, ram=104512, stack=2944, reserved=3216, code=17820, compiler='arm-none-eabi-gcc 12.2.1')

The stack is an upper bound: GCC writes the bytes of each function and the calls between them (-fcallgraph-info), and
`stack_bound` adds them up along the deepest chain of calls.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from squeezenet.errors import ModelError
from squeezenet.export.c.board import Board

LIBRARY = 64
"""Bytes of stack for a function that is not compiled here: of the compiler's library, or in assembly."""
COPYING = dict.fromkeys(("memcpy", "memmove", "memset"), 16)
"""The same for functions of the C library."""

TILES = ("multiply", "depthwise")
"""The inner loops that compute a tile of a layer; they need the largest frames."""

INDIRECT = "__indirect_call"
NODE = re.compile(r'^node: \{ title: "(?P<name>[^"]+)" label: "(?P<label>[^"]*)"', re.MULTILINE)
EDGE = re.compile(r'^edge: \{ sourcename: "(?P<source>[^"]+)" targetname: "(?P<target>[^"]+)"', re.MULTILINE)
FRAME = re.compile(r"\\n(\d+) bytes \((static|dynamic,bounded|dynamic)\)")
ENTRIES = ("model_begin", "model_row", "model_finish")

COUNTED = re.compile(r"^(instructions|decoding|stack) (\d+)$", re.MULTILINE)
"""What the example prints."""


@dataclass(frozen=True)
class Measured:
    """Bytes of a linked program."""

    flash: int
    ram: int
    """The memory of the model, the variables of the example, and the reserved stack."""
    stack: int
    """The most stack that the three functions of model.h use."""
    reserved: int
    """The most stack that the whole example uses."""
    code: int
    """The part of `flash` that is neither the model (weights, tables, names) nor the example and the board's files."""
    compiler: str


def tools(board: Board) -> str | None:
    """The compiler with its version, or None if it or `make` is not installed."""
    if not board.prefix or not all(map(shutil.which, (board.compiler, f"{board.prefix}size", "make"))):
        return None
    version = subprocess.run([board.compiler, "-dumpfullversion"], capture_output=True, text=True, check=False)
    return f"{board.compiler} {version.stdout.strip()}"


def measure(
    folder: Path, board: Board, pointers: tuple[set[str], set[str]], script: Callable[[int], bytes]
) -> Measured:
    """Compile the files in `folder` and read the figures; `board/link.ld` becomes `script(bytes of stack)`.

    `pointers`: the functions that the plan names, as `stack_bound` takes them.
    """
    build(folder, "objects", "EXTRA=-fcallgraph-info=su,da")
    graphs = sorted((folder / "build").rglob("*.ci"))
    stack = stack_bound(graphs, ENTRIES, pointers)
    reserved = -(-stack_bound(graphs, (board.start,), pointers) // 16) * 16
    (folder / "board" / "link.ld").write_bytes(script(reserved))
    build(folder, "all")
    rest = [*(folder / "build").glob("*.o"), *(folder / "build/board").glob("*.o")]
    (flash, ram), *parts = sizes(board, folder / "build/example", *rest)
    return Measured(flash, ram, stack, reserved, flash - sum(part for part, _ in parts), tools(board) or "")


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
    command = [f"{board.prefix}size", *map(str, files)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    counted = [[int(number) for number in line.split()[:3]] for line in lines]
    return [(text + data, data + bss) for text, data, bss in counted]


def stack_bound(graphs: Iterable[Path], starts: Iterable[str], pointers: tuple[set[str], set[str]]) -> int:
    """Bytes of stack along the deepest chain of calls from any of the functions `starts`.

    `graphs` are the files that GCC writes for each source file. `pointers`: the functions that calls through pointers
    may reach, namely those that compute operations, and those that these call to prepare and to finish a tile. Both may
    call the inner loops (`kernels_*.c`) through a pointer, but only the former those of `TILES`. Raises `ModelError` if
    a function calls itself, or if its frame has no fixed size.
    """
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    kernels: set[str] = set()
    for path in graphs:
        text = path.read_text(encoding="utf-8", errors="replace")
        for node in NODE.finditer(text):
            if not (frame := FRAME.search(node["label"])):
                continue
            if frame[2] == "dynamic":
                raise ModelError(f"{node['name']}: its stack has no fixed size")
            frames[node["name"]] = int(frame[1])
            if path.name.startswith("kernels_"):
                kernels.add(node["name"])
        for edge in EDGE.finditer(text):
            calls.setdefault(edge["source"], set()).add(edge["target"])
    tiles = {name for name in kernels if name.rpartition(":")[2] in TILES}
    levels = [pointers[0], pointers[1] | tiles, kernels - tiles]
    known: dict[tuple[str, int], int] = {}

    def depth(name: str, level: int, above: tuple[str, ...]) -> int:
        if name in above:
            raise ModelError(f"{name}: calls itself")
        if (name, level) not in known:
            deeper = []
            for other in calls.get(name, ()):
                if other != INDIRECT:
                    deeper.append(depth(other, level, (*above, name)))
                else:
                    deeper += [
                        depth(each, i + 1, (*above, name)) for i in range(level, len(levels)) for each in levels[i]
                    ]
            known[name, level] = frames.get(name, COPYING.get(name, LIBRARY)) + max(deeper, default=0)
        return known[name, level]

    return max(depth(name, 0, ()) for name in starts)
