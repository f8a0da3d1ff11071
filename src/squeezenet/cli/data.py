"""`squeezenet data pack SOURCE OUT`: images into WebDataset shards, once, so that every training reads them fast."""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import DATA, count, seed
from squeezenet.printable import counted

EXAMPLES = """
# class folders into shards, images at most 256 pixels on their shorter side
squeezenet data pack photos/ packed/ --resize 256
# ImageNet's own tars; stopped halfway, the same command goes on
squeezenet data pack imagenet/ imagenet-256/ --resize 256 --workers 8
"""


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "action", choices=("pack",), metavar="pack", help="SOURCE into shards; started again, it goes on"
    )
    parser.add_argument("source", metavar="SOURCE", help=DATA)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the shards")
    images = parser.add_argument_group("images")
    images.add_argument("--resize", type=count, metavar="PIXELS", help="shorter side; smaller images stay as they are")
    images.add_argument("--quality", type=count, metavar="1-100", help="of resized JPEGs (default: 90)")
    images.add_argument("--classes", type=count, metavar="N", help="the first N classes only")
    shards = parser.add_argument_group("shards")
    shards.add_argument("--shard-images", type=count, metavar="N", help="images in a shard (default: 5000)")
    shards.add_argument("--seed", type=seed, metavar="N", help="of the order (default: 0)")
    shards.add_argument("--workers", type=count, metavar="N", help="threads that decode and encode")


def run(args: Namespace) -> dict[str, Any]:
    """Pack; the JSON object of this verb."""
    from squeezenet.data.pack import Options, pack

    told = {name: getattr(args, name) for name in ("resize", "quality", "shard_images", "seed", "classes")}
    options = Options(**{name: value for name, value in told.items() if value is not None})
    return asdict(pack(args.source, args.out, options, args.workers, progress=True))


def render(result: dict[str, Any]) -> str:
    """For people."""
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
