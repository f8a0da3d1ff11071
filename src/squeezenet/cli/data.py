"""`squeezenet data pack SOURCE OUT`: write images as WebDataset shards, which training reads fast."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import DATA, count, seed
from squeezenet.printable import counted

EXAMPLES = """
# a folder per class into shards, the shorter side at most 256 pixels
squeezenet data pack photos/ packed/ --resize 256
# ImageNet's own tars; after a stop, the same command continues
squeezenet data pack imagenet/ imagenet-256/ --resize 256 --workers 8
"""


def configure(parser: ArgumentParser) -> None:
    action = "write SOURCE as shards; after a stop, the same command continues"
    parser.add_argument("action", choices=("pack",), metavar="pack", help=action)
    parser.add_argument("source", metavar="SOURCE", help=DATA)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the shards")
    images = parser.add_argument_group("images")
    smaller = "resize the shorter side to PIXELS; smaller images are not changed"
    images.add_argument("--resize", type=count, metavar="PIXELS", help=smaller)
    images.add_argument("--quality", type=count, metavar="1-100", help="quality of resized JPEGs (default: 90)")
    images.add_argument("--classes", type=count, metavar="N", help="pack the first N classes only")
    shards = parser.add_argument_group("shards")
    shards.add_argument("--shard-images", type=count, metavar="N", help="images in a shard (default: 5000)")
    shards.add_argument("--seed", type=seed, metavar="N", help="seed of the random order of the images (default: 0)")
    shards.add_argument("--workers", type=count, metavar="N", help="number of threads that decode and encode images")


def run(args: Namespace) -> dict[str, Any]:
    """Pack; the JSON object of this verb."""
    from squeezenet.data.pack import Options, pack

    told = {name: getattr(args, name) for name in ("resize", "quality", "shard_images", "seed", "classes")}
    options = Options(**{name: value for name, value in told.items() if value is not None})
    return asdict(pack(args.source, args.out, options, args.workers, progress=True))


def render(result: dict[str, Any]) -> str:
    labels = f"of {counted(result['classes'], 'class', 'classes')}" if result["classes"] else "without labels"
    text = (
        f"{counted(result['images'], 'image')} {labels} in {counted(result['shards'], 'shard')}, "
        f"{result['bytes']:,} bytes -> {result['out']}"
    )
    if result["images_per_second"]:
        text += f" ({result['images_per_second']:,.0f} images/s)"
    if result["skipped"]:
        text += f"\n{counted(result['skipped'], 'image')} could not be read: see skipped.txt there"
    return text
