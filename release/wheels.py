"""Builds the source distribution and the wheels of every system, on one machine, twice with the same bytes.

    python -m pip install '.[release]'
    python release/wheels.py --out dist

Clang from the package ziglang compiles for each system; no container, SDK or other machine is needed (ADR 45). Python
3.11 builds wheels for the stable ABI, which Python 3.11 and newer load. A free-threaded interpreter has no stable ABI
before 3.15, and builds wheels for itself. Each wheel is built from the source distribution.
"""

import argparse
import gzip
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
EARLIEST = 315532800
"""Seconds from 1970 to 1980, where the time of ZIP files begins."""


@dataclass(frozen=True)
class Target:
    """A system that wheels are for, and how Clang and Python call it."""

    tag: str  # at the end of the name of a wheel
    triple: str  # what Clang compiles for; the C library's oldest version, if there are several
    platform: str  # sysconfig.get_platform() on this system
    suffix: str  # of the file of a module
    link: tuple[str, ...] = ("-shared", "-s", "-Wl,--gc-sections")


ANY_PYTHON = (
    "-shared",
    "-s",
    "-Wl,-dead_strip",
    "-undefined",
    "dynamic_lookup",
)  # names of Python are found when it loads the module
LIBRARY = f"python{sys.version_info[0]}{sys.version_info[1]}t" if FREE_THREADED else "python3"
TARGETS = (
    Target("manylinux_2_17_x86_64", "x86_64-linux-gnu.2.17", "linux-x86_64", ".so"),
    Target("manylinux_2_17_aarch64", "aarch64-linux-gnu.2.17", "linux-aarch64", ".so"),
    Target("musllinux_1_2_x86_64", "x86_64-linux-musl", "linux-x86_64", ".so"),
    Target("musllinux_1_2_aarch64", "aarch64-linux-musl", "linux-aarch64", ".so"),
    Target("macosx_10_13_x86_64", "x86_64-macos.10.13", "macosx-10.13-x86_64", ".so", ANY_PYTHON),
    Target("macosx_11_0_arm64", "aarch64-macos.11.0", "macosx-11.0-arm64", ".so", ANY_PYTHON),
    Target("win_amd64", "x86_64-windows-gnu", "win-amd64", ".pyd", ("-shared", "-s", "-L.", f"-l{LIBRARY}")),
)


def zig(*arguments: str) -> list[str]:
    """The command that runs a tool of ziglang."""
    found = find_spec("ziglang")
    if found is None or found.origin is None:
        raise SystemExit("wheels: ziglang is missing: pip install '.[release]'")
    return [str(Path(found.origin).with_name("zig")), *arguments]


