"""From the start of a process to a printed label: time, memory, and what a base install takes on the disk.

    python benchmarks/cold_start.py photo.jpg --peer "python label_with_a_peer.py photo.jpg" --out cold_start.json

Builds a wheel from this tree and installs it into a fresh virtual environment, so modules are compiled and nothing else
slows the start. `squeezenet classify` then takes turns with a bare Python, with `import numpy` in the interpreter that
runs this file, and with any `--peer`; a figure is the median of the rounds. Memory is the peak of the child process, or
of this one where that is more: a process begins as a copy of the one that starts it.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def base_install(folder: Path) -> Path:
    """A virtual environment with this tree and what it depends on; its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT], check=True)
    return python


def installed_bytes(python: Path) -> dict[str, int]:
    """Bytes on the disk of each package in site-packages, without the installers that an environment begins with."""
    listed = [python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    packages = Path(subprocess.run(listed, capture_output=True, text=True, check=True).stdout.strip())
    found: dict[str, int] = {}
    for path in packages.rglob("*"):
        name = path.relative_to(packages).parts[0].split("-")[0]
        if path.is_file() and name not in ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils"):
            found[name] = found.get(name, 0) + path.stat().st_blocks * 512
    return found


def once(command: Sequence[str | Path]) -> tuple[float, float]:
    """Milliseconds to a process's first line, or its end if it prints none; its peak resident memory in MB (10^6)."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout
    process.stdout.readline()
    milliseconds = 1000 * (time.perf_counter() - start)
    process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))}: failed")
    return milliseconds, usage.ru_maxrss * 1024 / 1e6


def measure(commands: Mapping[str, Sequence[str | Path]], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds and peak MB of each command; the first round, which warms the disk, does not count."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            runs[name].append(once(command))
    return {
        name: {
            "ms": round(statistics.median(ms for ms, _ in found[1:]), 1),
            "peak_mb": round(max(mb for _, mb in found), 1),
        }
        for name, found in runs.items()
    }


def main() -> None:
    """Print a table, and write what it says to a JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--model", default="cifar10", help="a .sqz file, or a model that ships")
    parser.add_argument("--peer", action="append", default=[], metavar="COMMAND", help="another process to measure")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", help="write the figures to this JSON file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = base_install(Path(folder) / "venv")
        ours = [python.parent / "squeezenet", "classify", "--model", args.model, args.image]
        commands: dict[str, Sequence[str | Path]] = {
            "squeezenet classify": ours,
            "python -c pass": [python, "-c", "pass"],
            "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
        }
        commands.update({peer: shlex.split(peer) for peer in args.peer})
        result = {"installed": installed_bytes(python), "processes": measure(commands, args.rounds)}
    for name, found in result["processes"].items():
        print(f"{name:40}{found['ms']:9.1f} ms{found['peak_mb']:9.1f} MB")
    for name, size in [*result["installed"].items(), ("installed together", sum(result["installed"].values()))]:
        print(f"{name:40}{size / 1e6:9.2f} MB")
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
