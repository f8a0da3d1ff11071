"""A device applies a delta with little memory, and goes on after its power was cut."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from squeezenet import zoo
from squeezenet.sqz import delta
from support import ROOT
from support.boards import BOARDS, missing
from support.engine_sources import CORE, INCLUDES

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program; of the engine, only the code that it calls is linked."""
    built = tmp_path_factory.mktemp("driver") / "driver"
    core = [path for path in CORE if path.name != "threads.c"]
    flags = ["-std=c99", "-O1", *INCLUDES, "-lm", "-o", built]
    subprocess.run([str(COMPILER), ROOT / "tests" / "engine" / "delta_driver.c", *core, *flags], check=True)
    return built


def test_the_power_is_cut_again_and_again(driver: Path, tmp_path: Path) -> None:
    old, made, out = zoo.find("imagenet"), tmp_path / "p.sqzd", tmp_path / "new.sqz"
    new = zoo.find("imagenet-small").read_bytes()
    made.write_bytes(delta.make(old.read_bytes(), new))
    chance, runs = random.Random(0), 0
    while True:
        command = [driver, old, made, out, "100000", str(chance.choice([0, 1, 17, 5_000, 60_000]))]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        runs += 1
        if done.returncode != 3:
            break
        assert out.read_bytes() == new[: out.stat().st_size]
    assert done.returncode == 0
    assert out.read_bytes() == new
    assert int(done.stdout) < 100_000
    assert runs > 5


def test_too_little_memory_is_said_before_anything_is_written(driver: Path, tmp_path: Path) -> None:
    old, made, out = zoo.find("imagenet"), tmp_path / "p.sqzd", tmp_path / "new.sqz"
    made.write_bytes(delta.make(old.read_bytes(), zoo.find("imagenet-small").read_bytes()))
    done = subprocess.run(
        [str(driver), str(old), str(made), str(out), "70000", "1000000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert 70_000 < int(done.stdout) < 100_000
    assert out.stat().st_size == 0


def test_the_size_of_a_graph_does_not_wrap_around_in_32_bits(tmp_path: Path) -> None:
    if missing():
        pytest.skip(missing())
    program = tmp_path / "front.elf"
    sources = [ROOT / "engine" / "src" / name for name in ("delta_front.c", "sha256.c")]
    BOARDS[0].build(program, "-std=c99", "-O1", *INCLUDES, ROOT / "tests" / "engine" / "delta_front_driver.c", *sources)
    done = subprocess.run(BOARDS[0].command(program, []), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
