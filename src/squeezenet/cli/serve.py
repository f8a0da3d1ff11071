"""`squeezenet serve MODEL...`: an HTTP server that labels images (docs/serving.md)."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.arguments import count, natural, positive, size
from squeezenet.cli.cores import available_cores
from squeezenet.printable import printable

EXAMPLES = """
# on this machine only, at http://127.0.0.1:8000
squeezenet serve imagenet
# two models, for other machines that call this one my.org
squeezenet serve birds.sqz tit=v2.sqz --host 0.0.0.0 --allow-host my.org
"""


def configure(parser: ArgumentParser) -> None:
    what = (
        "a .sqz file, the folder of a device (see `squeezenet fleet`), or a name from `squeezenet models`; NAME=MODEL "
    )
    what += "serves it by another name"
    parser.add_argument("models", nargs="+", metavar="MODEL", help=what)
    where = parser.add_argument_group("who is answered")
    where.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    where.add_argument("--port", type=natural, default=8000, help="port (default: 8000); 0 takes any free one")
    name = "answer requests to this host name, besides localhost and addresses; may be repeated"
    where.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=name)
    origin = "let web pages of this origin (https://my.org) use the API; may be repeated"
    where.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", help=origin)
    proxy = "believe the header X-Forwarded-For of this address; may be repeated"
    where.add_argument("--proxy", action="append", default=[], metavar="ADDRESS", help=proxy)
    page = "serve this folder at / (from `squeezenet export --to web`) instead of the small page that ships"
    where.add_argument("--page", type=Path, metavar="DIR", help=page)
    limits = parser.add_argument_group("limits")
    threads = "threads that classify, one image each (default: the cores)"
    limits.add_argument("--threads", type=count, metavar="N", help=threads)
    queue = "most images that wait (default: 64); one client may have half of all places"
    limits.add_argument("--queue", type=natural, default=64, metavar="N", help=queue)
    limits.add_argument("--max-bytes", type=size, default=16 * 2**20, metavar="SIZE", help="largest request (16MiB)")
    limits.add_argument("--max-images", type=count, default=16, metavar="N", help="most images in a request (16)")
    limits.add_argument("--max-pixels", type=count, default=50_000_000, metavar="N", help="largest image (50,000,000)")
    limits.add_argument(
        "--max-seconds", type=positive, default=30.0, metavar="S", help="longest time until the answer (default: 30)"
    )


def run(args: Namespace) -> dict[str, Any]:
    """Load the models and listen; `afterwards` answers requests."""
    from squeezenet.serve.app import Service
    from squeezenet.serve.models import open_models
    from squeezenet.serve.pages import HERE, read_pages
    from squeezenet.serve.server import address, listen
    from squeezenet.serve.settings import Limits

    limits = Limits(
        workers=args.threads or available_cores(), queue=args.queue, body_bytes=args.max_bytes, pixels=args.max_pixels,
        images=args.max_images, seconds=args.max_seconds,
    )  # fmt: skip
    models, pages = open_models(args.models), read_pages(args.page or HERE)
    hosts = [name.lower() for name in (*args.allow_host, args.host)]
    args.service = Service(models, limits, pages, hosts, args.allow_origin)
    args.socket = listen(args.host, args.port)
    return {"address": address(args.socket), "models": list(models)}


def render(result: dict[str, Any]) -> str:
    return f"{result['address']} serves {', '.join(result['models'])}; Ctrl+C stops it"


def afterwards(args: Namespace) -> None:
    """Answer requests until a signal comes."""
    from squeezenet.serve.server import serve

    serve(args.service, args.socket, _told, args.proxy)


def _told(line: str) -> None:
    print(f"squeezenet serve: {printable(line)}", file=sys.stderr, flush=True)
