"""Arguments that several verbs take, described once."""

from argparse import ArgumentParser


def add_model(parser: ArgumentParser) -> None:
    """MODEL and what is needed to build one from a name."""
    what = "a .sqz, .safetensors, .pth or .net file, or the run folder of a training"
    parser.add_argument("model", metavar="MODEL", help=what)
    parser.add_argument(
        "--random-weights",
        type=int,
        metavar="SEED",
        help="MODEL is the name of a network (see `squeezenet models`): take it with weights drawn from SEED",
    )


def add_data(parser: ArgumentParser, required: bool = True) -> None:
    """DATA."""
    what = "digits, a folder of class folders, Parquet files, WebDataset shards, or owner/name on the Hugging Face hub"
    parser.add_argument("--data", required=required, metavar="DATA", help=what)
