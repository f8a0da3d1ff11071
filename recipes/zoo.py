"""Train, squeeze and evaluate the CIFAR-10 model that ships. Its card, src/squeezenet/zoo/cifar10.md, has the figures.

    python recipes/zoo.py --cifar10 cifar10/ --out runs/zoo                    # as shipped: three hours on two cores
    python recipes/zoo.py --cifar10 cifar10/ --out runs/gpu --plan gpu         # larger, for a GPU; not yet run in full
    python recipes/zoo.py --cifar10 cifar10/ --out /tmp/mini --epochs 0.02     # a short test run

A plan names a teacher, students that are pruned while they imitate the teacher, and the sizes in bytes to which each
student is squeezed. Every step is a call of the command line, and a finished step is not repeated. On a GPU, steps that
do not need each other run at the same time, because one small network leaves a GPU idle half of the time. At the end
the program prints a table and writes it to --out/table.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from squeezenet.files import write_atomically


@dataclass(frozen=True)
class Plan:
    """Networks to train, and sizes to squeeze to. The recipe of network NAME is `cifar10_NAME.toml` in this folder."""

    teacher: str
    students: tuple[str, ...]
    grown: bool  # whether students begin with the weights of the teacher
    sizes: tuple[int, ...]  # bytes
    epochs: float  # of learning while squeezing
    squeeze: tuple[str, ...]  # settings of `compress`


PLANS = {
    # 80 times smaller than float32; it learns from labels and from the dense network in 46 minutes on one CPU core.
    "shipped": Plan(
        "vgg", ("pruned",), True, (98_600,), 7.0,
        ("objective=both", "learning.batch_size=50", "learning.lr=0.005", "augmentation.pad=2"),
    ),
    # Larger batches, since a GPU computes a batch of 200 images in nearly the same time as one of 50.
    "gpu": Plan(
        "teacher", ("taught", "bypass"), False, (98_600, 74_900), 40.0,
        ("objective=both", "learning.batch_size=200", "learning.lr=0.006", "augmentation.pad=3"),
    ),
}  # fmt: skip


def main() -> None:
    """Run the steps that are not done yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", required=True, metavar="D", help="CIFAR-10: Parquet, folders, shards or a hub id")
    parser.add_argument("--out", type=Path, required=True, help="run folders, .sqz files, table.md")
    parser.add_argument("--plan", choices=PLANS, default="shipped", help="which campaign (default: %(default)s)")
    parser.add_argument("--epochs", type=float, metavar="N", help="of each run, instead of the recipe's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plan = PLANS[args.plan]
    teacher, data = str(args.out / plan.teacher), ["--data", args.cifar10]

    def training(name: str, *options: str) -> list[str]:
        recipe = Path(__file__).with_name(f"cifar10_{name}.toml")
        epochs = ["--epochs", str(args.epochs)] if args.epochs else []
        return ["train", "--recipe", str(recipe), "--out", str(args.out / name), *data, *epochs, *options]

    runs = together([training(plan.teacher)])
    start = ["--weights", teacher] if plan.grown else []
    runs += together([training(name, "--teacher", teacher, *start) for name in plan.students])
    files = {(name, size): args.out / f"{name}-{size}.sqz" for name in plan.students for size in plan.sizes}
    learning = ["--teacher", teacher, "--epochs", str(min(plan.epochs, args.epochs or plan.epochs))]
    learning += [word for setting in plan.squeeze for word in ("--set", setting)]
    together(
        [
            ["compress", str(args.out / name), *data, "--out", str(file), "--max-bytes", str(size), *learning]
            for (name, size), file in files.items()
            if not file.exists()
        ]
    )
    judged = together([["evaluate", str(file), *data] for file in files.values()])
    rows = [
        "| | bytes | top-1 | top-5 | images/s |",
        "|-|-|-|-|-|",
        *(
            f"| {name}, {run['epochs']:g} epochs | {4 * run['parameters']:,} (float32) "
            f"| {run['top1']:.2f} | {run['top5']:.2f} | {run['images_per_second']:,.0f} |"
            for name, run in zip((plan.teacher, *plan.students), runs, strict=True)
        ),
        *(
            f"| {file.name} | {found['bytes']:,} | {found['top1']:.2f} | {found['top5']:.2f} | |"
            for file, found in zip(files.values(), judged, strict=True)
        ),
    ]
    table = "\n".join(rows) + "\n"
    write_atomically(args.out / "table.md", table.encode())
    print(table)


def together(commands: list[list[str]]) -> list[dict[str, Any]]:
    """The output of each command. On a GPU they run at once, else one after the other. A failure ends the program."""
    at_once = max(1, len(commands) if torch.cuda.is_available() else 1)
    share = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // at_once))} if at_once > 1 else {}
    said = []
    for start in range(0, len(commands), at_once):
        begun, now = time.monotonic(), commands[start : start + at_once]
        running = [
            subprocess.Popen(
                [sys.executable, "-m", "squeezenet", *command, "--json"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **share},
            )
            for command in now
        ]
        said += [process.communicate()[0] for process in running]
        if codes := [process.returncode for process in running if process.returncode]:
            raise SystemExit(codes[0])
        print(f"{time.monotonic() - begun:.0f} s: {', '.join(command[0] for command in now)}", file=sys.stderr)
    return [json.loads(text) for text in said]


if __name__ == "__main__":
    main()
