"""The CIFAR-10 model that ships: trained, squeezed, read back and judged. Its card in src/squeezenet/zoo quotes the
table.

    python recipes/zoo.py --cifar10 cifar10/ --out runs/zoo                    # as shipped: ten minutes of an H100
    python recipes/zoo.py --cifar10 cifar10/ --out /tmp/mini --epochs 0.02     # does it run at all

A large teacher; two networks that lose most of their weights while they learn from it; each of them squeezed to several
sizes. Every step is a call of the command line, and one that is done is not done again. On a GPU, which one small
network leaves idle half of the time, the steps that do not wait for each other run at once. The table comes last, and
is in --out/table.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from squeezenet.files import write_atomically

TEACHER, *STUDENTS = (Path(__file__).with_name(f"cifar10_{name}.toml") for name in ("teacher", "pruned", "bypass"))
SIZES = (98_600, 74_900)
SQUEEZE = ("--objective", "both", "--batch-size", "200", "--lr", "0.006", "--pad", "3")
SQUEEZE_EPOCHS = 40.0


def main() -> None:
    """Make what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", required=True, metavar="D", help="CIFAR-10: Parquet, folders, shards or a hub id")
    parser.add_argument("--val", metavar="D", help="its test images, where --cifar10 has none")
    parser.add_argument("--out", type=Path, required=True, help="run folders, .sqz files, table.md")
    parser.add_argument("--epochs", type=float, metavar="N", help="of each step at most, instead of the recipe's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    images = ["--data", args.cifar10, *(["--val", args.val] if args.val else [])]
    epochs = ["--epochs", str(args.epochs)] if args.epochs else []
    teacher = str(args.out / "teacher")

    def train(recipe: Path, name: str, *more: str) -> list[str]:
        return ["train", "--recipe", str(recipe), "--out", str(args.out / name), *images, *epochs, *more]

    (taught,) = together([train(TEACHER, "teacher")])
    names = [recipe.stem.removeprefix("cifar10_") for recipe in STUDENTS]
    learned = together(
        [train(recipe, name, "--teacher", teacher) for recipe, name in zip(STUDENTS, names, strict=True)]
    )
    files = {(name, size): args.out / f"{name}-{size}.sqz" for name in names for size in SIZES}
    learning = ["--teacher", teacher, "--epochs", str(min(SQUEEZE_EPOCHS, args.epochs or SQUEEZE_EPOCHS)), *SQUEEZE]
    together(
        [
            ["compress", str(args.out / name), *images, "--out", str(file), "--max-bytes", str(size), *learning]
            for (name, size), file in files.items()
            if not file.exists()
        ]
    )
    judged = [together([["evaluate", str(file), "--data", args.val or args.cifar10]])[0] for file in files.values()]
    rows = [
        "| | bytes | top-1 | top-5 |",
        "|-|-|-|-|",
        *(
            f"| {name}, {run['epochs']:g} epochs, {run['images_per_second']:,.0f} images/s "
            f"| {4 * run['parameters']:,} (float32) | {run['top1']:.2f} | {run['top5']:.2f} |"
            for name, run in zip(["teacher", *names], [taught, *learned], strict=True)
        ),
        *(
            f"| {file.name} | {found['bytes']:,} | {found['top1']:.2f} | {found['top5']:.2f} |"
            for file, found in zip(files.values(), judged, strict=True)
        ),
    ]
    table = "\n".join(rows) + "\n"
    write_atomically(args.out / "table.md", table.encode())
    print(table)


def together(commands: list[list[str]]) -> list[dict[str, Any]]:
    """What each verb prints; all at once on a GPU, else one after the other. Ends the program where one fails."""
    at_once = len(commands) if torch.cuda.is_available() else 1
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))} if at_once > 1 else {}
    said = []
    for start in range(0, len(commands), max(at_once, 1)):
        begun = time.monotonic()
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "squeezenet", *command, "--json"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **threads},
            )
            for command in commands[start : start + at_once]
        ]
        said += [process.communicate()[0] for process in running]
        if codes := [process.returncode for process in running if process.returncode]:
            raise SystemExit(codes[0])
        done = " and ".join(" ".join(command[:2]) for command in commands[start : start + at_once])
        print(f"{time.monotonic() - begun:.0f} s: {done}", file=sys.stderr)
    return [json.loads(text) for text in said]


if __name__ == "__main__":
    main()
