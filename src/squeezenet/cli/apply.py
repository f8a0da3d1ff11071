"""`squeezenet apply OLD DELTA --out NEW` makes the new file from the old one and a delta of `squeezenet delta`.

NEW is written only if OLD is the file that the delta was made for, and if NEW has the SHA-256 that is in the delta.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.outputs import add_force, may_write

EXAMPLES = """
# NEW is the same file that the delta was made from, byte for byte
squeezenet apply birds-1.sqz birds-2.sqzd --out birds-2.sqz
"""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="the .sqz file that the delta was made for")
    parser.add_argument("delta", metavar="DELTA", help="a .sqzd file")
    parser.add_argument("--out", required=True, metavar="NEW", help="file to write: .sqz")
    add_force(parser)


def run(args: Namespace) -> dict[str, Any]:
    """Apply the delta, and say what was written."""
    from hashlib import sha256

    from squeezenet import sqz
    from squeezenet.files import write_atomically
    from squeezenet.sqz.delta_file import apply

    may_write(args.out, args.force)
    old, data = sqz.read_bytes(args.old), sqz.read_bytes(args.delta)
    with sqz.named(args.delta):
        new = apply(old, data)
    write_atomically(Path(args.out), new)
    return {
        "old": args.old,
        "delta": args.delta,
        "out": args.out,
        "bytes": len(new),
        "of_full": round(len(data) / len(new), 6),
        "sha256": sha256(new).hexdigest(),
    }


def render(result: dict[str, Any]) -> str:
    return f"{result['out']}: {result['bytes']:,} bytes, SHA-256 {result['sha256']}"
