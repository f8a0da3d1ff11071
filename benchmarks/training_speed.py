"""Images per second of `squeezenet train` against a plain PyTorch loop: same network, optimiser, images and epochs.

    python benchmarks/training_speed.py --data cifar10/ --images 10000 --epochs 3

The plain loop is the one of PyTorch's tutorials at its documented best: images decoded beforehand, crop, mirror and
normalisation image by image in the workers of a `DataLoader` (as torchvision's transforms do it), float32, the default
memory layout. Ours is `training.state.State`: the images on the device, augmented a batch at a time, channels last,
bf16 where the hardware multiplies it. Epochs of both alternate in one process; the ratio is the median over epochs
after the first, which warms up. Both are judged in float32 on the same images in the end.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from squeezenet.data import Pixels, default_preparation, load_data, load_pixels
from squeezenet.data.augment import Augmentation
from squeezenet.data.batches import batches_per_epoch, open_source
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation
from squeezenet.training import Recipe, evaluate
from squeezenet.training.state import State

NETWORK = {"base_e": 64, "incr_e": 64, "sr": 0.5, "bypass": "simple", "norm": "batch", "dropout": 0.0}
RECIPE = Recipe(
    name="speed", batch_size=500, micro_batch=0, lr=0.1, nesterov=True, weight_decay=5e-4, warmup=0.3,
    augmentation=Augmentation(pad=2),
)  # fmt: skip


class Plain(Dataset[tuple[Tensor, int]]):
    """One image at a time: random crop of the padded image, mirror, float, normalised."""

    def __init__(self, pixels: Pixels, preparation: Preparation) -> None:
        self.images, self.labels = torch.from_numpy(pixels.images), pixels.labels
        self.mean = torch.tensor(preparation.mean)[:, None, None]
        self.std = torch.tensor(preparation.std)[:, None, None]
        self.pad = RECIPE.augmentation.pad

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = F.pad(self.images[index].float(), (self.pad,) * 4, mode="replicate")
        y, x = torch.randint(2 * self.pad + 1, (2,)).tolist()
        side = self.images.shape[-1]
        image = image[:, y : y + side, x : x + side]
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
        return (image - self.mean) / self.std, int(self.labels[index])


def plain_epochs(
    network: nn.Module, pixels: Pixels, preparation: Preparation, recipe: Recipe, workers: int
) -> Callable[[], None]:
    """A function that trains one epoch as a tutorial would."""
    device = next(network.parameters()).device
    loader = DataLoader(
        Plain(pixels, preparation), recipe.batch_size, shuffle=True, num_workers=workers, drop_last=False,
        persistent_workers=workers > 0, pin_memory=device.type == "cuda",
    )  # fmt: skip
    optimiser = torch.optim.SGD(
        network.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    steps = recipe.steps(len(loader))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: recipe.rate(min(step, steps - 1), steps) / recipe.lr
    )

    def epoch() -> None:
        network.train()
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            optimiser.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimiser.step()
            schedule.step()

    return epoch


def our_epochs(network: nn.Module, data, preparation: Preparation, recipe: Recipe) -> Callable[[], None]:
    """A function that trains one epoch as `squeezenet train` does."""
    device = next(network.parameters()).device
    source = open_source(data.train, preparation, device=device)
    state = State(network, recipe, recipe.steps(batches_per_epoch(len(source), recipe.batch_size)), preparation)
    number = 0

    def epoch() -> None:
        nonlocal number
        network.train()
        for batch in source.batches(source.order(recipe.batch_size, recipe.seed, number)):
            state.advance(batch)
        number += 1

    return epoch


def main() -> None:
    """Train both, alternating; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of the plain loop's DataLoader")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_data(args.data)
    chosen = np.arange(args.images) * len(data.train) // args.images
    data = replace(data, train=data.train.take(chosen))
    preparation = default_preparation(data.train)
    pixels = load_pixels(data.train, preparation)
    able = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    recipe = replace(RECIPE, epochs=float(args.epochs), precision="bf16" if able else "float32")
    fitting = {**NETWORK, "classes": len(data.train.classes), "stem": "32" if preparation.crop < 64 else "64"}
    networks = [create_seeded("squeezenet_32", 0, **fitting).to(device) for _ in range(2)]
    sides = [
        plain_epochs(networks[0], pixels, preparation, recipe, args.workers),
        our_epochs(networks[1], data, preparation, recipe),
    ]
    seconds: list[list[float]] = [[], []]
    for _ in range(args.epochs):
        for side, epoch in enumerate(sides):
            start = time.perf_counter()
            epoch()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[side].append(time.perf_counter() - start)
    counted = [s[1:] or s for s in seconds]
    ratio = statistics.median(a / b for a, b in zip(*counted, strict=True))
    rates = [args.images / statistics.median(s) for s in counted]
    validation = load_pixels(data.validation, preparation)
    scores = [evaluate(network, validation, preparation).top1 for network in networks]
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}"
    made = f"{device.type}, {torch.get_num_threads()} threads, {versions}"
    result = {
        "plain_images_per_second": round(rates[0], 1), "images_per_second": round(rates[1], 1),
        "ratio": round(ratio, 2), "plain_top1": scores[0], "top1": scores[1], "epochs": args.epochs,
        "images": args.images, "precision": recipe.precision, "made": made,
    }  # fmt: skip
    if args.json:
        print(json.dumps(result))
        return
    print(f"{args.epochs} epochs of {args.images:,} images; {made}")
    print("| loop | images/s | top-1 |\n|-|-|-|")
    print(f"| plain, float32 | {rates[0]:,.0f} | {scores[0]:.2f} |")
    print(f"| squeezenet, {recipe.precision} | {rates[1]:,.0f} | {scores[1]:.2f} |")
    print(f"ratio, median over epochs: {ratio:.2f}x")


if __name__ == "__main__":
    main()
