"""Exports networks as C and runs them, on this machine or in the emulator of a board; skips tests without the tools."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from squeezenet.export.c.board import BOARDS
from squeezenet.export.c.write import export
from squeezenet.model import Model
from squeezenet.runtime.engine import PATHS
from support import ROOT

CAT = ROOT / "docs" / "chelsea.jpg"

STRICT = "EXTRA=-Werror -Wstrict-prototypes -Wmissing-prototypes -Wvla"
"""For `make`: no warning is allowed."""


@dataclass(frozen=True)
class Ran:
    """What `make test` printed."""

    output: str
    instructions: int
    stack: int


def need(board: str) -> None:
    """Skip the test where a tool of the board is missing."""
    if not PATHS:
        pytest.skip("the C engine is not built")
    tools = ["make", BOARDS[board].compiler, *BOARDS[board].emulator.split()[:1]]
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


def exported(model: Model, out: Path, board: str = "host", name: str = "model", **options: Any) -> dict[str, Any]:
    """The folder, and the JSON object of the verb."""
    need(board)
    return export(model, name, out, board, image=CAT, **options)


def made(out: Path, *targets: str) -> str:
    """What `make` prints to stdout; it must succeed."""
    command = ["make", "--silent", "-C", str(out), *targets]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return done.stdout


def ran(out: Path) -> Ran:
    """`make test`: the logits are those of squeezenet."""
    fast = (
        ["OPTIMISE=-O1"] if "host" in (out / "Makefile").read_text().split("\n")[0] else []
    )  # half the time to compile
    output = made(out, STRICT, *fast, "test")
    assert "all logits are equal to those of squeezenet" in output
    found = {word: int(number) for word, number in re.findall(r"^(instructions|stack) (\d+)$", output, re.MULTILINE)}
    return Ran(output, found.get("instructions", 0), found.get("stack", 0))
