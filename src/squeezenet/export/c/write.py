"""Writes a folder with a network in C.

>>> export(model, "digits", Path("digits-c"), "lm3s6965evb")["stack"]   # doctest: +SKIP
5344
"""

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet import sqz
from squeezenet.errors import MissingDependency, ModelError, UnsupportedOperation, UsageError
from squeezenet.export.c import sources
from squeezenet.export.c.board import BOARDS, Board
from squeezenet.export.c.fit import STACK_UNMEASURED, Bytes, fitted
from squeezenet.export.c.folder import Exported, contents, link_script, readme
from squeezenet.export.c.measure import Measured, emulate, measure, tools
from squeezenet.export.folders import MARKER, may_write, put, put_files
from squeezenet.export.pictures import picture, prepared
from squeezenet.export.targets import TARGETS
from squeezenet.model import Model
from squeezenet.printable import printable
from squeezenet.runtime.engine import EngineRunner, run_rows
from squeezenet.version import __version__

FOLDERS = (".", "engine", "board", "test")
"""The folders in it."""

PREFIX = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)

TAKEN = re.compile(
    r"sqz.*|board.*|example|assert|complex|ctype|errno|fenv|float|inttypes|iso646|limits|locale|math|setjmp|signal"
    r"|std\w+|string|tgmath|threads|time|uchar|wchar|wctype"
)
"""Prefixes that begin names of the engine or of the example, and the names of C's headers, whose place `NAME.h` would
take."""

ROOM = 2 << 20
"""Bytes of RAM and of flash with which a program is linked to be measured."""


def export(
    model: Model,
    name: str,
    out: Path,
    board_name: str = "host",
    *,
    prefix: str = "model",
    ram: int = 0,
    flash: int = 0,
    image: Path | None = None,
    run: bool = False,
    force: bool = False,
) -> dict[str, Any]:
    """Write the folder `out`; returns the JSON object of the verb.

    `ram` and `flash` are the bytes that the program may take; 0: all that the board has. The test image is the file
    `image`, or a drawing. `run`: also run the example in the emulator of the board. `prefix`: with which the names of
    files, functions and constants begin.
    """
    if reason := TARGETS["c"](model):
        raise UnsupportedOperation(reason)
    check_prefix(prefix)
    may_write(out, "c", force)
    board = BOARDS[board_name]
    if run and (not tools(board) or shutil.which(board.emulator.split()[0]) is None):
        if not board.emulator:
            raise UsageError(f"--run: {board_name} has no emulator; name a board with --board, or run `make test`")
        wanted = f"{board.compiler}, make and {board.emulator.split()[0]}"
        raise MissingDependency(f"--run: {board_name} needs {wanted}")
    limit = Bytes(_limit(board, board_name, "ram", ram), _limit(board, board_name, "flash", flash))
    pixels = picture(model.preparation, model.graph.input_shape, image)
    logits = integer_logits(model, pixels)

    def exported(plan: dict[str, Any]) -> Exported:
        return Exported(model, name, prefix, board_name, board, plan, pixels, logits)

    compiled = tools(board) is not None
    plan, measured = fitted(model, board, limit, compiled, lambda plan: _measured(exported(plan)))
    e = exported(plan)
    written = contents(e)
    if board.prefix:
        stack = measured.reserved if measured else STACK_UNMEASURED
        written["board/link.ld"] = link_script(board, limit.flash, limit.ram, stack)
    result = {
        "board": board_name,
        "prefix": prefix,
        "ram": measured.ram if measured else None,
        "flash": measured.flash if measured else None,
        "stack": measured.stack if measured else None,
        "code": measured.code if measured else None,
        "compiler": measured.compiler if measured else None,
        "memory": e.memory,
        "activations": plan["memory"]["values"],
        "weights": len(plan["weights"]),
        "decoded": plan["decoded"],
        "limits": {"ram": limit.ram or None, "flash": limit.flash or None},
    }
    if run:
        result |= _emulated(written)
        if measured and result["stack_used"] > measured.stack:
            raise ModelError(f"{board_name}: the stack in use is larger than computed; please report this model")
    written["README.md"] = readme(e, result).encode()
    marker = {"squeezenet": __version__, "to": "c", "model": printable(name), **result, "files": sorted(written)}
    written[MARKER] = (json.dumps(marker, indent=1) + "\n").encode()
    put(out, written, "c", FOLDERS)
    return {**result, "files": [{"path": str(out / path), "bytes": len(data)} for path, data in written.items()]}


def check_prefix(prefix: str) -> None:
    """Raise `UsageError` if names of the C code cannot begin with it, or if it would be the name of another file."""
    if not PREFIX.fullmatch(prefix):
        shape = "lower-case letters a to z, digits and _, a letter first, at most 40"
        raise UsageError(f"--prefix {printable(prefix)}: must be {shape}")
    if TAKEN.fullmatch(prefix) or f"{prefix}.h" in sources.files():
        raise UsageError(f"--prefix {prefix}: is taken by other files or names of the program; take another")


def _limit(board: Board, name: str, what: str, asked: int) -> int:
    has: int = getattr(board, what)
    if has and asked > has:
        raise UsageError(f"--{what} {asked:,}: {name} has {has:,} bytes")
    return asked or has


def integer_logits(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The logits of the test image, in steps of the last value; as floats they are the logits of the host."""
    data = sqz.encode(model)
    expected = np.asarray(EngineRunner(data)(prepared(pixels, model.preparation)[None]))[0]
    logits = np.empty(model.graph.classes, np.int32)
    run_rows(data, pixels, logits)
    if not np.array_equal(logits.astype(np.float32) * np.float32(model.scales[-1].step), expected):
        raise ModelError("running by rows gives other logits than the engine; please report this model")
    return logits


def _measured(e: Exported) -> Measured:
    """The figures of a program."""
    with tempfile.TemporaryDirectory(prefix="squeezenet-") as temporary:
        put_files(Path(temporary), contents(e))
        return measure(Path(temporary), e.board, e.prefix, lambda stack: link_script(e.board, ROOM, ROOM, stack))


def _emulated(written: dict[str, bytes]) -> dict[str, int]:
    """What the example does in the emulator of its board."""
    with tempfile.TemporaryDirectory(prefix="squeezenet-") as temporary:
        put_files(Path(temporary), written)
        return emulate(Path(temporary))
