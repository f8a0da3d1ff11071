"""The models that ship: trained, squeezed, read back and judged. The cards in src/squeezenet/zoo quote its table.

    python recipes/zoo.py --cifar10 cifar10/ --out runs/zoo                    # as shipped: about an hour on two cores
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

RECIPE = Path(__file__).with_name("cifar10.toml")
SQUEEZE = (
    "--density", "keep", "--bits", "4", "--objective", "distill", "--share-epochs", "2", "--batch-size", "100",
    "--lr", "3e-4",
)  # fmt: skip


def main() -> None:
    """Make what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", required=True, metavar="D", help="CIFAR-10: Parquet, folders, shards or a hub id")
    parser.add_argument("--out", type=Path, required=True, help="run folder, .sqz file, table.md")
    parser.add_argument("--epochs", help="instead of the recipe's")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run, file = args.out / "cifar10", args.out / "cifar10.sqz"
    longer = ["--epochs", args.epochs] if args.epochs else []
    trained = call("train", "--recipe", str(RECIPE), "--data", args.cifar10, "--out", str(run), *longer)
    if not file.exists():
        call("compress", str(run), "--data", args.cifar10, "--out", str(file), *SQUEEZE)
    judged = call("evaluate", str(file), "--data", args.cifar10)
    rows = [
        "| | bytes | top-1 | top-5 |",
        "|-|-|-|-|",
        f"| trained, {trained['epochs']:g} epochs | {4 * trained['parameters']:,} (float32) "
        f"| {trained['top1']:.2f} | {trained['top5']:.2f} |",
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
