"""How much accuracy networks of today's families lose when they are squeezed to an eighth of their size.

    python benchmarks/families.py --train cifar10-train.parquet --test cifar10-test.parquet --work WORK

Small networks of six families are trained for images of 32 x 32 pixels (`--minutes` each, kept in `--work`), then
squeezed by rounding, with 256 images and with none. All accuracies are of the whole test set; those of squeezed
networks are of the files, in the engine. "points lost" is a mean over `--seeds`, with the standard deviation.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from divergence import logits
from squeezenet import sqz
from squeezenet.compression import CompressionRecipe, compress
from squeezenet.data import Pixels, load_evaluation, load_pixels
from squeezenet.formats.foreign import from_module
from squeezenet.model import Model
from squeezenet.preparation import Preparation

CLASSES = 10
PREPARATION = Preparation(32, 32, "stretch", "RGB", (125.0, 123.0, 114.0), (63.0, 62.0, 67.0))
SHARE = 8


def conv(i: int, o: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: nn.Module | None = None) -> nn.Module:
    """A convolution with batch normalisation and perhaps an activation."""
    layers = [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act] if act else []))


class Gate(nn.Module):
    """Squeeze-and-excitation: each channel is multiplied by a number that depends on the means of all channels."""

    def __init__(self, width: int, inner: int, act: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)
        self.act, self.gate = act, gate

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.act(self.fc1(F.adaptive_avg_pool2d(x, 1)))))


class Residual(nn.Module):
    """x + body(x), where the shapes are equal; `after` is applied to the sum."""

    def __init__(self, body: nn.Module, same: bool, after: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.same, self.after = body, same, after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.after(x + y if self.same else y)


def inverted(i: int, o: int, stride: int, act: nn.Module, kernel: int = 3, gate: nn.Module | None = None) -> nn.Module:
    """The block of MobileNets and EfficientNet: wide in the middle, depthwise."""
    wide = 4 * i
    middle = [conv(i, wide, act=act), conv(wide, wide, kernel, stride, wide, act)]
    middle += [Gate(wide, max(8, i // 2), act if gate is None else nn.ReLU(), gate or nn.Sigmoid())] if gate else []
    return Residual(nn.Sequential(*middle, conv(wide, o)), stride == 1 and i == o)


class Shuffle(nn.Module):
    """The block of ShuffleNetV2: half of the channels pass, and the halves are interleaved."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        half, read = o // 2, i if stride > 1 else i // 2
        self.stride = stride
        self.side = nn.Sequential(conv(i, i, 3, 2, i), conv(i, half, act=nn.ReLU())) if stride > 1 else nn.Identity()
        self.body = nn.Sequential(
            conv(read, half, act=nn.ReLU()), conv(half, half, 3, stride, half), conv(half, half, act=nn.ReLU())
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, used = (x, x) if self.stride > 1 else x.chunk(2, 1)
        y = torch.cat([self.side(kept), self.body(used)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Branches(nn.Module):
    """The block of RepVGG as it is trained: 3 x 3, 1 x 1 and identity, each with batch normalisation."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.dense, self.point = conv(i, o, 3, stride), conv(i, o, 1, stride)
        self.same = nn.BatchNorm2d(i) if i == o and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.dense(x) + self.point(x)
        return F.relu(y if self.same is None else y + self.same(x))


def regnet(i: int, o: int, stride: int) -> nn.Module:
    """The block of RegNetY: grouped convolutions and a gate."""
    act, gate = nn.ReLU(), Gate(o, max(8, i // 4), nn.ReLU(), nn.Sigmoid())
    body = nn.Sequential(conv(i, o, act=act), conv(o, o, 3, stride, o // 8, act), gate, conv(o, o))
    return Residual(body, stride == 1 and i == o, nn.ReLU())


BLOCKS = {
    "MobileNetV2": (lambda i, o, s: inverted(i, o, s, nn.ReLU6()), 24, nn.ReLU6),
    "MobileNetV3": (lambda i, o, s: inverted(i, o, s, nn.Hardswish(), 5, nn.Hardsigmoid()), 24, nn.Hardswish),
    "EfficientNet": (lambda i, o, s: inverted(i, o, s, nn.SiLU(), 3, nn.Sigmoid()), 24, nn.SiLU),
    "ShuffleNetV2": (Shuffle, 48, nn.ReLU),
    "RegNetY": (regnet, 32, nn.ReLU),
    "RepVGG": (Branches, 32, nn.ReLU),
}
"""Family -> its block (inputs, outputs, stride), the width of its first stage, its activation."""


def network(family: str) -> nn.Module:
    """Three stages of two blocks, from 16 x 16 positions on; widths double and sizes halve from stage to stage."""
    block, width, act = BLOCKS[family]
    layers = [conv(3, width, 3, 2, act=act()), block(width, width, 1), block(width, width, 1)]
    for wide in (2 * width, 4 * width):
        layers += [block(wide // 2, wide, 2), block(wide, wide, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, CLASSES))


def train(module: nn.Module, pixels: Pixels, minutes: float, batch: int = 128, rate: float = 0.1) -> None:
    """SGD with momentum on crops and mirrored images for so many minutes of processor time; the rate falls to 0."""
    images, labels = normalised(pixels), torch.from_numpy(pixels.labels)
    optimiser = torch.optim.SGD(module.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    start, share = time.process_time(), 0.0
    while share < 1:
        for chosen in torch.randperm(len(images)).split(batch):
            share = (time.process_time() - start) / (60 * minutes)
            optimiser.param_groups[0]["lr"] = rate * min(1.0, 20 * share, max(0.0, 1 - share))
            step(module, optimiser, images[chosen], labels[chosen])
            if share >= 1:
                break


def step(module: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    """One step of training, with a crop for the whole batch and mirrored images."""
    x, (dy, dx) = F.pad(images, (4, 4, 4, 4)), torch.randint(9, (2,)).tolist()
    x = x[:, :, dy : dy + 32, dx : dx + 32]
    x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)
    loss = F.cross_entropy(module(x), labels, label_smoothing=0.1)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def normalised(pixels: Pixels) -> Tensor:
    """All images as the network reads them."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (PREPARATION.mean, PREPARATION.std))
    return (torch.from_numpy(pixels.images).float() - mean) / std


def trained(family: str, pixels: Pixels, work: Path, minutes: float) -> Model:
    """The network of a family; trained now, unless `work` has it."""
    torch.manual_seed(0)
    module, path = network(family), work / f"{family}.pth"
    if path.exists():
        module.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(module.train(), pixels, minutes)
        torch.save(module.state_dict(), path)
    return from_module(module.eval(), PREPARATION)


def accuracy(model: Model, data: bytes, pixels: Pixels) -> float:
    """Top-1 in percent."""
    return 100 * float((logits(model, data, pixels.images).argmax(1) == pixels.labels).mean())


def main() -> None:
    """Print a row for each family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="CIFAR-10's training images")
    parser.add_argument("--test", required=True, help="CIFAR-10's test images")
    parser.add_argument("--work", type=Path, required=True, help="folder for the trained networks")
    parser.add_argument("--minutes", type=float, default=5, help="processor minutes of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--families", nargs="+", default=list(BLOCKS), choices=list(BLOCKS))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    learned, test = (load_pixels(load_evaluation(each), PREPARATION) for each in (options.train, options.test))
    print("| family | parameters | top-1 | bytes | points lost, 256 images | points lost, no image |")
    print("|-|-|-|-|-|-|")
    for family in options.families:
        model = trained(family, learned, options.work, options.minutes)
        before = accuracy(model, sqz.encode(model), test)
        lost: dict[bool, list[float]] = {True: [], False: []}
        for with_images in (True, False):
            for seed in options.seeds:
                chosen = np.random.default_rng(seed).choice(len(learned), 256, replace=False)
                pixels = Pixels(learned.images[chosen], None, learned.indices[chosen]) if with_images else None
                recipe = CompressionRecipe(
                    max_bytes=model.float32_bytes // SHARE, seed=seed, calibration=256, threads=1
                )
                made = compress(model, pixels, recipe).data
                lost[with_images].append(before - accuracy(sqz.decode(made), made, test))
        columns = " | ".join(f"{np.mean(each):.2f} ± {np.std(each):.2f}" for each in lost.values())
        print(
            f"| {family} | {model.parameters:,} | {before:.2f} | {model.float32_bytes // SHARE:,} | {columns} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
