"""Arguments that several verbs take, described once."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from squeezenet import zoo


def add_model(parser: ArgumentParser) -> None:
    """MODEL and what is needed to build one from a name."""
    what = "a .sqz, .safetensors, .pth or .net file, the run folder of a training, or a name `squeezenet models` lists"
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


def model_path(args: Namespace) -> Path:
    """Where MODEL lies, whose bytes are counted; no file for weights that are drawn. Raises `ModelError`."""
    return Path(args.model) if args.random_weights is not None else zoo.find(args.model)
