"""Time of one image on each path of the engine, and on those of the engine of an earlier revision, in one run.

    python benchmarks/paths.py v10.sqz v11.sqz --input-size 224 --against a467c57

The engine of `--against` is built in a temporary folder, with the Python code of that revision. Every engine runs each
path in a process of its own, and turns alternate. A figure is the median over the rounds of the fastest of `--runs`
runs: the seconds that the processor worked on it, so that other programs on the machine count little. All engines must
give the same logits.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAST = ("avx2", "avxvnni", "avx512vnni", "neon", "neondot", "neoni8mm")
WORKER = """
import sys, time, zlib
from dataclasses import replace
import numpy as np
from squeezenet import sqz
from squeezenet.runtime.engine import EngineRunner
model = sqz.decode(open(sys.argv[1], "rb").read())
if size := int(sys.argv[3]):
    shape = (model.graph.input_shape[0], size, size)
    graph, preparation = replace(model.graph, input_shape=shape), replace(model.preparation, crop=size)
    model = replace(model, graph=graph, preparation=preparation)
run = EngineRunner(sqz.encode(model), 1, sys.argv[2])
images = np.random.default_rng(0).normal(0, 1, (1, *model.graph.input_shape)).astype(np.float32)
print(zlib.crc32(run(images).tobytes()), flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.process_time()
        run(images)
        times.append(time.process_time() - start)
    print(1000 * min(times), flush=True)
"""


def build(revision: str, folder: Path) -> Path:
    """The package of a revision with its engine; returns the folder that Python imports it from."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return folder / "src"


def start(source: Path, model: str, path: str, size: int) -> subprocess.Popen[str]:
    """A process that runs the engine of `source` when it is told to."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, model, path, str(size)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a process. Raises `SystemExit` if there is none."""
    assert process.stdout
    if not (line := process.stdout.readline()):
        raise SystemExit("an engine failed; what it said is above")
    return line.strip()


def measure(engines: dict[str, Path], model: str, size: int, rounds: int, runs: int) -> dict[str, float]:
    """Milliseconds of every path of every engine, all taking turns."""
    with ExitStack() as stack:
        processes = {}
        for name, source in engines.items():
            environment = {**os.environ, "PYTHONPATH": str(source)}
            asked = [sys.executable, "-c", "from squeezenet.runtime.engine import PATHS; print(*PATHS)"]
            paths = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment).stdout.split()
            for path in paths:
                if path in FAST:
                    process = stack.enter_context(start(source, model, path, size))
                    stack.callback(process.kill)
                    processes[f"{path}, {name}"] = process
        if len(logits := {said(process) for process in processes.values()}) > 1:
            raise SystemExit(f"{model}: engines give different logits: {logits}")
        times: dict[str, list[float]] = {row: [] for row in processes}
        for _ in range(rounds):
            for row, process in processes.items():
                assert process.stdin
                print(runs, file=process.stdin, flush=True)
                times[row].append(float(said(process)))
        return {row: statistics.median(found) for row, found in times.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.sqz", help="integer networks")
    parser.add_argument("--against", metavar="REVISION", help="a revision of git to compare with")
    parser.add_argument(
        "--input-size", type=int, default=0, help="pixels of an image's side (default: the model's own)"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20, help="of one engine in one round")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        engines = {"now": ROOT / "src"}
        if args.against:
            engines[args.against] = build(args.against, Path(temporary))
        tables = [measure(engines, model, args.input_size, args.rounds, args.runs) for model in args.models]
    print(f"| ms | {' | '.join(Path(model).stem for model in args.models)} |\n|-|{'-|' * len(args.models)}")
    for row in tables[0]:
        print(f"| {row} | {' | '.join(f'{table[row]:.2f}' for table in tables)} |")


if __name__ == "__main__":
    main()
