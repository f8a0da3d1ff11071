"""Runtimes as processes: those that wait for their turn, and those that start, do one thing and end."""

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from runtimes.peers import Rows

HERE = Path(__file__).resolve().parent
AGREEMENT = 0.9
"""Cosine between a runtime's logits and those of float32 below which something else would be timed."""


def environment(*without: str) -> dict[str, str]:
    """This one's variables, but none that tell thread pools how to wait or how many to be, nor those named."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "OPENBLAS_", *without))}


class Worker:
    """A runtime in a process of its own that waits for its turn; started at once, `ready` when it has answered."""

    def __init__(self, runtime: str, kind: str, folder: Path, threads: int, batch: int) -> None:
        self.name = f"{runtime} {kind}"
        given = [runtime, kind, str(folder), str(threads), str(batch)]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "warm.py"), *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def ready(self) -> float:
        """Cosine of its logits and those of float32. Raises `SystemExit` if it failed or runs another network."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} failed; what it said is above")
        if not float(line) > AGREEMENT:
            raise SystemExit(
                f"{self.name}: logits unlike those of float32 (cosine {line.strip()}); check its conversion"
            )
        return float(line)

    def fastest(self, runs: int) -> float:
        """Milliseconds of the fastest of so many runs."""
        assert self.process.stdin
        assert self.process.stdout
        print(runs, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.__exit__(None, None, None)


def warm(rows: Rows, folder: Path, threads: int, batch: int, rounds: int, runs: int) -> dict[str, tuple[float, float]]:
    """Milliseconds of every row, all taking turns, and how well its logits agree with those of float32 (cosine)."""
    with ExitStack() as open_workers:
        workers = {
            row: open_workers.enter_context(Worker(*which, folder, threads, batch)) for row, which in rows.items()
        }
        agreement = {row: found.ready() for row, found in workers.items()}
        times: dict[str, list[float]] = {row: [] for row in rows}
        for _ in range(rounds):
            for row, found in workers.items():
                times[row].append(found.fastest(runs))
        return {row: (statistics.median(times[row]), agreement[row]) for row in rows}


def cold(commands: dict[str, list[str]], rounds: int) -> dict[str, tuple[float, float, str]]:
    """Median milliseconds, peak MB and what was printed, all taking turns; a first round warms the disk and is not
    counted."""
    found: dict[str, list[list[str]]] = {row: [] for row in commands}
    for _ in range(rounds + 1):
        for row, command in commands.items():
            watch = [sys.executable, "-I", "-S", str(HERE / "stopwatch.py"), *command]
            variables = environment() if command[0] == sys.executable else environment("PYTHON")
            done = subprocess.run(watch, capture_output=True, text=True, check=False, env=variables)
            if done.returncode:
                raise SystemExit(f"{done.stderr}{' '.join(command)}: failed")
            found[row].append(done.stdout.split("\n", 2))
    return {
        row: (
            statistics.median(float(run[0]) for run in runs[1:]),
            max(float(run[1]) for run in runs),
            runs[0][2].strip(),
        )
        for row, runs in found.items()
    }


def decoding(model: str, threads: Sequence[int], rounds: int) -> dict[int, float]:
    """Threads -> median milliseconds from the bytes of a file to a network, a process each time, all taking turns; a
    first round is not counted."""
    found: dict[int, list[float]] = {count: [] for count in threads}
    for _ in range(rounds + 1):
        for count, times in found.items():
            command = [sys.executable, str(HERE / "decode.py"), model, str(count)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
            if done.returncode:
                raise SystemExit(f"{done.stderr}{model}: cannot be decoded; the reason is above")
            times.append(float(done.stdout))
    return {count: statistics.median(times[1:]) for count, times in found.items()}
