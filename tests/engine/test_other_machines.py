"""The C engine on machines that this one is not, under emulators: the same logits as NumPy, every bit of them.

So are those of 1, 2 and 3 threads, which `engine_driver.c` compares (in WebAssembly a team is one)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from squeezenet import sqz
from squeezenet.model import Model
from squeezenet.runtime.engine import PATHS
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import Runner
from support import ROOT
from support.boards import BOARDS, Board, missing
from support.engine_networks import EVERY_SUM, Builder, network, normalised
from support.engine_sources import CORE, INCLUDES

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]


SOURCES = [*CORE, ROOT / "tests" / "engine" / "engine_driver.c"]


def build(compiler: list[str], program: Path, *more: str) -> Path:
    """`engine_driver.c` and the core."""
    command = [*compiler, *STRICT, "-O2", *INCLUDES, *SOURCES, "-lm", *more, "-o", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def models() -> Iterator[Model]:
    for make in EVERY_SUM.values():
        yield make()
    for seed in range(8):
        yield network(seed)
        yield network(seed).dequantised()
    yield normalised()


def check(run: Callable[[list[str]], list[str]], folder: Path, paths: list[str]) -> None:
    """Compare the logits of all models. `run`: names of files -> the command that calls the driver with them."""
    for model in models():
        images = Builder(9, model.preparation.crop, model.preparation.channels).images(2) / (1 if model.scales else 10)
        expected = IntegerRunner(model)(images) if model.scales else Runner(model)(images)
        (folder / "model.sqz").write_bytes(sqz.encode(model))
        images.tofile(folder / "images.f32")
        command = run(["model.sqz", "images.f32", "logits.f32"])
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == paths
        for path, found in zip(
            paths, np.fromfile(folder / "logits.f32", np.float32).reshape(len(paths), *expected.shape), strict=True
        ):
            if model.scales:
                assert np.array_equal(found, expected), path
            else:
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=path)


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler is None or shutil.which("qemu-aarch64") is None:
        pytest.skip("needs aarch64-linux-gnu-gcc and qemu-aarch64")
    return build([compiler, "-static"], tmp_path_factory.mktemp("arm") / "engine_driver", "-lpthread")


@pytest.mark.parametrize(("processor", "paths"), [("cortex-a72", ["neon"]), ("max", ["neon", "neondot", "neoni8mm"])])
def test_arm(arm: Path, processor: str, paths: list[str], tmp_path: Path) -> None:
    emulator = ["qemu-aarch64", "-cpu", processor, str(arm)]
    check(lambda files: [*emulator, *files], tmp_path, ["reference", "scalar", *paths])


def test_avxvnni(tmp_path: Path) -> None:
    """AVX-512 has the instruction of AVX-VNNI in another encoding."""
    if PATHS[-1:] != ("avx512vnni",) or shutil.which("cc") is None:
        pytest.skip("needs a processor with AVX-512 VNNI, and a C compiler")
    program = build(["cc", "-DSQZ_VNNI_OF_AVX512"], tmp_path / "engine_driver", "-lpthread")
    paths = ["reference", "scalar", "avx2", "avxvnni", "avx512vnni"]
    check(lambda files: [str(program), *files], tmp_path, paths)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.processor)
def test_cortex_m(board: Board, tmp_path: Path) -> None:
    if missing():
        pytest.skip(missing())
    program = tmp_path / "driver.elf"
    board.build(program, *STRICT, "-O2", *INCLUDES, *SOURCES)
    check(lambda files: board.command(program, files), tmp_path, ["reference", "scalar", *board.paths])


@pytest.fixture(scope="module")
def webassembly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("ziglang") is None or shutil.which("node") is None:
        pytest.skip("needs node, and a compiler: pip install ziglang")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-msimd128"]
    return build(compiler, tmp_path_factory.mktemp("wasm") / "engine_driver.wasm")


@pytest.mark.slow  # a minute for the compiler's own library, the first time
def test_webassembly(webassembly: Path, tmp_path: Path) -> None:
    node = ["node", "--no-warnings", str(ROOT / "tests" / "engine" / "wasi.mjs")]
    check(lambda files: [*node, str(webassembly), *files], tmp_path, ["reference", "scalar", "simd128"])


@pytest.mark.long  # minutes for the compiler's own library, the first time
def test_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of Windows, under Wine (Debian: apt-get install wine64)."""
    wine = shutil.which("wine64", path=f"{os.environ['PATH']}:/usr/lib/wine")
    if find_spec("ziglang") is None or wine is None:
        pytest.skip("needs wine64, and a compiler: pip install ziglang")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-windows-gnu"]
    for source in SOURCES:  # linked apart, without -O2: then Windows' library is the one that wheels are linked with
        command = [*compiler, *STRICT, "-O2", *INCLUDES, "-c", source, "-o", tmp_path / f"{source.stem}.o"]
        subprocess.run(command, check=True)
    subprocess.run([*compiler, "-s", *tmp_path.glob("*.o"), "-o", tmp_path / "driver.exe"], check=True)
    monkeypatch.setenv("WINEPREFIX", str(tmp_path / "prefix"))
    monkeypatch.setenv("WINEDEBUG", "-all")
    check(lambda files: [wine, str(tmp_path / "driver.exe"), *files], tmp_path, list(PATHS))