def seconds_of_release() -> int:
    """The time that all files in the archives have: SOURCE_DATE_EPOCH, or else that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        given = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return max(int(given), EARLIEST)


def environment(target: Target | None, seconds: int) -> dict[str, str]:
    """What setuptools reads: the time, and the compiler of a target."""
    found = {**os.environ, "SOURCE_DATE_EPOCH": str(seconds), "PYTHONHASHSEED": "0", "CFLAGS": ""}
    if target is None:
        return found
    macros = ["-DPy_GIL_DISABLED=1"] if FREE_THREADED else []
    # -O2 for the parts of libc that are compiled, too: without it Clang adds checks of undefined behaviour.
    compiler = " ".join([*zig("cc", "-target", target.triple, "-O2"), *macros, "-I../headers"])
    linker = " ".join([*zig("cc", "-target", target.triple), *target.link])
    stable = "" if FREE_THREADED or target.suffix == ".pyd" else ".abi3"
    found |= {"CC": compiler, "LDSHARED": linker, "LDFLAGS": "", "_PYTHON_HOST_PLATFORM": target.platform}
    return found | {"SETUPTOOLS_EXT_SUFFIX": stable + target.suffix}


def run(command: list[str], folder: Path, variables: dict[str, str]) -> None:
    """Runs a command, and shows what it said if it fails."""
    pipe = subprocess.PIPE
    done = subprocess.run(command, cwd=folder, env=variables, stdout=pipe, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\nwheels: {' '.join(command)} failed")


def without_times(archive: Path, seconds: int) -> bytes:
    """The bytes of a .tar.gz with its files in order, of one time, and of no user."""
    packed = BytesIO()
    with (
        tarfile.open(archive) as old,
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=seconds) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return packed.getvalue()


def build_source(out: Path, work: Path, seconds: int) -> Path:
    """The source distribution, with WebAssembly compiled."""
    if not all(map(shutil.which, ("make", "clang", "wasm-ld"))):
        raise SystemExit("wheels: a wheel brings engine.wasm: make, clang and wasm-ld (Debian: lld) are needed")
    run(["make", "-C", "web"], ROOT, dict(os.environ))
    run([sys.executable, "setup.py", "sdist", "--dist-dir", str(work)], ROOT, environment(None, seconds))
    (made,) = work.glob("*.tar.gz")
    path = out / made.name
    path.write_bytes(without_times(made, seconds))
    made.unlink()
    return path


def write_headers(work: Path) -> None:
    """Python's headers, for every system; and the names in them, from which Windows' linker may take some."""
    headers = work / "headers"
    shutil.copytree(sysconfig.get_path("include"), headers)
    shutil.copy(ROOT / "release/pyconfig.h", headers)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(headers.rglob("*.h")))
    names = sorted(set(re.findall(r"\b_?Py\w+", text)))
    (work / "names.def").write_text("\n".join([f"LIBRARY {LIBRARY}.dll", "EXPORTS", *names, ""]), encoding="ascii")


def build_wheel(target: Target, source: Path, work: Path, seconds: int) -> Path:
    """Builds the wheel of a target from the source distribution."""
    with tarfile.open(source) as archive:
        archive.extractall(work, filter="data")
    folder = work / source.name.removesuffix(".tar.gz")
    if target.suffix == ".pyd":
        run(zig("dlltool", "-m", "i386:x86-64", "-d", "../names.def", "-l", f"{LIBRARY}.lib"), folder, dict(os.environ))
    command = [sys.executable, "setup.py", "bdist_wheel", "--plat-name", target.tag, "--dist-dir", str(work)]
    run(command, folder, environment(target, seconds))
    shutil.rmtree(folder)
    (wheel,) = work.glob("*.whl")
    return wheel


def missing(wheel: Path, modules: list[str]) -> Iterator[str]:
    """What a wheel must have and does not: setup.py goes on where there is no compiler."""
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    for module in modules:
        if not any(module.replace(".", "/") + suffix in names for suffix in (".abi3.so", ".so", ".pyd")):
            yield module
    for name in ("engine.wasm", "engine-scalar.wasm", "squeezenet.js"):
        if f"squeezenet/export/web/module/{name}" not in names:
            yield name


def modules() -> list[str]:
    """The modules in C that setup.py declares."""
    import_module("setuptools")  # brings distutils, which Python 3.12 no longer has
    with chdir(ROOT):
        found = import_module("distutils.core").run_setup("setup.py", stop_after="init")
    return [extension.name for extension in found.ext_modules]


def build(out: Path, targets: list[Target]) -> list[Path]:
    """Builds the source distribution and the wheels of some targets. Returns their files."""
    seconds = seconds_of_release()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        source = build_source(out, work, seconds)
        made = [source]
        write_headers(work)
        needed = modules()
        for target in targets:
            wheel = build_wheel(target, source, work, seconds)
            if lacks := list(missing(wheel, needed)):
                raise SystemExit(f"wheels: {wheel.name} has no {', '.join(lacks)}")
            made.append(Path(shutil.move(wheel, out / wheel.name)))
            print(f"{made[-1].stat().st_size:>9,} bytes  {wheel.name}", flush=True)
    return made


def main() -> int:
    """Builds, and with --twice compares with a second build."""
    known = {target.tag: target for target in TARGETS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the files (default: dist)")
    parser.add_argument("--target", choices=known, action="append", help="a system, if not all; may be repeated")
    parser.add_argument("--twice", action="store_true", help="build again, and fail if a byte differs")
    options = parser.parse_args()
    if sys.platform != "linux" or (sys.version_info[:2] != (3, 11) and not FREE_THREADED):
        parser.error("needs Linux, and Python 3.11, the oldest that loads the wheels (or a free-threaded Python)")
    os.umask(0o022)  # the archives hold permissions
    targets = [known[tag] for tag in options.target or known]
    made = build(options.out, targets)
    if options.twice:
        with tempfile.TemporaryDirectory() as folder:
            for path, again in zip(made, build(Path(folder), targets), strict=True):
                if path.read_bytes() != again.read_bytes():
                    raise SystemExit(f"wheels: {path.name} has other bytes when it is built again")
        print("twice the same bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
