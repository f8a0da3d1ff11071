"""The CIFAR-10 model that ships: trained, squeezed, read back and judged. Its card in src/squeezenet/zoo quotes it.

    python recipes/zoo.py --cifar10 cifar10/ --out runs/zoo                    # as shipped: three hours on two cores
    python recipes/zoo.py --cifar10 cifar10/ --out runs/gpu --plan gpu         # what a GPU has time for; not yet run
    python recipes/zoo.py --cifar10 cifar10/ --out /tmp/mini --epochs 0.02     # does it run at all

A plan is a teacher, students that lose most of their weights while they learn from it, and the sizes in bytes that each
of them is squeezed to. Every step is a call of the command line, and one that is done is not done again. Steps that do
not wait for each other run at once on a GPU, which one small network leaves idle half of the time. The table comes
last, and is in --out/table.md.
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
    """A campaign. Networks are named as the recipe that trains them: `cifar10_NAME.toml`, beside this file."""

    teacher: str
    students: tuple[str, ...]
    grown: bool  # whether students begin with the weights of the teacher
    sizes: tuple[int, ...]  # bytes
    epochs: float  # of learning while squeezing
    squeeze: tuple[str, ...]  # settings of `compress`


PLANS = {
    # 80 times smaller than float32, learned from labels and from the dense network, on the CPU: 46 minutes on one core.
    "shipped": Plan(
        "vgg", ("pruned",), True, (98_600,), 7.0,
        ("objective=both", "learning.batch_size=50", "learning.lr=0.005", "augmentation.pad=2"),
    ),
    # Larger batches, since a GPU has done one of 200 images hardly later than one of 50.
    "gpu": Plan(
        "teacher", ("taught", "bypass"), False, (98_600, 74_900), 40.0,
        ("objective=both", "learning.batch_size=200", "learning.lr=0.006", "augmentation.pad=3"),
    ),
}  # fmt: skip


def main() -> None:
    """Make what is missing, then print the table."""
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
    """What each verb prints; all at once on a GPU, else one after the other. Ends the program where one fails."""
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
