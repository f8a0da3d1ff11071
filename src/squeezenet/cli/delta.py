"""`squeezenet delta OLD NEW --out DELTA` writes a small file with which `squeezenet apply` turns OLD into NEW.

The result is NEW, byte for byte. If a delta would not be smaller than NEW, it holds the whole file NEW.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet.cli.outputs import add_force, may_write

EXAMPLES = """
# from the file that devices have to the one that they should have
squeezenet delta birds-1.sqz birds-2.sqz --out birds-2.sqzd
"""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("old", metavar="OLD", help="the .sqz file that devices have")
    parser.add_argument("new", metavar="NEW", help="the .sqz file that they should have")
    parser.add_argument("--out", required=True, metavar="DELTA", help="file to write: .sqzd")
    add_force(parser)


def run(args: Namespace) -> dict[str, Any]:
    """Make the delta, and say how large it is."""
    from hashlib import sha256

    from squeezenet import sqz
    from squeezenet.files import write_atomically
    from squeezenet.sqz import delta, delta_file

    may_write(args.out, args.force)
    old, new = sqz.read_bytes(args.old), sqz.read_bytes(args.new)
    for path, data in ((args.old, old), (args.new, new)):
        with sqz.named(path):
            sqz.decode(data)
    made = delta.make(old, new)
    write_atomically(Path(args.out), made)
    header = delta_file.examine(made)
    return {
        "old": args.old,
        "new": args.new,
        "out": args.out,
        "bytes": len(made),
        "new_bytes": len(new),
        "of_full": round(len(made) / len(new), 6),
        "whole": header.kind == delta_file.WHOLE,
        "old_sha256": sha256(old).hexdigest(),
        "new_sha256": sha256(new).hexdigest(),
    }


def render(result: dict[str, Any]) -> str:
    whole = "\nthe files have too little in common: the delta holds the whole file NEW" if result["whole"] else ""
    return f"{result['out']}: {result['bytes']:,} bytes, {100 * result['of_full']:.1f}% of {result['new']}{whole}"
