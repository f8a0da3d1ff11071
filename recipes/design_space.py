"""The paper's design space on CIFAR-10 and Tiny ImageNet: figure 3, table 3, then a search under a budget.

    python recipes/design_space.py --cifar10 cifar10/ --tiny-imagenet tiny/ --out $OUT                  # full: a GPU
    python recipes/design_space.py --cifar10 cifar10/ --tiny-imagenet tiny/ --out runs/space --miniature # two cores
    python recipes/design_space.py --cifar10 cifar10/ --out /tmp/mini --miniature --epochs 1 --images 500 --seeds 1

Full: base_e 128, 24 epochs of all images, 3 seeds (36 trainings per data set), and a search of 60 networks on CIFAR-10.
Miniature: base_e and incr_e 32, 3 seeds, and no search unless --search is given. CIFAR-10: 6 epochs of 10,000 images.
Tiny ImageNet: 4 epochs of 10,000 images of its first 50 classes, which are packed into --out first. On two busy cores a
training takes 2 to 8 minutes for CIFAR-10, and two thirds of that for Tiny ImageNet, whose networks halve the side of
the image in conv1. With all 200 classes of Tiny ImageNet the networks would learn too little to compare them: 6 epochs
of 50 images of each class gave 3.9% top-1; 200 images of each of the first 50 classes gave 21.1% (base_e 32, sr 0.5,
one seed).

With a search, SqueezeNet v1.0 and v1.1 are trained too, for comparison: with base_e 128 as published, adapted to images
of 32 pixels, by the same recipe for the same epochs, once per seed. Each is squeezed to a 12th of float32, to the
search's budget, and to half of the budget. (v1.0 takes four times as long as a network of the sweeps, v1.1 twice.) A
network of the search that is better than v1.0 and v1.1 at one of these sizes is trained again with all seeds.

Every step is a call of the command line. A trial that is done is not repeated, so the program may be stopped and
started again, started twice, or run on several machines with the same --out. At the end it prints the tables and writes
them to --out/NAME/tables.txt, beside results.jsonl and report.html. --publish docs/design_space copies these three
files to docs/design_space/NAME/, to be committed.
"""

import argparse
import contextlib
import io
from pathlib import Path

from squeezenet.cli.main import main as squeezenet
from squeezenet.explore.results import read_results
from squeezenet.explore.versions import compare
from squeezenet.files import write_atomically

RECIPE = Path(__file__).with_name("design_space.toml")
MODELS = {"cifar10": "squeezenet_32", "tiny-imagenet": "squeezenet_64"}
SWEEPS = ("sr", "pct3x3", "bypass")
BUDGET = 100_000  # bytes: what the zoo's CIFAR-10 network takes
FULL = {"epochs": 24.0, "images": None, "val_images": None, "base_e": 128, "search": 60, "classes": None}
FULL |= {"method": "squeeze"}
SMALL = {"images": 10_000, "base_e": 32, "search": 0}
MINIATURE = {
    "cifar10": {**FULL, **SMALL, "epochs": 6.0, "val_images": 2_000},
    "tiny-imagenet": {**FULL, **SMALL, "epochs": 4.0, "val_images": 2_500, "classes": 50},
}
REPEATED = 3  # networks at most that beat both versions, and are trained with all seeds


def main() -> None:
    """Run the trials that are not done yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", metavar="D", help="CIFAR-10: Parquet, folders, shards or a hub id")
    parser.add_argument("--tiny-imagenet", metavar="D", help="Tiny ImageNet, likewise")
    parser.add_argument("--out", type=Path, required=True, help="a folder for each data set")
    parser.add_argument("--miniature", action="store_true", help="small networks, few images: hours on two cores")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--images", type=int, help="train on so many only")
    parser.add_argument("--val-images", type=int, metavar="IMAGES")
    parser.add_argument("--base-e", type=int, metavar="N", help="base_e and incr_e")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--search", type=int, metavar="N", help="networks that the search tries on CIFAR-10")
    parser.add_argument("--method", help="of `squeezenet explore`: none leaves the squeezing out")
    parser.add_argument("--classes", type=int, metavar="N", help="the first N classes of Tiny ImageNet only")
    parser.add_argument("--publish", type=Path, metavar="DIR", help="copy results, report and tables to DIR/NAME")
    args = parser.parse_args()
    sources = {"cifar10": args.cifar10, "tiny-imagenet": args.tiny_imagenet}
    if not any(sources.values()):
        parser.error("nothing to learn from; give --cifar10 or --tiny-imagenet")
    for name, source in sources.items():
        if source:
            usual = MINIATURE[name] if args.miniature else FULL
            told = {key: value if getattr(args, key) is None else getattr(args, key) for key, value in usual.items()}
            one(name, source, told, args.seeds, args.out)
            if args.publish:
                publish(args.out / name, args.publish / name)
    for name, source in sources.items():
        if source:
            print((args.out / name / "tables.txt").read_text())


def one(name: str, source: str, told: dict[str, float | str | None], seeds: int, out: Path) -> None:
    """All sweeps of one data set, its search, its tables."""
    folder = out / name
    if told["classes"] is not None and name == "tiny-imagenet":
        part = out / f"{name}-{told['classes']}"
        call("data", "pack", source, str(part), "--classes", str(told["classes"]))
        source = str(part)
    usual = ["--data", source, "--out", str(folder), "--recipe", str(RECIPE), "--model", MODELS[name]]
    usual += ["--epochs", str(told["epochs"]), "--method", str(told["method"])]
    if told["images"] is not None:
        usual += ["--max-images", str(told["images"])]
    if told["val_images"] is not None:
        usual += ["--val-images", str(told["val_images"])]
    width = ["--set", f"base_e={told['base_e']}", "--set", f"incr_e={told['base_e']}"]
    for sweep in SWEEPS:
        call("explore", *usual, *width, "--vary", sweep, "--seeds", str(seeds))
    if told["search"] and name == "cifar10":
        for size in (None, BUDGET, BUDGET // 2):
            squeezed = [] if size is None else ["--squeeze-bytes", str(size)]
            call("explore", *usual, "--vary", "version", "--seeds", str(seeds), *squeezed)
        call("explore", *usual, "--search", str(told["search"]), "--max-bytes", str(BUDGET))
        _, better = compare(read_results(folder))
        for row in better[:REPEATED]:
            call("explore", "--data", source, "--out", str(folder), "--repeat", row["name"], "--seeds", str(seeds))
    tables = [call("reproduce", subject, "--results", str(folder)) for subject in ("figure3", "table3")]
    write_atomically(folder / "tables.txt", "\n".join(tables).encode())


def publish(folder: Path, into: Path) -> None:
    """Copy the files of one data set that the repository keeps."""
    into.mkdir(parents=True, exist_ok=True)
    for file in ("results.jsonl", "report.html", "tables.txt"):
        write_atomically(into / file, (folder / file).read_bytes())


def call(*command: str) -> str:
    """The output of one command. A trial that failed is in its report, and the program goes on; wrong usage ends it."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = squeezenet(command)
    if code > 1:
        raise SystemExit(code)
    return said.getvalue()


if __name__ == "__main__":
    main()
