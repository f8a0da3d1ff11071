"""Options that describe a network of another program: how images are prepared, what the outputs mean.

`convert` and `compress` take them.
"""

import logging
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from squeezenet.cli.arguments import number, sides
from squeezenet.errors import DataError, UsageError
from squeezenet.printable import counted, printable

if TYPE_CHECKING:
    from squeezenet.formats import About
    from squeezenet.model import Model
    from squeezenet.preparation import Fit, Preparation

TORCHVISION, TIMM = "torchvision", "timm"

_log = logging.getLogger(__name__)


def add_about(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--labels", metavar="FILE", help="a text file with one class name per line")
    parser.add_argument(
        "--outputs", choices=("classes", "labels"),
        help="classes: exactly one class is right, and the probabilities are a softmax; labels: each output is a yes "
        "or no, with a probability by sigmoid (default: as in MODEL; for weights only: classes). One output is always "
        "a label",
    )  # fmt: skip
    missing = parser.add_argument_group(
        "for a file of weights only, or an ONNX file",
        "Files that squeezenet wrote, and the authors' .net, need none of these options.",
    )
    like = (
        f"take the preparation of images and the class names from this model; {TORCHVISION}: those of the "
        f"weights that torchvision publishes; {TIMM}: the preparation that timm has for the network"
    )
    missing.add_argument("--like", metavar="MODEL", help=like)
    missing.add_argument(
        "--network",
        "--arch",
        metavar="NAME",
        help="the network (see `squeezenet models`), if the weights fit several; or timm/NAME or torchvision/NAME, if "
        "the library is installed",
    )
    pixels = "resize images to N pixels; or to HEIGHTxWIDTH, as in 48x192"
    missing.add_argument("--resize", type=sides, metavar="N", help=pixels)
    cut = "cut out the middle N x N pixels, or HEIGHTxWIDTH (default: --resize)"
    missing.add_argument("--crop", type=sides, metavar="N", help=cut)
    fit = (
        "stretch: both sides become N pixels (default); shorter: the shorter side becomes N pixels, or the image the "
        "smallest one of its aspect ratio that covers HEIGHTxWIDTH"
    )
    missing.add_argument("--fit", choices=("stretch", "shorter"), help=fit)
    colours = parser.add_argument_group("the colours of its images")
    colours.add_argument("--channels", choices=("RGB", "BGR", "L"), help="order of the colours; L: one gray channel")
    what = "of each channel, of pixels from 0 to 255"
    colours.add_argument("--mean", type=_numbers, metavar="M,M,M", help=f"mean {what}")
    colours.add_argument("--std", type=_numbers, metavar="S,S,S", help=f"standard deviation {what}")


def described(args: Namespace) -> "About":
    """What the options say about a file of another program. Raises `UsageError` for wrong options."""
    from squeezenet.formats import About, libraries, load_model
    from squeezenet.formats.about import of_torchvision

    given = [name for name in ("resize", "crop", "fit", "channels", "mean", "std") if getattr(args, name) is not None]
    if args.like and given:
        raise UsageError(
            f"--like and --{given[0]}: leave one of the two out; --like already sets how images are prepared"
        )
    about = About()
    if args.like == TORCHVISION:
        about = of_torchvision()
    elif args.like == TIMM:
        if not (args.network or "").startswith(libraries.TIMM):
            raise UsageError("--like timm: say of which network the weights are: --network timm/NAME")
        about = About(libraries.preparation(args.network))
    elif args.like:
        like = load_model(args.like)
        about = About(like.preparation, () if args.labels else like.labels, graph=like.graph, outputs=like.outputs)
    elif given:
        about = About(_preparation(args))
    return replace(about, networks=(args.network,)) if args.network else about


def renamed(model: "Model", args: Namespace) -> "Model":
    """The model with the class names and the kind of outputs that the options tell. Raises `UsageError`."""
    from squeezenet.formats.imagenet import imagenet_labels

    if args.like == TORCHVISION and model.graph.classes == len(imagenet_labels()):
        model = replace(model, labels=imagenet_labels())
    if args.labels:
        labels = _labels(args.labels, model.graph.classes)
        _warn_of(args.labels, labels, model.labels)
        model = replace(model, labels=labels)
    if args.outputs:
        if args.outputs == "classes" and model.graph.classes == 1:
            raise UsageError("--outputs classes: the network has one output, a yes or no; leave the option out")
        model = replace(model, outputs=args.outputs)
    return model


def _preparation(args: Namespace) -> "Preparation":
    from squeezenet.preparation import Preparation

    missing = [f"--{name}" for name in ("resize", "channels", "mean", "std") if getattr(args, name) is None]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} missing: they say how images are prepared; give them, or give --like MODEL"
        )
    fit: Fit = args.fit or "stretch"
    try:
        return Preparation(args.resize, args.crop or args.resize, fit, args.channels, args.mean, args.std)
    except ValueError as error:
        raise UsageError(f"--resize, --crop, --channels, --mean, --std: {error}") from None


def _numbers(text: str) -> tuple[float, ...]:
    """A number for each channel."""
    return tuple(number(part) for part in text.split(","))


def _labels(path: str, classes: int) -> tuple[str, ...]:
    """The names in a text file, one for each class."""
    from squeezenet.formats.label_file import read_labels

    try:
        labels = read_labels(path)
    except DataError as error:
        raise UsageError(f"--labels {error}") from None
    for row, label in enumerate(labels, 1):
        if not label.isprintable():
            raise UsageError(f"{path}: line {row} is {printable(label)}, which has characters that cannot be shown")
    if len(labels) != classes:
        one = "; name the class that the one output says yes to" if classes == 1 else ""
        raise UsageError(f"{path}: {len(labels):,} names for {counted(classes, 'class', 'classes')}{one}")
    return labels


def _warn_of(path: str, labels: tuple[str, ...], before: tuple[str, ...]) -> None:
    """Warn if `labels` look like a mistake: one name for two classes, or the names of `before` in another order."""
    first: dict[str, int] = {}
    for row, label in enumerate(labels, 1):
        if first.setdefault(label, row) != row:
            _log.warning("%s: lines %s and %s are both %s; answers will not tell the two classes apart",
                         path, first[label], row, label)  # fmt: skip
            return
    if labels != before and sorted(labels) == sorted(before):
        row = next(row for row, (new, old) in enumerate(zip(labels, before, strict=True)) if new != old)
        _log.warning("%s: the model's own names in another order; class %s was %s and is now called %s",
                     path, row, before[row], labels[row])  # fmt: skip
