"""`squeezenet classify [--model MODEL] IMAGE...`: labels. Needs no PyTorch for a `.sqz` file or what ships."""

import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from squeezenet import zoo
from squeezenet.cli.cores import available_cores
from squeezenet.errors import ImageError, UsageError
from squeezenet.runtime import Classifier, load

USUAL_THREADS = 4
"""At most, unless told: reading a file and one image gain little from more."""
MOST_THREADS = 64
"""What the engine takes."""


def configure(parser: ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, BMP, GIF, TIFF or PPM files")
    parser.add_argument(
        "--model", metavar="MODEL", help=f"a .sqz file, or anything `squeezenet convert` reads ({zoo.DEFAULT})"
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="labels to give for each image (default 5)")
    parser.add_argument(
        "--threads", type=int, metavar="N", help=f"that compute (default: the cores, at most {USUAL_THREADS})"
    )


def run(args: Namespace) -> dict[str, Any]:
    """One image gives one answer; several give a list of them, in which an unreadable image has an `error`."""
    if args.top < 1:
        raise UsageError("--top must be at least 1")
    if args.threads is not None and args.threads < 1:
        raise UsageError("--threads must be at least 1")
    threads = min(available_cores(), USUAL_THREADS) if args.threads is None else min(args.threads, MOST_THREADS)
    model = zoo.DEFAULT if args.model is None else args.model
    classifier = _load(zoo.default_model() if args.model is None else zoo.find(args.model), threads)
    if len(args.images) == 1:
        return {"model": model, **_classify(classifier, args.images[0], args.top)}
    results = []
    for image in args.images:
        try:
            results.append(_classify(classifier, image, args.top))
        except ImageError as error:
            results.append({"image": image, "error": str(error)})
    return {"model": model, "results": results, "failed": sum("error" in r for r in results)}


def render(result: dict[str, Any]) -> str:
    """For people."""
    blocks = []
    for one in result.get("results", [result]):
        lines = [one["image"]] if "error" not in one else [f"{one['error']}"]
        lines += [f"  {100 * p['probability']:5.1f}%  {p['label']}" for p in one.get("predictions", [])]
        blocks.append("\n".join(lines))
    return "\n".join([*blocks, f"model: {result['model']}"])


def _classify(classifier: Classifier, image: str, top: int) -> dict[str, Any]:
    start = time.perf_counter()
    predictions = classifier.classify(image, top)
    milliseconds = 1000 * (time.perf_counter() - start)
    return {
        "image": image,
        "predictions": [{"label": p.label, "index": p.index, "probability": p.probability} for p in predictions],
        "milliseconds": round(milliseconds, 2),
    }


def _load(path: Path, threads: int) -> Classifier:
    if path.suffix == ".sqz":
        return load(path, threads)
    from squeezenet.formats import load_model

    return Classifier(load_model(path), threads)
