"""The inner loops of every path of this machine and of emulated microcontrollers give the sums of plain loops."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from squeezenet.export.c.fit import GEOMETRY
from support import ROOT
from support.boards import BOARDS, Board, missing
from support.engine_sources import INCLUDES, KERNELS

OPTIONS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", *INCLUDES]
SOURCES = [ROOT / "tests" / "engine" / "kernels_driver.c", ROOT / "engine" / "src" / "chains.c", *KERNELS]


@pytest.mark.parametrize("options", [[], ["-DSQZ_VNNI_OF_AVX512"]], ids=["as built", "AVX-VNNI by AVX-512"])
def test_this_machine(options: list[str], tmp_path: Path) -> None:
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a C compiler")
    program = tmp_path / "kernels_driver"
    subprocess.run([compiler, *OPTIONS, *options, *SOURCES, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("scalar ")
    if options and "avx512vnni" in done.stdout:
        assert "avxvnni" in done.stdout


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.processor)
def test_microcontrollers(board: Board, tmp_path: Path) -> None:
    if missing():
        pytest.skip(missing())
    program = tmp_path / "kernels_driver.elf"
    board.build(program, *OPTIONS, *SOURCES)
    done = subprocess.run(board.command(program, []), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = {name: tuple(map(int, numbers)) for name, *numbers in map(str.split, done.stdout.splitlines())}
    assert found == {name: GEOMETRY[name] for name in ["scalar", *board.paths]}


@pytest.mark.long
def test_webassembly(tmp_path: Path) -> None:
    """An access outside the memory of the program ends it, and so does undefined behaviour."""
    if find_spec("ziglang") is None or (node := shutil.which("node")) is None:
        pytest.skip("needs node, and a compiler: pip install ziglang")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-msimd128"]
    checks = ["-fsanitize=undefined", "-fsanitize-trap=undefined"]
    program = tmp_path / "kernels_driver.wasm"
    subprocess.run([*compiler, *OPTIONS, *checks, *SOURCES, "-o", program], check=True)
    command = [node, "--no-warnings", ROOT / "tests" / "engine" / "wasi.mjs", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["scalar", "simd128"]
