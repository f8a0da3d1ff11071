"""`squeezenet data pack SOURCE OUT`: images into WebDataset shards, once, so that every training reads them fast.

squeezenet data pack imagenet-tars/ imagenet-256/ --resize 256
"""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from squeezenet.data.load import ACCEPTED
from squeezenet.data.pack import SKIPPED, Options, pack
from squeezenet.errors import UsageError


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    usual = Options()
    parser.add_argument("action", choices=("pack",), help="pack: SOURCE into shards; started again, it goes on")
    parser.add_argument("source", metavar="SOURCE", help=ACCEPTED)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the shards")
    parser.add_argument("--resize", type=int, metavar="PIXELS", help="shorter side; smaller images stay as they are")
    parser.add_argument("--quality", type=int, default=usual.quality, help="of resized JPEGs (default: %(default)s)")
    parser.add_argument(
        "--shard-images", type=int, default=usual.shard_images, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=usual.seed, help="of the order (default: %(default)s)")
    parser.add_argument("--classes", type=int, metavar="N", help="the first N classes only")
    parser.add_argument("--workers", type=int, help="threads that decode and encode")


def run(args: Namespace) -> dict[str, Any]:
    """Pack; the JSON object of this verb."""
    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers {args.workers}: one thread at least has to do it")
    options = Options(args.resize, args.quality, args.shard_images, args.seed, args.classes)
    return asdict(pack(args.source, args.out, options, args.workers, progress=True))


def render(result: dict[str, Any]) -> str:
    """For people."""
    text = (
        f"{result['images']:,} images of {result['classes']:,} classes in {result['shards']:,} shards, "
        f"{result['bytes']:,} bytes -> {result['out']}"
    )
    if result["images_per_second"]:
        text += f" ({result['images_per_second']:,.0f} images/s)"
    if result["skipped"]:
        text += f"\n{result['skipped']:,} images cannot be read and were left out; see {SKIPPED} there"
    return text
