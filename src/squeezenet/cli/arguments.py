"""Arguments that several verbs take, and the types of their values.

>>> size("300kB"), size("1.5MB"), size("64 KiB"), size("350,000")
(300000, 1500000, 65536, 350000)
"""

import re
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from squeezenet import zoo
from squeezenet.errors import NoSuchData

if TYPE_CHECKING:
    from argparse import ArgumentParser, _ArgumentGroup
    from pathlib import Path

    from squeezenet.preparation import Size

LARGEST = 2**63 - 1
"""The largest whole number that PyTorch and NumPy take as a seed or a size."""

SCALES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
DIGITS = r"(?P<whole>[0-9]+|[0-9]{1,3}(?:[,_][0-9]{3})+)(?:\.(?P<part>[0-9]+))?"
AMOUNT = DIGITS + "(?P<scale>[kmg]?)"
SIZE = DIGITS + "(?P<scale> ?(?:[kmg]i?)?)b?"

DATA = NoSuchData.ACCEPTED
"""The help of every option that takes a data set."""


def add_model(parser: "ArgumentParser | _ArgumentGroup") -> None:
    """Add the arguments MODEL and --random-weights."""
    what = "a .sqz, .safetensors, .pth, .onnx or .net file, the run folder of a training, or a name from "
    what += "`squeezenet models`"
    parser.add_argument("model", metavar="MODEL", help=what)
    parser.add_argument(
        "--random-weights",
        type=seed,
        metavar="SEED",
        help="MODEL is the name of a network (see `squeezenet models`); its weights are random numbers from SEED",
    )


def add_training(images: "_ArgumentGroup", how: "_ArgumentGroup", square: bool = False) -> None:
    """Add what `train` and `explore` both take: which images to train on, and any setting of the recipe.

    `square`: height and width of the images must be equal.
    """
    one_in_ten = "validation images (default: the validation split of DATA, or one image in ten)"
    images.add_argument("--val", metavar="DATA", help=one_in_ten)
    images.add_argument("--max-images", type=count, metavar="N", help="train on N images, spread evenly over DATA")
    images.add_argument("--val-images", type=count, metavar="N", help="validate on N validation images, spread evenly")
    side = "side of the images that the network reads" + ("" if square else "; or HEIGHTxWIDTH, as in 48x192")
    images.add_argument("--image-size", type=count if square else image_size, metavar="PIXELS", help=side)
    how.add_argument("--batch-size", type=count, metavar="N", help="images per step, summed over all processes")
    how.add_argument("--lr", type=positive, metavar="RATE", help="highest learning rate")
    how.add_argument("--seed", type=seed, metavar="N", help="seed of all random choices (default: 0)")
    setting = (
        "any other setting: of the network (base_e=64 sr=0.25 bypass=simple), of the recipe (momentum=0.9), of the "
    )
    setting += "augmentation (mirror=false pad=2)"
    how.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="settings", help=setting)


def model_path(args: Namespace) -> "Path":
    """The path of the file of MODEL; with --random-weights there is no such file. Raises `ModelError`."""
    from pathlib import Path

    return Path(args.model) if args.random_weights is not None else zoo.find(args.model)


# Values for `type=` of argparse. Each raises `ArgumentTypeError`, which becomes one line and exit code 2. ----------


def whole(text: str) -> int:
    """Any whole number."""
    try:
        value = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text}: must be a whole number") from None
    if abs(value) > LARGEST:
        raise ArgumentTypeError(f"{text}: must be at most {LARGEST:,}")
    return value


def count(text: str) -> int:
    """A whole number from 1 up."""
    return int(_at_least(1, whole(text), text))


def natural(text: str) -> int:
    """A whole number from 0 up."""
    return int(_at_least(0, whole(text), text))


seed = natural
"""The seed of a random number generator."""


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        raise ArgumentTypeError(f"{text}: must be a number") from None
    if not abs(value) < float("inf"):
        raise ArgumentTypeError(f"{text}: must be a finite number")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value <= 0:
        raise ArgumentTypeError(f"{text}: must be more than 0")
    return value


def not_negative(text: str) -> float:
    """A finite number from 0 up."""
    return _at_least(0, number(text), text)


def _at_least(least: int, value: float, text: str) -> float:
    if value < least:
        raise ArgumentTypeError(f"{text}: must be at least {least}")
    return value


def sides(text: str) -> "Size":
    """Pixels of both sides, or HEIGHTxWIDTH: `224`, or `48x192`."""
    from squeezenet.preparation import size_of

    try:
        return size_of(text)
    except ValueError:
        raise ArgumentTypeError(f"{text}: must be a number of pixels, or HEIGHTxWIDTH, as in 48x192") from None


def image_size(text: str) -> int | str:
    """As `sides`, in the form that a recipe holds."""
    from squeezenet.preparation import spelled

    size = sides(text)
    return size if isinstance(size, int) else spelled(size)


def index_bits(text: str) -> list[int]:
    """One number of bits, or two: `6`, or `8,5`."""
    if not re.fullmatch(r"[0-9]{1,2}(,[0-9]{1,2})?", text):
        raise ArgumentTypeError(f"{text}: give one number of bits, or two as in 8,5")
    return [int(part) for part in text.split(",")]


def size(text: str) -> int:
    """Bytes, from 1 up: `350000`, `350_000`, `350,000`, `350k`, `350kB`, `1.5MB` (10^6 bytes) or `64KiB` (2^16)."""
    return _scaled(text, SIZE, "bytes, as in 350000, 350kB, 1.5MB or 64KiB")


def amount(text: str) -> int:
    """A whole number from 1 up, which may be written with a prefix: `50_000_000`, `50,000,000` or `50M`."""
    return _scaled(text, AMOUNT, "a whole number, as in 50000000 or 50M")


def _scaled(text: str, pattern: str, kind: str) -> int:
    match = re.fullmatch(pattern, text.strip().lower()) if len(text) < 100 else None
    if match is None:
        raise ArgumentTypeError(f"{text}: must be {kind}")
    digits, part = re.sub("[,_]", "", match["whole"]), match["part"] or ""
    value, rest = divmod(int(digits + part) * SCALES[match["scale"].strip()], int(10 ** len(part)))
    if rest or not 1 <= value <= LARGEST:
        raise ArgumentTypeError(f"{text}: must be {kind}, from 1 up")
    return value
