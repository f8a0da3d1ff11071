"""`squeezenet reproduce SUBJECT`: a table or figure of the paper beside our figures.

`figure3`, `table1` and `table3` are in `cli/paper.py`, table 2 is in `cli/table2.py`.
"""

import time
from argparse import ArgumentParser, Namespace
from typing import Any

from squeezenet.cli.arguments import count, not_negative, seed
from squeezenet.cli.table import table
from squeezenet.errors import UsageError

USES = {
    "figure3": ("results",),
    "table1": ("weights",),
    "table2": (
        "out", "weights", "imagenet", "imagenet_val", "alexnet", "squeezenet", "data", "val", "epochs", "limit", "seed",
    ),
    "table3": ("results",),
}  # fmt: skip
"""Subject -> the options it takes."""

EXAMPLES = """
# the network, layer by layer, and the weights that pruning keeps
squeezenet reproduce table1
# sizes after SVD, pruning and Deep Compression, with random weights
squeezenet reproduce table2 --out table2
# your sweep beside the paper's figure 3
squeezenet reproduce figure3 --results space
"""


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "subject", choices=USES, metavar="SUBJECT",
        help="figure3: squeeze ratio, share of 3x3 filters; table1: the network, layer by layer; "
        "table2: SVD, pruning, Deep Compression; table3: bypass",
    )  # fmt: skip
    sweeps = parser.add_argument_group("figure3, table3")
    sweeps.add_argument("--results", metavar="DIR", help="the --out folder of `squeezenet explore`")
    weights = parser.add_argument_group("table1, table2")
    weights.add_argument("--weights", metavar="MODEL", help="SqueezeNet for ImageNet: the authors' .net file or a name")
    files = parser.add_argument_group("table2")
    files.add_argument("--out", metavar="DIR", help="folder for the files that are measured")
    files.add_argument(
        "--imagenet", metavar="DATA", help="images to retrain --weights on; one in ten is for validation"
    )
    files.add_argument("--imagenet-val", metavar="DATA", help="validation images for --weights, if not from --imagenet")
    files.add_argument("--alexnet", metavar="RUN", help="run of an AlexNet, such as alexnet_32, trained on --data")
    files.add_argument("--squeezenet", metavar="RUN", help="run of a SqueezeNet, such as squeezenet_32, on --data")
    files.add_argument("--data", metavar="DATA", help="images that both runs were trained on, used for retraining")
    files.add_argument("--val", metavar="DATA", help="validation images for both runs, instead of one in ten of --data")
    epochs = "epochs of retraining after each stage (default: 2; after pruning 4)"
    files.add_argument("--epochs", type=not_negative, metavar="N", help=epochs)
    files.add_argument("--limit", type=count, metavar="N", help="retrain on N images at most")
    files.add_argument("--seed", type=seed, metavar="N", help="seed of random weights (default: 0)")


def run(args: Namespace) -> dict[str, Any]:
    """Reproduce one subject. Raises `UsageError` for options that are another subject's."""
    start = time.perf_counter()
    unused = [name for names in USES.values() for name in names if name not in USES[args.subject]]
    if told := [name for name in unused if getattr(args, name) is not None]:
        raise UsageError(f"--{told[0].replace('_', '-')} is no option of {args.subject}; leave it out")
    if args.subject == "table2" and args.out is None:
        raise UsageError("--out missing: table2 writes files; name a folder for them")
    trained = (args.alexnet, args.squeezenet, args.data)
    if any(trained) and not all(trained):
        raise UsageError("--alexnet, --squeezenet and --data go together; give all three, or none")
    if args.weights is None and (args.imagenet or args.imagenet_val):
        raise UsageError("--imagenet and --imagenet-val need --weights; give --weights too, or leave them out")
    if args.val and not args.data:
        raise UsageError("--val needs --data; give --data too, or leave --val out")
    args.seed = args.seed or 0
    from squeezenet.cli import paper, table2

    subjects = {
        "figure3": paper.figure3, "table1": paper.table1, "table2": table2.table2, "table3": paper.table3,
    }  # fmt: skip
    rows = subjects[args.subject](args)
    return {"subject": args.subject, "out": args.out, "rows": rows, "seconds": round(time.perf_counter() - start, 1)}


def render(result: dict[str, Any]) -> str:
    """The text for people; columns that begin with "paper" are the paper's figures."""
    if result["subject"] != "table2":
        from squeezenet.cli import paper

        return paper.render(result)
    head = ["network, method", "data type", "paper MB", "MB", "paper ratio", "ratio", "kept parameters",
            "paper top-1 / top-5", "top-1 / top-5", "weights"]  # fmt: skip
    rows = []
    for row in result["rows"]:
        printed = row["paper"]
        measured = f"{row['top1']:.2f} / {row['top5']:.2f}" if row["accuracy"] == "measured" else row["accuracy"]
        rows.append([
            f"{row['network']}, {row['method']}", row["data_type"], f"{printed['megabytes']:g}",
            f"{row['bytes'] / 1e6:.3g}" if row["bytes"] < 1e8 else f"{row['bytes'] / 1e6:.0f}",
            f"{printed['ratio']}x", f"{row['ratio']:.1f}x", f"{row['nonzero']:,}",
            f"{printed['top1']} / {printed['top5']}", measured, row["weights"],
        ])  # fmt: skip
    judged = {row["weights"]: f"{row['weights']}: {row['images']:,} images of {row['data']}" for row in result["rows"]
              if row["accuracy"] == "measured"}  # fmt: skip
    return "\n".join([
        table(head, rows),
        "",
        "MB: 10^6 bytes of the file (labels and lossless coding included); ratio: to AlexNet's float32 bytes;",
        "the paper's accuracies are of ImageNet",
        *(f"accuracies measured on {where}" for where in judged.values()),
        f"files are in {result['out']}; {result['seconds']:.0f} seconds",
    ])  # fmt: skip
