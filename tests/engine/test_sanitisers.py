"""The C engine, compiled strictly, and run under AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT
from support.engine_sources import CORE, ENGINE, INCLUDES, LISTS

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def test_the_list_of_sources_has_every_file():
    listed = {ENGINE / name for files in LISTS.values() for name in files}
    assert listed == set(ENGINE.glob("[ikps]*/*.c")) - set(ENGINE.glob("program/*"))


def test_the_core_compiles_without_a_warning():
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    done = subprocess.run(
        [COMPILER, "-fsyntax-only", *strict, *INCLUDES, *CORE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_engine_is_clean_under_sanitisers(tmp_path):
    """Its tests, hostile files among them, in a process whose engine checks every access and every operation."""
    library = subprocess.run([COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(library.stdout.strip()).is_absolute():
        pytest.skip("the compiler comes without AddressSanitizer")
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    package = tmp_path / "src" / "squeezenet"
    shutil.copytree(ROOT / "src" / "squeezenet", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    options = ["--build-temp", tmp_path / "build", "--build-lib", tmp_path / "src"]
    build = [sys.executable, "setup.py", "-q", "build_ext", *options]
    compiling = {**os.environ, "CFLAGS": flags, "LDFLAGS": flags}
    built = subprocess.run(build, cwd=ROOT, env=compiling, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    files = ["engine/test_engine.py", "engine/test_rows.py", "runtime/test_light.py", "runtime/test_resizing.py"]
    tests = [ROOT / "tests" / name for name in [*files, "sqz/test_delta.py"]]
    run = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
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
