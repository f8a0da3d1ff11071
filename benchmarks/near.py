"""How much accuracy an update keeps that `compress --near` makes, by its bytes, after one more epoch of training.

    python benchmarks/near.py --train cifar10-train.parquet --test cifar10-test.parquet --work WORK \
        --family MobileNetV2 --bytes 2000 3700 --epochs 3

The network of `benchmarks/families.py` is squeezed to an eighth (the old file), and trained for one epoch more (the new
network; `--seeds` of it). *Without* is the new network, squeezed to the bytes of the old file; with `--control` it
learns afterwards for as many epochs as the updates do. `--near` rounds near the old file, and learns if there are
`--epochs`. All figures are of the files, decoded again; top-1 and cross-entropy on all test images. *Sharpest* is the
cross-entropy after the logits were multiplied by the best factor, so that the confidence of all answers does not count.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from divergence import logits
from families import BLOCKS, PREPARATION, SHARE, network, normalised, step
from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, Learning, compress
from squeezenet.data import Pixels, load_evaluation, load_pixels
from squeezenet.data.augment import Augmentation
from squeezenet.formats.foreign import from_module
from squeezenet.model import Model
from squeezenet.sqz import delta

METADATA = 1_680  # bytes of an update (docs/RESULTS.md, "Updates")
FACTORS = np.exp(np.linspace(-0.5, 0.7, 25))
BATCH, RATE = 128, 0.01


def trained_further(family: str, pixels: Pixels, work: Path, seed: int) -> Model:
    """The network after one more epoch of the training in `families`; kept in `work`."""
    module, path = network(family), work / f"{family}-e{seed}.pth"
    if path.exists():
        module.load_state_dict(torch.load(path, weights_only=True))
        return from_module(module.eval(), PREPARATION)
    module.load_state_dict(torch.load(work / f"{family}.pth", weights_only=True))
    images, labels = normalised(pixels), torch.from_numpy(pixels.labels)
    torch.manual_seed(seed)
    optimiser = torch.optim.SGD(module.train().parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batches = torch.randperm(len(images)).split(BATCH)
    for done, chosen in enumerate(batches):
        optimiser.param_groups[0]["lr"] = RATE * min(1.0, 20 * (done + 1) / len(batches), 1 - done / len(batches))
        step(module, optimiser, images[chosen], labels[chosen])
    torch.save(module.state_dict(), path)
    return from_module(module.eval(), PREPARATION)


def told(name: str, old: bytes, made: bytes, test: Pixels, seconds: float = 0.0) -> None:
    """Print a row."""
    size, answers = len(delta.make(old, made)), logits(sqz.decode(made), made, test.images)
    labels, found = torch.from_numpy(test.labels).long(), torch.from_numpy(np.asarray(answers)).double()
    losses = [float(F.cross_entropy(found * factor, labels)) for factor in (1.0, *FACTORS)]
    top1 = 100 * float((found.argmax(1) == labels).double().mean())
    shares = f"{100 * size / len(old):.2f}% | {100 * (size + METADATA) / len(old):.2f}%"
    row = (name, f"{size:,}", shares, f"{top1:.2f}", f"{losses[0]:.4f}", f"{min(losses[1:]):.4f}", f"{seconds:.0f} s")
    print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """Print the old file, then rows for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="CIFAR-10's training images")
    parser.add_argument("--test", required=True, help="CIFAR-10's test images")
    parser.add_argument("--work", type=Path, required=True, help="folder with the networks of families.py")
    parser.add_argument("--family", default="MobileNetV2", choices=list(BLOCKS))
    parser.add_argument("--bytes", type=int, nargs="+", default=[3700], help="largest deltas")
    parser.add_argument("--epochs", type=float, default=3, help="of learning near the old file")
    parser.add_argument("--batch", type=int, default=64, help="images in a step of learning")
    parser.add_argument("--rate", type=float, default=0.2, help="of learning near the old file")
    parser.add_argument("--control", action="store_true", help="the network without --near learns, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    pixels, test = (load_pixels(load_evaluation(each), PREPARATION) for each in (options.train, options.test))
    work, family = options.work, options.family
    path = work / f"{family}-old.sqz"
    if not path.exists():
        module = network(family)
        module.load_state_dict(torch.load(work / f"{family}.pth", weights_only=True))
        model = from_module(module.eval(), PREPARATION)
        recipe = CompressionRecipe(max_bytes=model.float32_bytes // SHARE, calibration=256, threads=1)
        path.write_bytes(compress(model, some(pixels, 0), recipe).data)
    old = path.read_bytes()
    print("| file | delta | of the file | with metadata | top-1 | loss | sharpest | CPU |\n|-|-|-|-|-|-|-|-|")
    told("old", old, old, test)
    learning = Learning(epochs=options.epochs, batch_size=options.batch)
    how = {"augmentation": Augmentation(pad=4), "objective": "both"}
    near = {"near": str(path), "learning": replace(learning, lr=options.rate), **how}
    for seed in options.seeds:
        model = trained_further(family, pixels, work, seed)
        squeezed = CompressionRecipe(max_bytes=len(old), calibration=256, seed=seed, threads=1)
        told(f"{seed}, without", old, compress(model, some(pixels, seed), squeezed).data, test)
        runs = [(f"{seed}, near", {"update_bytes": size, **near}) for size in options.bytes]
        if options.control:
            runs.insert(0, (f"{seed}, without, learned", {"max_bytes": len(old), "learning": learning, **how}))
        for name, settings in runs:
            start = time.process_time()
            made = compress(model, pixels, CompressionRecipe(calibration=512, seed=seed, threads=1, **settings)).data
            told(name, old, made, test, time.process_time() - start)


def some(pixels: Pixels, seed: int) -> Pixels:
    """256 images without labels."""
    chosen = np.random.default_rng(seed).choice(len(pixels), 256, replace=False)
    return Pixels(pixels.images[chosen], None, pixels.indices[chosen])


if __name__ == "__main__":
    main()
