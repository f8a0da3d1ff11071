"""The engine in WebAssembly, for tests that need Clang, LLD and Node."""

import fcntl
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

from support import ROOT

WEB = ROOT / "web"


@cache
def built() -> Path:
    """The folder `web/` with its two engines, or the test is skipped. Make builds what is not up to date."""
    if any(shutil.which(tool) is None for tool in ("make", "clang", "wasm-ld")):
        pytest.skip("needs make, clang and wasm-ld (Debian: apt-get install make clang lld)")
    with (Path(tempfile.gettempdir()) / "squeezenet-wasm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist: several processes
        done = subprocess.run(
            ["make", "-C", WEB, "WARNINGS=-Wall -Wextra -Wconversion -Wpedantic -Werror"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return WEB


def node() -> str:
    """The program Node, or the test is skipped."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs Node.js")
    return found
