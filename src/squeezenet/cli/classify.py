"""`squeezenet classify [--model MODEL] IMAGE...`: labels. Needs no PyTorch for a `.sqz` file or what ships."""

import os
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from squeezenet import load, zoo
from squeezenet.cli.arguments import count
from squeezenet.cli.cores import USUAL_THREADS, available_cores
from squeezenet.errors import ImageError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from squeezenet.runtime import Classifier

EXAMPLES = """
# label a photograph
squeezenet classify photo.jpg
# all images below a folder as a table, with a model of your own
squeezenet classify photos/ --model birds.sqz --top 1 --csv > labels.csv
# for a program: one JSON object
squeezenet classify photo.jpg --json
"""

COLUMNS = ("image", "rank", "label", "index", "probability", "error")
"""The columns of `--csv`."""


def configure(parser: ArgumentParser) -> None:
    kinds = "JPEG, PNG, WebP, AVIF, BMP, GIF, TIFF or PPM files, or folders of them"
    parser.add_argument("images", nargs="+", metavar="IMAGE", help=kinds)
    what = f"a .sqz file, or any model that `squeezenet convert` reads (default: {zoo.DEFAULT})"
    parser.add_argument("--model", metavar="MODEL", help=what)
    threads = f"number of threads (default: the cores, at most {USUAL_THREADS})"
    parser.add_argument("--threads", type=count, metavar="N", help=threads)
    group = parser.add_argument_group("the answer")
    group.add_argument("--top", type=count, default=5, metavar="N", help="show the N most probable labels (default: 5)")
    group.add_argument("--csv", action="store_true", help="print a CSV table with one row for each image and label")


def run(args: Namespace) -> dict[str, Any]:
    """The answer for one image; for several, or a folder, a list in which an unreadable image has an `error`."""
    if args.csv and args.json:
        raise UsageError("--csv and --json: leave one of the two out")
    if "-" in args.images and not os.path.exists("-"):
        raise UsageError("-: images are not read from standard input; save the image to a file first")
    threads = args.threads or min(available_cores(), USUAL_THREADS)
    model = zoo.DEFAULT if args.model is None else args.model
    path = zoo.default_model() if args.model is None else args.model
    single = len(args.images) == 1 and not os.path.isdir(args.images[0])
    first = _opened_meanwhile(path, threads, args.images[0]) if single and threads > 1 else None
    classifier = load(path, threads)
    about = {"model": model, "outputs": classifier.outputs}
    if first is None:
        classifier.labels  # noqa: B018  # damage of the model comes first
    if single:
        answer = _classify(classifier, args.images[0], args.top, first)
        return {"model": model, "results": [answer], "as": "csv"} if args.csv else {**about, **answer}
    results = [_tried(classifier, image, args.top) for image in _images(args.images)]
    if len(args.images) == len(results) == 1 and "error" in results[0]:
        raise ImageError(results[0]["error"])
    found = {**about, "results": results, "failed": sum("error" in result for result in results)}
    return {**found, "as": "csv"} if args.csv else found


def render(result: dict[str, Any]) -> str:
    """The text for people, or the table of --csv."""
    if result.get("as") == "csv":
        return _table(result["results"])
    blocks = []
    for one in result.get("results", [result]):
        lines = [one["error"]] if "error" in one else [f"{one['image']}  {one['milliseconds']:.1f} ms"]
        lines += [f"  {100 * p['probability']:5.1f}%  {p['label']}" for p in one.get("predictions", [])]
        blocks.append("\n".join(lines))
    if failed := result.get("failed"):
        blocks.append(f"{failed:,} of {len(result['results']):,} images could not be read")
    return "\n".join([*blocks, f"model: {result['model']}"])


def _images(given: list[str]) -> Iterator[str]:
    """The images that were named, and those below named folders; the folder itself where there are none below it."""
    for path in given:
        if os.path.isdir(path):
            from squeezenet.runtime.folders import images_below

            below = images_below(path)
            yield next(below, path)
            yield from below
        else:
            yield path


def _tried(classifier: "Classifier", image: str, top: int) -> dict[str, Any]:
    if os.path.isdir(image):
        return {"image": image, "error": f"{image}: no images in this folder, or it may not be read"}
    try:
        return _classify(classifier, image, top)
    except ImageError as error:
        return {"image": image, "error": str(error)}


def _opened_meanwhile(model: "str | os.PathLike[str]", threads: int, image: str) -> "tuple[Image, float] | None":
    """The image, and the seconds that it took, decoded while another thread decodes the model.

    None if the image cannot be read: the model comes first, and so do its errors.
    """
    from squeezenet.sqz import ahead

    ahead.begin(zoo.located(model), max(1, threads - 1))
    from squeezenet.runtime.image import open_image

    start = time.perf_counter()
    try:
        return open_image(image), time.perf_counter() - start
    except ImageError:
        return None


def _classify(
    classifier: "Classifier", image: str, top: int, opened: "tuple[Image, float] | None" = None
) -> dict[str, Any]:
    start = time.perf_counter()
    if opened is None:
        predictions = classifier.classify(image, top)
    else:
        predictions = classifier.of_opened(opened[0], top)
        start -= opened[1]
    milliseconds = 1000 * (time.perf_counter() - start)
    return {
        "image": image,
        "predictions": [{"label": p.label, "index": p.index, "probability": p.probability} for p in predictions],
        "milliseconds": round(milliseconds, 2),
    }


def _table(results: list[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for one in results:
        for rank, prediction in enumerate(one.get("predictions", []), 1):
            table.writerow({"image": one["image"], "rank": rank, **prediction})
        if "error" in one:
            table.writerow({"image": one["image"], "error": one["error"]})
    return text.getvalue().rstrip("\n")
