"""`squeezenet pull NAME`: fetch published weights. Besides it, only hub data sets in --data use the network."""

from argparse import ArgumentParser, Namespace
from typing import Any

from squeezenet.zoo import PUBLISHED

EXAMPLES = """
# torchvision's SqueezeNet v1.1; its hash is checked
squeezenet pull squeezenet1_1
# from a mirror; the file must be the same
squeezenet pull squeezenet1_1 --url https://a.mirror/s.pth
"""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", choices=list(PUBLISHED), help=f"one of {', '.join(PUBLISHED)}")
    parser.add_argument("--url", metavar="URL", help="download from this mirror; the file's SHA-256 is checked")
    parser.add_argument("--again", action="store_true", help="download again, replacing the earlier file")


def run(args: Namespace) -> dict[str, Any]:
    """Fetch the file unless it is there; the JSON object of this verb."""
    from squeezenet.zoo.pull import pull

    got = pull(PUBLISHED[args.name], args.url, args.again)
    return {"name": args.name, "path": str(got.path), "bytes": got.bytes, "sha256": got.sha256, "fetched": got.fetched}


def render(result: dict[str, Any]) -> str:
    how = "fetched" if result["fetched"] else "was there already; nothing was fetched"
    return f"{result['path']}: {result['bytes']:,} bytes, {how}\nuse it as MODEL: {result['name']}"
