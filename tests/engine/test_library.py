"""libsqz: built by its own Makefile, found by pkg-config, with the symbols of its ABI and the logits of Python."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from squeezenet import load, zoo
from support import GOLDEN, ROOT
from support.engine_sources import ENGINE

TOOLS = "cc", "make", "pkg-config", "nm"
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None] or ["Linux"] * (sys.platform != "linux")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")
PHOTO = ROOT / "docs" / "chelsea.jpg"


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    place = ["BUILD=" + str(folder / "build"), "DESTDIR=" + str(folder / "root"), "PREFIX=/opt/sqz"]
    run("make", "-s", "-C", ENGINE, "install", "OPTIMISE=-O1", "CFLAGS=-Wall -Wextra -Wconversion -Werror", *place)
    return folder / "root"


def test_the_symbols_are_those_of_the_abi(installed: Path, tmp_path: Path) -> None:
    listed = run("nm", "-D", "--defined-only", "--with-symbol-versions", installed / "opt/sqz/lib/libsqz.so")
    symbols = sorted(line.split()[-1] for line in listed.splitlines() if "@" in line)
    types = "sqz_needs", "sqz_team", "sqz_preparation", "sqz_box"
    source = tmp_path / "sizes.c"
    printed = "".join(f'printf("{name} %zu\\n", sizeof({name}));' for name in types)
    source.write_text(f"#include <stdio.h>\n#include <sqz.h>\nint main(void) {{ {printed} }}\n")
    run("cc", f"-I{installed}/opt/sqz/include", source, "-o", tmp_path / "sizes")
    sizes = run(tmp_path / "sizes").splitlines()
    assert "\n".join([*symbols, *sizes, ""]) == (GOLDEN / "abi_1.txt").read_text()
    declared = set(re.findall(r"SQZ_API [^;]*?(sqz_\w+)\(", (ENGINE / "include" / "sqz.h").read_text()))
    assert declared == {symbol.partition("@")[0] for symbol in symbols}
    assert (installed / "opt/sqz/lib/libsqz.so").resolve().name == "libsqz.so.1"


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_the_example_answers_as_python(installed: Path, tmp_path: Path, static: bool) -> None:
    image = pytest.importorskip("PIL.Image").open(PHOTO)
    image.save(tmp_path / "photo.ppm")
    find = {"PKG_CONFIG_PATH": f"{installed}/opt/sqz/lib/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(installed)}
    flags = run("pkg-config", "--cflags", "--libs", *["--static"] * static, "sqz", **find).split()
    library = f"{installed}/opt/sqz/lib"
    run(
        "cc",
        "-Wall",
        "-Werror",
        ENGINE / "examples" / "label.c",
        *["-static"] * static,
        *flags,
        "-o",
        tmp_path / "label",
    )
    model = zoo.find("imagenet-small")
    said = run(tmp_path / "label", model, tmp_path / "photo.ppm", LD_LIBRARY_PATH=library)
    label, logit = said.rstrip().rsplit(" ", 1)
    logits = load(model).see(image)
    assert float.fromhex(logit) == max(logits)
    assert label == load(model).labels[logits.index(max(logits))]


@pytest.mark.parametrize("version", [1, 2])
def test_the_example_of_updates_makes_the_new_file(installed: Path, tmp_path: Path, version: int) -> None:
    """Also where a part of it is there, since the power was cut; not from a damaged delta, nor over another file."""
    library, new = installed / "opt/sqz", tmp_path / "new.sqz"
    delta, expected = GOLDEN / f"delta_v{version}.sqzd", (GOLDEN / "delta_v1.sqz").read_bytes()
    program, source = tmp_path / "update", ENGINE / "examples" / "update.c"
    run("cc", "-Wall", "-Werror", source, f"-I{library}/include", f"-L{library}/lib", "-lsqz", "-o", program)
    for there in (0, 1, 1000, len(expected)):
        new.write_bytes(expected[:there])
        said = run(program, GOLDEN / "operations_integers_v2.sqz", delta, new, LD_LIBRARY_PATH=f"{library}/lib")
        assert new.read_bytes() == expected
        assert int(said.split()[0]) < 100_000
    (tmp_path / "damaged.sqzd").write_bytes(delta.read_bytes()[:-1])
    command = [program, GOLDEN / "operations_integers_v2.sqz", tmp_path / "damaged.sqzd", tmp_path / "other.sqz"]
    linked = {**os.environ, "LD_LIBRARY_PATH": f"{library}/lib"}
    assert subprocess.run(command, env=linked, check=False).returncode == 1
    assert (tmp_path / "other.sqz").read_bytes() == b""
    for there in (expected + b"!", expected[:500] + bytes(10)):
        new.write_bytes(there)
        done = subprocess.run([program, *command[1:2], delta, new], env=linked, check=False, capture_output=True)
        assert (done.returncode, done.stdout, new.read_bytes()) == (1, b"", there)
