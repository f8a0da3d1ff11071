"""Low rank by the weights against low rank by the outputs on images (ADR 13), neither retrained.

    python benchmarks/low_rank.py cifar10 --data ../shared/data/cifar10-train.parquet \\
        --val ../shared/data/cifar10-test.parquet

Both sides factor the same model to the same number of parameters, and answer the same images.
"""

import argparse
import json

import torch

from squeezenet.compression.low_rank import choose_ranks, factor, measure
from squeezenet.data import load_evaluation, load_pixels
from squeezenet.data.evaluate import evaluate
from squeezenet.data.pixels import Pixels
from squeezenet.formats import load_model
from squeezenet.model import Model
from squeezenet.models.network import from_model
from squeezenet.runtime.image import normalise


def main() -> None:
    """Print a JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="as `squeezenet compress` takes it")
    parser.add_argument("--data", required=True, help="images whose outputs are measured")
    parser.add_argument("--val", required=True, help="images to judge by")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--val-images", type=int, default=1000, metavar="IMAGES")
    parser.add_argument("--ratios", type=float, nargs="+", default=[1.3, 1.8])
    args = parser.parse_args()
    model = load_model(args.model)
    seen, judges = (
        load_pixels(load_evaluation(source), model.preparation, count)
        for source, count in ((args.data, args.images), (args.val, args.val_images))
    )
    print(json.dumps({"by": "whole", "parameters": model.parameters, "top1": top1(model, judges)}), flush=True)
    network = from_model(model).eval()
    images = torch.from_numpy(normalise(seen.images, model.preparation))
    for by, spectra in (("weights", measure(network)), ("outputs", measure(network, images))):
        for ratio in args.ratios:
            thin = factor(model, choose_ranks(model.graph, spectra, f"ratio={ratio}"), spectra)
            row = {"by": by, "ratio": ratio, "parameters": thin.parameters, "top1": top1(thin, judges)}
            print(json.dumps(row), flush=True)


@torch.inference_mode()
def top1(model: Model, judges: Pixels) -> float:
    """In percent."""
    network = from_model(model).eval()
    return round(evaluate(lambda x: network(torch.from_numpy(x)).numpy(), judges, model.preparation).top1, 2)


if __name__ == "__main__":
    main()
