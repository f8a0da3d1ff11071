"""How near squeezed files stay to the network that they were made of: at several sizes, with several seeds.

    python benchmarks/squeeze.py compressed_SqueezeNet.net --data imagenet-calib.parquet --also photos.parquet \\
        --labelled imagenet-sample.parquet --max-bytes 243800 295000 --seeds 0 1 2

Every fifth image of `--data` and every twentieth of `--also` are held out: the divergence is measured on them, and the
network is rounded with others. With `--synthetic`, it is rounded without images. Columns: see `divergence.py`; CPU
seconds are those of the whole compression.
"""

import argparse
import time

import numpy as np

from divergence import distance, logits
from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, compress
from squeezenet.data import Pixels, load_evaluation, load_pixels
from squeezenet.formats import load_model
from squeezenet.model import Model


def main() -> None:
    """Print a row for each size and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="the float network")
    parser.add_argument("--data", required=True, help="images; every fifth is held out")
    parser.add_argument("--also", help="more images; every twentieth is held out, and the others are not used")
    parser.add_argument("--labelled", help="images on which top-1 is measured")
    parser.add_argument("--synthetic", action="store_true", help="round without images")
    parser.add_argument("--max-bytes", type=int, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--calibration", type=int, default=128, help="images that rounding uses")
    options = parser.parse_args()
    model = load_model(options.model)
    images = loaded(model, options.data)
    held = np.arange(len(images)) % 5 == 4
    sets = {options.data: images.images[held]}
    if options.also:
        sets[options.also] = loaded(model, options.also).images[19::20]
    labelled = loaded(model, options.labelled) if options.labelled else None
    exact = {name: logits(model, b"", each) for name, each in sets.items()}
    print(f"| asked | seed | bytes |{''.join(f' nats; points lost, {name} |' for name in sets)} top-1 | CPU s |")
    print("|" + "-|" * (5 + len(sets)))
    for seed in options.seeds:
        for size in options.max_bytes:
            start = time.process_time()
            recipe = CompressionRecipe(max_bytes=size, seed=seed, calibration=options.calibration, threads=1)
            pixels = None if options.synthetic else of(images, ~held)
            data = compress(model, pixels, recipe).data
            seconds = time.process_time() - start
            made = sqz.decode(data)
            found = [distance(exact[name], logits(made, data, each), None) for name, each in sets.items()]
            columns = "".join(f" {d.nats:.4f}; {d.expected:.2f} |" for d in found)
            top1 = f"{accuracy(made, data, labelled):.1f}" if labelled else ""
            print(f"| {size:,} | {seed} | {len(data):,} |{columns} {top1} | {seconds:.0f} |", flush=True)


def loaded(model: Model, source: str) -> Pixels:
    """All images of a data set, prepared for `model`."""
    return load_pixels(load_evaluation(source), model.preparation)


def of(pixels: Pixels, chosen: np.ndarray) -> Pixels:
    """The chosen images, without labels."""
    return Pixels(pixels.images[chosen], None, pixels.indices[chosen])


def accuracy(model: Model, data: bytes, pixels: Pixels) -> float:
    """Top-1 in percent."""
    return 100 * float((logits(model, data, pixels.images).argmax(1) == pixels.labels).mean())


if __name__ == "__main__":
    main()
