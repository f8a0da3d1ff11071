"""Instructions of one image on each path of the engine for 64-bit ARM, and those of an earlier revision.

    python benchmarks/arm/count.py v10.sqz v11.sqz --input-size 224 --against c8820ef

QEMU counts them (a plugin, `counter.c`), whatever they are: they are instructions, not time. A figure is the
difference between a process that runs the network twice and one that runs it once. All must give the same logits.
Needs aarch64-linux-gnu-gcc, qemu-aarch64 and a compiler of this machine.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from squeezenet import sqz

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATHS = ("neon", "neondot", "neoni8mm")


def build(engine: Path, work: Path) -> Path:
    """The program `several` with the engine in this folder."""
    compiler = "CC=aarch64-linux-gnu-gcc", "AR=aarch64-linux-gnu-ar"
    subprocess.run(["make", "-s", "-C", engine, f"BUILD={work}", "SHARED=", *compiler], check=True)
    command = ["aarch64-linux-gnu-gcc", "-O2", "-static", f"-I{engine / 'include'}", HERE / "several.c"]
    subprocess.run([*command, work / "libsqz.a", "-lm", "-lpthread", "-o", work / "several"], check=True)
    return work / "several"


def earlier(revision: str, folder: Path) -> Path:
    """The engine of a revision."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder / "engine"


def resized(model: Path, size: int, folder: Path) -> Path:
    """The file of a model for images of another size."""
    found = sqz.decode(model.read_bytes())
    if size:
        shape = (found.graph.input_shape[0], size, size)
        preparation = replace(found.preparation, crop=size)
        found = replace(found, graph=replace(found.graph, input_shape=shape), preparation=preparation)
    out = folder / model.name
    out.write_bytes(sqz.encode(found))
    return out


def instructions(program: Path, model: Path, path: str, counter: Path) -> tuple[int, str]:
    """Instructions of one run; and what the program says of the logits."""
    counts = []
    for runs in ("1", "2"):
        command = ["qemu-aarch64", "-cpu", "max", "-plugin", counter, "-d", "plugin", program, model, path, runs]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        counts.append(int(done.stderr))
    return counts[1] - counts[0], done.stdout.strip()


def main() -> None:
    """Count and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.sqz", type=Path, help="integer networks")
    parser.add_argument("--against", metavar="REVISION", help="a revision of git to compare with")
    parser.add_argument("--input-size", type=int, default=0, help="pixels of an image's side (default: the model's)")
    parser.add_argument("--paths", nargs="+", default=PATHS, choices=PATHS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("models", "now", "before", "source"):
            (folder / name).mkdir()
        counter = folder / "counter.so"
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", HERE / "counter.c", "-o", counter])
        programs = {"now": build(ROOT / "engine", folder / "now")}
        if args.against:
            programs[args.against] = build(earlier(args.against, folder / "source"), folder / "before")
        models = [resized(model, args.input_size, folder / "models") for model in args.models]
        said: dict[Path, set[str]] = {model: set() for model in models}
        print(f"| millions of instructions | {' | '.join(m.stem for m in models)} |\n|-|{'-|' * len(models)}")
        for name, program in programs.items():
            for path in args.paths:
                row = []
                for model in models:
                    count, logits = instructions(program, model, path, counter)
                    row.append(f"{count / 1e6:.1f}")
                    said[model].add(logits)
                print(f"| {path}, {name} | {' | '.join(row)} |", flush=True)
        if any(len(found) > 1 for found in said.values()):
            sys.exit("the logits differ")


if __name__ == "__main__":
    main()
