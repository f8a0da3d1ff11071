"""`squeezenet pull NAME`: the only verb besides hub ids in --data that uses the network."""

from argparse import ArgumentParser, Namespace
from typing import Any

from squeezenet.zoo import PUBLISHED

EXAMPLES = """
# torchvision's SqueezeNet v1.1, checked against its published hash
squeezenet pull squeezenet1_1
# from a mirror; it must be the same file
squeezenet pull squeezenet1_1 --url https://a.mirror/s.pth
"""


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("name", metavar="NAME", choices=list(PUBLISHED), help=f"one of {', '.join(PUBLISHED)}")
    parser.add_argument("--url", metavar="URL", help="fetch the file from this address, a mirror; it must be the same")
    parser.add_argument("--again", action="store_true", help="fetch it even if it is there already, and replace that")


def run(args: Namespace) -> dict[str, Any]:
    """Fetch, unless it is there."""
    from squeezenet.zoo.pull import pull

    got = pull(PUBLISHED[args.name], args.url, args.again)
    return {
        "name": args.name,
        "path": str(got.path),
        "bytes": got.bytes,
        "sha256": got.sha256,
        "fetched": got.fetched,
    }


def render(result: dict[str, Any]) -> str:
    """For people."""
    how = "fetched" if result["fetched"] else "already there, nothing was fetched"
    return f"{result['path']}: {result['bytes']:,} bytes, {how}\nuse it as MODEL: {result['name']}"
