"""Writes a folder with a network in C.

>>> export(model, "digits", Path("digits-c"), "lm3s6965evb")["stack"]   # doctest: +SKIP
5344
"""

import contextlib
import json
import os
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
from squeezenet.export.targets import TARGETS
from squeezenet.files import write_atomically
from squeezenet.model import Model
from squeezenet.printable import printable
from squeezenet.runtime.engine import EngineRunner, run_rows
from squeezenet.runtime.image import cut, normalise, open_image
from squeezenet.version import __version__

MARKER = "squeezenet.json"
"""The file that tells a later export that squeezenet wrote this folder, and which files in it."""

FOLDERS = ("", "engine", "board", "test")
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
    may_write(out, force)
    board = BOARDS[board_name]
    if run and (not tools(board) or shutil.which(board.emulator.split()[0]) is None):
        if not board.emulator:
            raise UsageError(f"--run: {board_name} has no emulator; name a board with --board, or run `make test`")
        wanted = f"{board.compiler}, make and {board.emulator.split()[0]}"
        raise MissingDependency(f"--run: {board_name} needs {wanted}")
    limit = Bytes(_limit(board, board_name, "ram", ram), _limit(board, board_name, "flash", flash))
    pixels = picture(model, image)
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
    put(out, written)
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


def picture(model: Model, image: Path | None) -> NDArray[np.uint8]:
    """The test image, resized and cropped, (height, width, channels) in the order R G B: from a file, or a drawing."""
    channels, height, width = model.graph.input_shape
    if image is not None:
        return np.asarray(cut(open_image(image), model.preparation)).reshape(height, width, channels)
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    disc = np.hypot(x - 0.4, y - 0.5) < 0.3
    planes = [x, y, 1 - x][:channels]
    drawn = [255 * np.where(disc, 1 - plane, 0.2 + 0.6 * plane) for plane in planes]
    return np.stack(drawn, -1).astype(np.uint8)


def integer_logits(model: Model, pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The logits of the test image, in steps of the last value; as floats they are the logits of the host."""
    data = sqz.encode(model)
    order = pixels[:, :, ::-1] if model.preparation.channels == "BGR" else pixels
    prepared = normalise(np.ascontiguousarray(order.transpose(2, 0, 1)), model.preparation)
    expected = np.asarray(EngineRunner(data)(prepared[None]))[0]
    logits = np.empty(model.graph.classes, np.int32)
    run_rows(data, pixels, logits)
    if not np.array_equal(logits.astype(np.float32) * np.float32(model.scales[-1].step), expected):
        raise ModelError("running by rows gives other logits than the engine; please report this model")
    return logits


def _measured(e: Exported) -> Measured:
    """The figures of a program."""
    with tempfile.TemporaryDirectory(prefix="squeezenet-") as temporary:
        _put(Path(temporary), contents(e))
        return measure(Path(temporary), e.board, e.prefix, lambda stack: link_script(e.board, ROOM, ROOM, stack))


def _emulated(written: dict[str, bytes]) -> dict[str, int]:
    """What the example does in the emulator of its board."""
    with tempfile.TemporaryDirectory(prefix="squeezenet-") as temporary:
        _put(Path(temporary), written)
        return emulate(Path(temporary))


def may_write(out: Path, force: bool) -> None:
    """Raise `UsageError` unless `out` does not exist, is an empty folder, or is a folder that squeezenet wrote."""
    name = printable(str(out))
    if not out.parent.is_dir():
        raise UsageError(f"{printable(str(out.parent))}: no such folder; create it, or name another")
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise UsageError(f"{name}: is a file, not a folder; give another name")
    if not force and any(out.iterdir()) and not _ours(out):
        raise UsageError(f"{name}: exists, and squeezenet did not write it; pass --force to write into it")


def _ours(out: Path) -> list[str]:
    """The files that an earlier export wrote, or nothing."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        held = json.loads((out / MARKER).read_text(encoding="utf-8"))
        if held["to"] == "c":
            return [str(name) for name in held["files"]]
    return []


def put(out: Path, written: dict[str, bytes]) -> None:
    """Write the files. A new folder appears at once and complete; in an existing one each file is replaced.

    Files of an earlier export that this one does not write are removed; files of others stay.
    """
    if not out.exists():
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
        try:
            _put(temporary, written)
            os.umask(mask := os.umask(0))
            temporary.chmod(0o777 & ~mask)
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return
    stale = [name for name in _ours(out) if name not in written and Path(name).parent.name in FOLDERS]
    _put(out, written)
    for name in stale:
        (out / Path(name).parent.name / Path(name).name).unlink(missing_ok=True)


def _put(folder: Path, written: dict[str, bytes]) -> None:
    for name, data in written.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, data)
