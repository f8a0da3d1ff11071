"""From photographs to a model in one line: accuracy and time of `squeezenet train --data photos/ --out run`.

    python benchmarks/photos.py --data 'tiny-imagenet-train-*.parquet' --draws 6
    python benchmarks/photos.py --data 'imagenet-*.parquet' --groups

Makes data sets of 5 classes x 60 images (class folders of JPEG files) of a larger data set, trains on each without any
option, and judges the run by other images of these classes: up to `--judge` a class, far more than the 30 that
training holds out. A draw is another five classes and other images. With `--groups` the classes are groups of
ImageNet's: birds, dogs, food, wild mammals, vehicles. Seconds are of the whole command, with its start and its report.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from squeezenet.data import Examples
from squeezenet.data.load import load_splits
from squeezenet.runtime.image import open_image

Indices = np.ndarray

GROUPS = {
    "birds": [*range(7, 25), *range(80, 101), *range(127, 147)],
    "dogs": [*range(151, 269)],
    "food": [*range(924, 970)],
    "wild mammals": [*range(269, 281), *range(286, 300), *range(330, 389)],
    "vehicles": [403, 404, 407, 408, 436, 444, 468, 511, 547, 555, 561, 565, 569, 573, 575, 586, 603, 609, 612, 627,
                 654, 656, 660, 661, 665, 670, 671, 675, 705, 717, 734, 751, 757, 779, 802, 803, 817, 820, 829, 847,
                 864, 866, 867, 870, 874, 880],
}  # fmt: skip
"""Numbers of ImageNet's classes."""


def drawn(examples: Examples, classes: int, random: np.random.Generator) -> dict[str, Indices]:
    """Class name -> its images in a random order, of classes taken at random."""
    labels = examples.require_labels()
    chosen = random.permutation(np.unique(labels))[:classes]
    return {f"class {c}": random.permutation(np.flatnonzero(labels == c)) for c in chosen}


def grouped(examples: Examples, random: np.random.Generator) -> dict[str, Indices]:
    """The same for `GROUPS`."""
    labels = examples.require_labels()
    return {name: random.permutation(np.flatnonzero(np.isin(labels, group))) for name, group in GROUPS.items()}


def write(examples: Examples, indices: Indices, folder: Path, grey: bool) -> None:
    """Images as JPEG files in `folder`."""
    folder.mkdir(parents=True)
    for index in indices:
        image = open_image(examples.images[int(index)])
        image.convert("L" if grey else "RGB").save(folder / f"{index}.jpg", quality=95)


def squeezenet(*words: str) -> dict[str, float]:
    """What a command says as JSON, with the seconds and the CPU seconds that it took."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "squeezenet", *words, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout), "wall": time.perf_counter() - start, "cpu": cpu}


def main() -> None:
    """Print a row for each draw and seed, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="whatever `squeezenet train` reads, with labels")
    parser.add_argument("--work", type=Path, default=Path("runs/photos"), help="folder for data sets and runs")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first draw")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each draw")
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--images", type=int, default=60, help="of each class")
    parser.add_argument("--judge", type=int, default=150, help="other images of each class, at most")
    parser.add_argument("--groups", action="store_true", help="groups of ImageNet's classes instead of classes")
    parser.add_argument("--grey", action="store_true", help="images without colour")
    parser.add_argument("--options", default="", help="of `squeezenet train`, as in '--from-scratch'")
    args = parser.parse_args()
    examples = next(iter(load_splits(args.data).values()))
    print("| draw | seed | top-1, held out | top-1 of other images | images | seconds | CPU seconds |\n|-|-|-|-|-|-|-|")
    found: list[float] = []
    for draw in range(args.first, args.first + args.draws):
        random = np.random.default_rng(draw)
        classes = grouped(examples, random) if args.groups else drawn(examples, args.classes, random)
        place = args.work / f"{'groups' if args.groups else 'draw'}-{args.classes}x{args.images}-{draw}"
        if not place.exists():
            for name, indices in classes.items():
                write(examples, indices[: args.images], place / "photos" / name, args.grey)
                write(examples, indices[args.images :][: args.judge], place / "others" / name, args.grey)
        for seed in range(args.seeds):
            run = str(place / f"run-{seed}-{time.time_ns()}")
            options = [*args.options.split(), "--seed", str(seed), "--out", run]
            trained = squeezenet("train", "--data", str(place / "photos"), *options)
            other = squeezenet("evaluate", run, "--data", str(place / "others"), "--split", "all")
            found.append(other["top1"])
            print(
                f"| {draw} | {seed} | {trained['top1']:.1f}% | {other['top1']:.1f}% | {other['images']} "
                f"| {trained['wall']:.0f} | {trained['cpu']:.0f} |",
                flush=True,
            )
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    print(f"| mean | | | {statistics.mean(found):.1f}% ± {spread:.1f} (standard deviation) | | | |")


if __name__ == "__main__":
    main()
