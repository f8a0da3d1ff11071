"""The C engine against PyTorch, ONNX Runtime, OpenVINO, LiteRT and ncnn: time, memory and disk, in one run.

    squeezenet compress squeezenet1_1 --random-weights 0 --out v11.sqz                  # where there is no trained one
    python -m venv peers && peers/bin/pip install -c constraints.txt '.[train,peers]'   # an environment of their own
    peers/bin/python benchmarks/runtime.py v10.sqz v11.sqz --input-size 224 --out runtime.json

Models are integer networks (`squeezenet compress --method squeeze`); their weights may be anything: the time of a run
does not depend on values, only a cold start does on the size of the file. Peers get the same network with float32
weights (OpenVINO and ncnn compute in bfloat16 where the processor can) and with 8 bits made by their own tools:
`runtimes/convert.py`; their settings are in `runtimes/load.py`. Those that are not installed are left out, and named.
All of it takes about eight minutes on two idle cores.

- warm: a prepared image to its logits, on 1 and on 2 threads. Every runtime is a process that waits for its turn, so
  that none is slowed by another's threads; turns alternate, and a figure is the median over the rounds of the fastest
  of `--runs` runs, so that neither another process nor a falling clock favours anyone.
- images/s: `--batch` images at once, on as many threads as the last of `--threads`.
- cold: the start of a process to a printed label, JPEG decoding by Pillow included, files in the page cache. Ours is
  `squeezenet classify` of a base install made for the occasion, a peer is `runtimes/label.py` in an environment with
  nothing but it, NumPy and Pillow. Peers may use all cores, ours takes at most four. Compiled PyTorch is left out: it
  would have to compile. What each printed goes to stderr. `--program` adds `sqz`, with the same file.
- decode: from the bytes of the file as it was given to a network ready to run, with its labels; a process each time,
  a median over `--cold-rounds`. Ours alone.
- peak: resident memory of that process, MB (10^6).
- disk: packages and all they depend on, with Pillow (and NumPy for peers).
- engine: our compiled library without its symbols, kB (10^3).

The table ends with our figures over the best peer's, and with the bars the project has set itself.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution, version
from pathlib import Path

from runtimes import installs
from runtimes.bars import PROGRAM, Table, judged, rendered
from runtimes.peers import OURS, PEERS, ROWS, Rows, our_rows
from runtimes.processes import HERE, cold, decoding, environment, warm

PREPARES = ("numpy", "pillow")
NO_COLD_START = {("pytorch", "compiled")}
SMALL_NUMBERS = {"avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm"}
"""Flags of a processor that decide how fast 8 bits and bfloat16 are."""


def convert(runtimes: Sequence[str], model: str, photo: str, size: int, folder: Path) -> None:
    """Write every runtime's files. Raises `SystemExit` if one cannot."""

    def one(runtime: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        command = [sys.executable, str(HERE / "convert.py"), runtime, model, photo, str(size), str(folder)]
        return runtime, subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for runtime, done in pool.map(one, runtimes):
            if done.returncode:
                raise SystemExit(f"{done.stderr}{model}: cannot be converted for {runtime}; the reason is above")


def environments(
    runtimes: Sequence[str], here: bool, folder: Path
) -> tuple[dict[str, list[str]], dict[str, float], float | None]:
    """For every runtime and for ours: how its cold start begins, and MB on the disk; then kB of our engine."""
    commands, disk = {}, {}
    for name in runtimes:
        packages = installs.closure((*PEERS[name].packages, *PREPARES))
        commands[name] = [str(installs.linked(folder / name, packages)), str(HERE / "label.py")]
        disk[name] = installs.megabytes(packages)
    if here:
        commands[OURS] = [sys.executable, "-m", "squeezenet", "classify"]
        engine = installs.engine(Path(sys.executable), environment())
    else:
        python = installs.base_install(folder / OURS)
        commands[OURS] = [str(python.with_name("squeezenet")), "classify"]
        disk[OURS] = installs.installed_megabytes(python)
        engine = installs.engine(python, environment("PYTHON"))
    return commands, disk, installs.stripped_kilobytes(engine)


def threaded(count: int) -> str:
    """How a column says it."""
    return f"{count} thread{'s' if count > 1 else ''}, ms"


def measure(model: str, rows: Rows, starts: dict[str, list[str]], args: argparse.Namespace) -> Table:
    """All that depends on the model."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runtimes = list(dict.fromkeys(name for name, _ in rows.values()))  # ours first
        convert(runtimes, str(Path(model).resolve()), args.photo, args.input_size, folder)
        table: Table = {row: {} for row in rows}
        for threads in args.threads:
            for row, (milliseconds, agreement) in warm(rows, folder, threads, 1, args.rounds, args.runs).items():
                table[row] |= {threaded(threads): milliseconds, "agreement": agreement}
        # A batch is as long as many single images: fewer runs measure it as well.
        fewer = (-(-args.rounds // 2), -(-args.runs // 10))
        for row, (milliseconds, _) in warm(rows, folder, args.threads[-1], args.batch, *fewer).items():
            table[row]["images/s"] = 1000 * args.batch / milliseconds
        preparation = (folder / "preparation.txt").read_text().split(" ")
        commands = {next(iter(rows)): [*starts[OURS], "--model", str(folder / "squeezenet.sqz"), args.photo]}
        for row, (name, kind) in rows.items():
            if name != OURS and (name, kind) not in NO_COLD_START:
                given = [name, kind, str(folder), str(os.cpu_count()), args.photo, *preparation]
                commands[row] = [*starts[name], *given]
        if args.program:  # it may have a model inside, but reads the same file as the others
            commands[PROGRAM] = [args.program, "classify", str(folder / "squeezenet.sqz"), args.photo]
            table[PROGRAM] = {"disk, MB": Path(args.program).stat().st_size / 1e6}
        for row, (milliseconds, peak, said) in cold(commands, args.cold_rounds).items():
            table[row] |= {"cold, ms": milliseconds, "peak, MB": peak}
            label = said.splitlines()[1 if row.startswith(OURS) else 0]  # ours names the photo first
            print(f"{Path(model).name}, {row}: {' '.join(label.split())}", file=sys.stderr)
        for threads, milliseconds in decoding(model, args.threads, args.cold_rounds).items():
            table[next(iter(rows))][f"decode, {threaded(threads)}"] = milliseconds
    return table


def processor() -> str:
    """Its name, and what it has for small numbers."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = [flag for flag in told.get("flags", "").split() if flag in SMALL_NUMBERS]
    return f"{told.get('model name', platform.machine())} ({' '.join(known)})"


def main() -> None:
    """Measure, print, and write the figures with the machine and the versions they are true of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.sqz", help="integer networks")
    parser.add_argument("--photo", help="a JPEG to label (default: one that comes with scikit-learn)")
    parser.add_argument(
        "--input-size", type=int, default=0, help="pixels of an image's side (default: the model's own)"
    )
    parser.add_argument("--only", nargs="*", choices=ROWS, default=list(ROWS), help="peers (default: all there are)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=20, help="of one runtime in one round")
    parser.add_argument("--cold-rounds", type=int, default=11)
    parser.add_argument("--program", help="`sqz` with a model inside (engine/program), for a row of its own")
    parser.add_argument("--here", action="store_true", help="start ours from this environment, not from a base install")
    parser.add_argument("--out", help="write the figures to this JSON file")
    args = parser.parse_args()
    if args.photo is None:
        args.photo = str(distribution("scikit-learn").locate_file("sklearn/datasets/images/china.jpg"))
    absent = {name: installs.missing(PEERS[name].packages + PEERS[name].tools) for name in PEERS}
    rows = our_rows() | {row: ROWS[row] for row in args.only if not absent[ROWS[row][0]]}
    runtimes = sorted({name for name, _ in rows.values()} - {OURS})
    for row in args.only:
        if row not in rows:
            print(f"{row} not measured: {', '.join(absent[ROWS[row][0]])} not installed", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        starts, disk, engine = environments(runtimes, args.here, Path(temporary))
        tables = {model: measure(model, rows, starts, args) for model in args.models}
    if engine is None:
        print("compiled engine not measured: strip not installed", file=sys.stderr)
    for table in tables.values():
        if engine is not None:
            table[next(iter(rows))]["engine, kB"] = engine
        for row, figures in table.items():
            if "cold, ms" in figures and row in rows and rows[row][0] in disk:
                figures["disk, MB"] = disk[rows[row][0]]
    print("\n\n".join(["", *(rendered(model, table) for model, table in tables.items())]))
    if args.out:
        versions = {name: version(PEERS[name].packages[0]) for name in runtimes}
        machine = {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        told = {k: v for k, v in vars(args).items() if k not in ("models", "out", "photo")}
        found = {model: {"figures": table, "bars": judged(table)} for model, table in tables.items()}
        Path(args.out).write_text(
            json.dumps({"machine": machine, "versions": versions, "settings": told, "models": found}, indent=1)
        )


if __name__ == "__main__":
    main()
