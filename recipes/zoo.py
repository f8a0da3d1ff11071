"""The models that ship: trained, squeezed, read back and judged. The cards in src/squeezenet/zoo quote its table.

    python recipes/zoo.py --cifar10 cifar10/ --out runs/zoo                    # as shipped: three hours on two cores
    python recipes/zoo.py --cifar10 cifar10/ --out $OUT --epochs 200           # what a GPU has time for
    python recipes/zoo.py --cifar10 cifar10/ --out /tmp/mini --epochs 0.02     # does it run at all

Every step is a call of the command line, and one that is done is not done again. The table comes last, and is in
--out/table.md.
"""

import argparse
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from squeezenet.cli.main import main as squeezenet
from squeezenet.files import write_atomically

DENSE, PRUNED = (Path(__file__).with_name(f"cifar10_{name}.toml") for name in ("vgg", "pruned"))
# 80 times smaller than float32, learned from labels and from the dense network, on the CPU: 46 minutes on one core.
SQUEEZE = ("--max-bytes", "98600", "--objective", "both", "--batch-size", "50", "--lr", "0.005", "--pad", "2")
SQUEEZE_EPOCHS = 7.0


def main() -> None:
    """Make what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", required=True, metavar="D", help="CIFAR-10: Parquet, folders, shards or a hub id")
    parser.add_argument("--out", type=Path, required=True, help="run folders, .sqz file, table.md")
    parser.add_argument("--epochs", help="of each run, instead of the recipe's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    dense, pruned, file = str(args.out / "dense"), str(args.out / "pruned"), args.out / "cifar10.sqz"
    training = ["--data", args.cifar10, *(["--epochs", args.epochs] if args.epochs else [])]
    first = call("train", "--recipe", str(DENSE), "--out", dense, *training)
    then = call("train", "--recipe", str(PRUNED), "--weights", dense, "--teacher", dense, "--out", pruned, *training)
    if not file.exists():
        learning = ["--teacher", dense, "--epochs", str(min(SQUEEZE_EPOCHS, float(args.epochs or SQUEEZE_EPOCHS)))]
        call("compress", pruned, "--data", args.cifar10, "--out", str(file), *SQUEEZE, *learning)
    judged = call("evaluate", str(file), "--data", args.cifar10)
    rows = [
        "| | bytes | top-1 | top-5 |",
        "|-|-|-|-|",
        *(
            f"| {name}, {run['epochs']:g} epochs | {4 * run['parameters']:,} (float32) "
            f"| {run['top1']:.2f} | {run['top5']:.2f} |"
            for name, run in (("dense", first), ("pruned", then))
        ),
        f"| cifar10.sqz | {judged['bytes']:,} | {judged['top1']:.2f} | {judged['top5']:.2f} |",
    ]
    table = "\n".join(rows) + "\n"
    write_atomically(args.out / "table.md", table.encode())
    print(table)


def call(*command: str) -> dict[str, Any]:
    """What one verb prints; ends the program where it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = squeezenet([*command, "--json"])
    if code:
        raise SystemExit(code)
    return json.loads(said.getvalue())


if __name__ == "__main__":
    main()
