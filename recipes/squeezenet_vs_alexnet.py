"""SqueezeNet against AlexNet on CIFAR-10 and Tiny ImageNet: same recipe, same epochs, both adapted to small images.

    python recipes/squeezenet_vs_alexnet.py --cifar10 cifar10/ --tiny-imagenet tiny/ --out $OUT            # full: a GPU
    python recipes/squeezenet_vs_alexnet.py --cifar10 cifar10/ --out runs/vs --epochs 2 --images 10000     # miniature

Each network has a run folder under --out. A finished run is not repeated, and a stopped run continues. At the end the
program prints a table and writes it to --out/table.md and --out/results.json. No network has batch normalisation: the
networks of the two papers are compared, and SqueezeNet with simple and with complex bypass.
"""

import argparse
import json
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from squeezenet import sqz
from squeezenet.data import Data, Examples, default_preparation, load_data
from squeezenet.files import write_atomically
from squeezenet.formats import load_model
from squeezenet.models import describe, find_architecture
from squeezenet.training import MODERN, Recipe, Setup, fresh_model, train

# One recipe for all networks. AdamW's learning rate was chosen for AlexNet, which does not learn at a higher rate.
RECIPE = replace(MODERN, name="versus", lr=0.001, batch_size=250, precision="auto")
EPOCHS = 60

NETWORKS: dict[str, dict[str, Any]] = {
    "alexnet": {},
    "squeezenet": {},
    "squeezenet, simple bypass": {"bypass": "simple"},
    "squeezenet, complex bypass": {"bypass": "complex"},
}


def main() -> None:
    """Train what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cifar10", metavar="D", help="CIFAR-10: Parquet, folders, shards or a hub id")
    parser.add_argument("--tiny-imagenet", metavar="D", help="Tiny ImageNet, likewise")
    parser.add_argument("--out", type=Path, required=True, help="run folders, table.md, results.json")
    parser.add_argument("--epochs", type=float, default=EPOCHS)
    parser.add_argument("--images", type=int, help="train on so many images only, evenly taken")
    parser.add_argument("--val-images", type=int, metavar="IMAGES", help="and be judged by so many only")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    recipe = replace(RECIPE, epochs=args.epochs, seed=args.seed)
    sources = {"CIFAR-10": (args.cifar10, 32), "Tiny ImageNet": (args.tiny_imagenet, 64)}
    rows = []
    args.out.mkdir(parents=True, exist_ok=True)
    for dataset, (source, side) in sources.items():
        if source is None:
            continue
        data = load_data(source, seed=args.seed)
        data = Data(some(data.train, args.images), some(data.validation, args.val_images))
        for name, settings in NETWORKS.items():
            rows.append({"data": dataset, "network": name, **one(name, settings, side, data, recipe, args.out)})
            report(rows, recipe, data, args.out)
    if not rows:
        parser.error("nothing to train on; give --cifar10 or --tiny-imagenet")
    print(report(rows, recipe, data, args.out))


def some(examples: Examples, images: int | None) -> Examples:
    """At most `images` of them, evenly taken."""
    have = len(examples)
    return examples if images is None or images >= have else examples.take(np.arange(images) * have // images)


def one(name: str, settings: dict[str, Any], side: int, data: Data, recipe: Recipe, out: Path) -> dict[str, Any]:
    """Train one network, or find it trained; its row of the table."""
    architecture = f"{name.partition(',')[0]}_{side}"
    folder = out / f"{architecture}{'_' + settings['bypass'] if settings else ''}"
    preparation = default_preparation(data.train, side, find_architecture(architecture).input_size)
    network = fresh_model(architecture, data, preparation, recipe, **settings)
    fitting = {"classes": len(data.train.classes), "in_channels": 3}
    if find_architecture(architecture).meta is None:
        settings = {}
    about = describe(architecture, {**settings, **fitting})
    result = train(network, data, preparation, recipe, folder, Setup(), architecture=about)
    model = load_model(folder)
    if not (folder / "float32.sqz").exists():
        sqz.write(model, folder / "float32.sqz")
    return {
        "parameters": result.parameters,
        "macs": sum(model.graph.macs()),
        "bytes": (folder / "float32.sqz").stat().st_size,
        "top1": result.top1,
        "top5": result.top5,
        "step_milliseconds": round(1000 * recipe.batch_size / result.images_per_second, 1),
        "gradient_bytes": 4 * result.parameters,
    }


def report(rows: list[dict[str, Any]], recipe: Recipe, data: Data, out: Path) -> str:
    """Write table.md and results.json; the table."""
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU cores"
    made = f"{machine}, Python {platform.python_version()}, PyTorch {torch.__version__}"
    images, judges = len(data.train), len(data.validation)
    lines = [
        f"{recipe.epochs:g} epochs of {images:,} images, judged by {judges:,}, batch {recipe.batch_size}, "
        f"seed {recipe.seed}; {made}",
        f"`python {'/'.join(Path(sys.argv[0]).parts[-2:])} --epochs {recipe.epochs:g}`, recipe in the run folders",
        "",
        "| data | network | parameters | MACs | bytes | top-1 | top-5 | ms a step | gradient bytes a step |",
        "|-|-|-|-|-|-|-|-|-|",
        *(
            f"| {r['data']} | {r['network']} | {r['parameters']:,} | {r['macs']:,} | {r['bytes']:,} | {r['top1']:.2f} "
            f"| {r['top5']:.2f} | {r['step_milliseconds']:,.0f} | {r['gradient_bytes']:,} |"
            for r in rows
        ),
    ]
    text = "\n".join(lines) + "\n"
    write_atomically(out / "table.md", text.encode())
    held = {"made": made, "images": images, "recipe": asdict(recipe), "rows": rows}
    write_atomically(out / "results.json", json.dumps(held, indent=2).encode())
    return text


if __name__ == "__main__":
    main()
