"""Exports networks as Verilog and simulates them; skips tests without the tools."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from squeezenet.export.rtl.write import export
from squeezenet.model import Model


@dataclass(frozen=True)
class Simulated:
    """What `make test` printed: without pauses, then with them."""

    differing: list[int]
    cycles: list[int]


def need(*tools: str) -> None:
    """Skip the test where a tool is missing."""
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")


def noise(model: Model, count: int = 3) -> list[NDArray[np.uint8]]:
    """Images of random pixels."""
    channels, height, width = model.graph.input_shape
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (height, width, channels), np.uint8) for _ in range(count)]


def exported(model: Model, out: Path, cycles: int, images: Any = None, name: str = "model") -> dict[str, Any]:
    """The folder, and the JSON object of the verb."""
    return export(model, name, out, cycles=cycles, images=images or noise(model))


def lint(out: Path) -> None:
    """Verilator has no warnings about the design."""
    need("verilator", "make")
    command = ["make", "--silent", "-C", str(out), "lint"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert not done.stderr


def simulated(out: Path, seed: int = 1, optimise: str = "-O0") -> Simulated:
    """`make test`."""
    need("verilator", "make", "g++")
    command = ["make", "--silent", "-C", str(out), "test", f"SEED={seed}", f"OPTIMISE={optimise}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"pauses in 30% of the cycles, seed {seed}" in done.stdout
    differing = [int(n) for n in re.findall(r"^logits that differ (\d+) of", done.stdout, re.MULTILINE)]
    cycles = [int(n) for n in re.findall(r"^cycles of an image (\d+)", done.stdout, re.MULTILINE)]
    return Simulated(differing, cycles)
