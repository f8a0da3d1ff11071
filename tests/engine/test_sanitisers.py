"""The C engine, compiled strictly, and run under AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT
from support.engine_sources import CORE, ENGINE, INCLUDES, KERNELS, LISTS

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")
QUICKLY = """#!/bin/sh
case "$*" in
*kernels/kernels_*) exec {compiler} "$@" -O0 ;;
*) exec {compiler} "$@" -O1 ;;
esac
"""
"""A compiler that overrules setup.py: optimising the unrolled loops, with all checks, takes half a minute."""
OF_THE_ENGINE = "not " + " and not ".join(
    ["[Python", "without_", "both_implementations", "little_memory", "labels_are_those", "and_numpy", "[L-framing"]
)
"""Of the tests that run under sanitisers: none that spends its time in Python, no grey twins of coloured ones."""


def test_the_list_of_sources_has_every_file():
    listed = {ENGINE / name for files in LISTS.values() for name in files}
    assert listed == set(ENGINE.glob("[ikps]*/*.c")) - set(ENGINE.glob("program/*"))


def test_the_core_compiles_without_a_warning():
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    done = subprocess.run(
        [COMPILER, "-fsyntax-only", *strict, *INCLUDES, *CORE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("machine", ["this machine", "aarch64"])
def test_kernels_are_clean_under_sanitisers(machine: str, tmp_path: Path) -> None:
    """On arrays that end with the last byte that may be read. An emulator runs the paths of 64-bit ARM."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc") if machine == "aarch64" else COMPILER, []
    if compiler is None or (machine == "aarch64" and shutil.which("qemu-aarch64") is None):
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    asked = [[compiler, f"-print-file-name={name}"] for name in ("libasan.so", "libc.so.6")]
    answers = [subprocess.run(ask, capture_output=True, text=True, check=True) for ask in asked]
    found = [Path(answer.stdout.strip()) for answer in answers]
    if not found[0].is_absolute():
        pytest.skip("the compiler comes without AddressSanitizer")
    if machine == "aarch64":
        emulator = ["qemu-aarch64", "-cpu", "max", "-L", str(found[1].resolve().parents[1])]
    sources = [ROOT / "tests" / "engine" / "kernels_driver.c", ROOT / "engine" / "src" / "chains.c", *KERNELS]
    flags = ["-std=c99", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", *INCLUDES]
    subprocess.run([compiler, *flags, *sources, "-o", tmp_path / "driver"], check=True)
    checked = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([*emulator, tmp_path / "driver"], env=checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    if machine == "aarch64":
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["scalar", "neon", "neondot", "neoni8mm"]


@pytest.mark.slow
def test_the_engine_is_clean_under_sanitisers(tmp_path):
    """Its tests, hostile files among them, in a process whose engine checks every access and every operation."""
    library = subprocess.run([COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(library.stdout.strip()).is_absolute():
        pytest.skip("the compiler comes without AddressSanitizer")
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
    compiler = tmp_path / "cc"
    compiler.write_text(QUICKLY.format(compiler=COMPILER))
    compiler.chmod(0o755)
    package = tmp_path / "src" / "squeezenet"
    shutil.copytree(ROOT / "src" / "squeezenet", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    options = ["--build-temp", tmp_path / "build", "--build-lib", tmp_path / "src"]
    build = [sys.executable, "setup.py", "-q", "build_ext", *options]
    compiling = {**os.environ, "CC": str(compiler), "CFLAGS": flags, "LDFLAGS": flags}
    built = subprocess.run(build, cwd=ROOT, env=compiling, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    files = ["engine/test_engine.py", "engine/test_rows.py", "runtime/test_light.py", "runtime/test_resizing.py"]
    tests = [ROOT / "tests" / name for name in [*files, "sqz/test_delta.py"]]
    run = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", OF_THE_ENGINE, *tests]
    checked = {
        **os.environ,
        "LD_PRELOAD": library.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
        "PYTHONPATH": str(tmp_path / "src"),
        "PYTHONMALLOC": "malloc",
    }
    where = [sys.executable, "-c", "import squeezenet._engine as engine; print(engine.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=checked, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).parent == package
    done = subprocess.run(run, cwd=tmp_path, env=checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
