"""How far squeezed files answer from the network they were made of: with less chance than top-1 of some images has.

    python benchmarks/divergence.py official.sqz a.sqz b.sqz --data imagenet-sample.parquet --data photos.parquet

For each file and each set of images (labels are not needed, except for the last two columns):

- nats: Kullback and Leibler's divergence from the answers of the first file, mean of an image, and its standard error;
- same: the share of images with the same first answer, in percent;
- expected: points of top-1 that are lost if the first file's probabilities are right: by how much less probable the new
  first answers are. Its standard error is a fifth of that of the difference in top-1, which depends on labels;
- lost, won: images that only the first file, or only the squeezed one, has right.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezenet.data import load_evaluation, load_pixels
from squeezenet.formats import load_model
from squeezenet.model import Model
from squeezenet.runtime.image import normalise
from squeezenet.runtime.run import runner

BATCH = 20

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Distance:
    """Of one file on one set of images."""

    nats: float
    nats_error: float
    same: float  # percent
    expected: float  # points
    expected_error: float
    lost: int | None
    won: int | None


def distance(exact: Logits, found: Logits, labels: Labels | None) -> Distance:
    """Of logits (N, classes) `found` from those they should be."""
    wanted, given = _log_probabilities(exact), _log_probabilities(found)
    first, now = wanted.argmax(1), given.argmax(1)
    chances, each = np.exp(wanted), np.arange(len(wanted))
    nats = (chances * (wanted - given)).sum(1)
    expected = 100 * (chances[each, first] - chances[each, now])
    lost = None if labels is None else int(((first == labels) & (now != labels)).sum())
    won = None if labels is None else int(((first != labels) & (now == labels)).sum())
    error = len(each) ** 0.5
    return Distance(
        float(nats.mean()), float(nats.std()) / error, 100 * float((first == now).mean()),
        float(expected.mean()), float(expected.std()) / error, lost, won,
    )  # fmt: skip


def logits(model: Model, data: bytes, images: NDArray[np.uint8], threads: int = 1) -> Logits:
    """The logits (N, classes) of the network in the file `data`, or of `model` if there is no file."""
    run = runner(model, threads, data=data)
    batches = range(0, len(images), BATCH)
    return np.concatenate([run(normalise(images[i : i + BATCH], model.preparation)) for i in batches])


def _log_probabilities(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logs


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the network as it was")
    parser.add_argument("files", nargs="+", help="what was made of it")
    parser.add_argument("--data", action="append", required=True, help="images; may be given several times")
    parser.add_argument("--limit", type=int, help="of each, the most images")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    model = load_model(options.model)
    for source in options.data:
        pixels = load_pixels(load_evaluation(source), model.preparation, options.limit)

        def of(file: str, images: NDArray[np.uint8] = pixels.images) -> Logits:
            data = Path(file).read_bytes() if Path(file).suffix == ".sqz" else b""  # for the engine, which is faster
            return logits(load_model(file), data, images, options.threads)

        exact = of(options.model)
        print(f"\n{len(pixels):,} images of {Path(source).name}\n")
        print("| file | nats | same | expected | lost | won |\n|-|-|-|-|-|-|")
        for file in options.files:
            d = distance(exact, of(file), pixels.labels)
            judged = " | | |" if d.lost is None else f" | {d.lost} | {d.won} |"
            print(f"| {Path(file).name} | {d.nats:.4f} ± {d.nats_error:.4f} | {d.same:.1f} | "
                  f"{d.expected:.2f} ± {d.expected_error:.2f}{judged}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
