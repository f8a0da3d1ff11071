"""Images per second from files to normalised float batches: ours against a torchvision-style DataLoader.

    python benchmarks/data_loading.py --data ../shared/data/imagenet-sample.parquet
    python benchmarks/data_loading.py --data FOLDER_OF_CLASS_FOLDERS --json

The peer reads the same files as torchvision's documented ImageNet recipe does: `ImageFolder`, Pillow, transforms an
image at a time, `DataLoader` with persistent workers; of several numbers of workers its best counts. It runs both the
recipe's `RandomResizedCrop` and the very transforms that ours does (`Resize`, `RandomCrop`); the ratio is taken to the
faster of the two. torchvision's own transforms are used where it can be imported; else the ones here, which call Pillow
and PyTorch as it does. Both sides run in one process after another, a round each, several rounds; medians are compared.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from squeezenet.data import load_evaluation
from squeezenet.data.augment import Augmentation, draw, network_input
from squeezenet.data.batches import open_source
from squeezenet.data.examples import Examples
from squeezenet.data.pack import Options, pack
from squeezenet.preparation import Preparation

RESIZE, CROP = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels from 0 to 1
PREPARATION = Preparation(RESIZE, CROP, "stretch", "RGB", tuple(255 * m for m in MEAN), tuple(255 * s for s in STD))


# --- the peer -------------------------------------------------------------------------------------------------------


class RandomResizedCrop:
    """8 to 100% of the area, sides in a ratio of 3/4 to 4/3: torchvision's defaults and its way of drawing them."""

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        for _ in range(10):
            area = width * height * torch.empty(1).uniform_(0.08, 1.0).item()
            ratio = torch.exp(torch.empty(1).uniform_(float(np.log(3 / 4)), float(np.log(4 / 3)))).item()
            w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
            if 0 < w <= width and 0 < h <= height:
                top = int(torch.randint(0, height - h + 1, (1,)))
                left = int(torch.randint(0, width - w + 1, (1,)))
                return image.crop((left, top, left + w, top + h)).resize((CROP, CROP), Image.Resampling.BILINEAR)
        return image.resize((CROP, CROP), Image.Resampling.BILINEAR)


class ResizeAndCrop:
    """`Resize((256, 256))`, `RandomCrop(224)`: what ours does."""

    def __call__(self, image: Image.Image) -> Image.Image:
        image = image.resize((RESIZE, RESIZE), Image.Resampling.BILINEAR)
        top, left = (int(torch.randint(0, RESIZE - CROP + 1, (1,))) for _ in range(2))
        return image.crop((left, top, left + CROP, top + CROP))


class Finish:
    """`RandomHorizontalFlip`, `ToTensor`, `Normalize`."""

    def __call__(self, image: Image.Image) -> Tensor:
        if torch.rand(1) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True)).permute(2, 0, 1).contiguous()
        tensor = pixels.to(torch.float32).div(255)
        mean, std = torch.tensor(MEAN).view(-1, 1, 1), torch.tensor(STD).view(-1, 1, 1)
        return tensor.clone().sub_(mean).div_(std)


def transforms() -> tuple[str, dict[str, Callable[[Image.Image], Tensor]]]:
    """Where the transforms come from, and each kind of them."""
    try:
        from torchvision import transforms as tv
    except (ImportError, RuntimeError):
        finish = Finish()
        return "re-implemented", {
            "RandomResizedCrop": Chain(RandomResizedCrop(), finish),
            "Resize + RandomCrop": Chain(ResizeAndCrop(), finish),
        }
    tail = [tv.RandomHorizontalFlip(), tv.ToTensor(), tv.Normalize(MEAN, STD)]
    return f"torchvision {version('torchvision')}", {
        "RandomResizedCrop": tv.Compose([tv.RandomResizedCrop(CROP), *tail]),
        "Resize + RandomCrop": tv.Compose([tv.Resize((RESIZE, RESIZE)), tv.RandomCrop(CROP), *tail]),
    }


class Chain:
    """Two transforms after each other; a class, so that worker processes can be given it."""

    def __init__(self, first: Callable[[Image.Image], Image.Image], then: Callable[[Image.Image], Tensor]) -> None:
        self.first, self.then = first, then

    def __call__(self, image: Image.Image) -> Tensor:
        return self.then(self.first(image))


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """Files and labels; opens an image as torchvision's `pil_loader` does."""

    def __init__(self, examples: Examples, transform: Callable[[Image.Image], Tensor]) -> None:
        self.samples = list(zip(examples.images, examples.require_labels().tolist(), strict=True))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        with open(path, "rb") as file:
            image = Image.open(file).convert("RGB")
        return self.transform(image), label


def peer(examples: Examples, transform: Callable[[Image.Image], Tensor], workers: int, batch: int) -> Iterator[Tensor]:
    """Batches of one epoch after another, as its loader gives them; an empty one marks the end of an epoch."""
    loader = DataLoader(
        ImageFolder(examples, transform), batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0,
        prefetch_factor=2 if workers else None, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    while True:
        for images, _ in loader:
            yield images
        yield torch.empty(0)


# --- ours -----------------------------------------------------------------------------------------------------------


def ours(examples: Examples, workers: int | None, batch: int) -> Iterator[Tensor]:
    """The same from our threads: what a step of training reads, up to the input of the network."""
    source = open_source(examples, PREPARATION, cache_bytes=0, workers=workers)
    epoch = 0
    while True:
        random = torch.Generator().manual_seed(epoch)
        for part in source.batches(source.order(batch, 0, epoch)):
            yield network_input(part.images, Augmentation(), PREPARATION, draw(len(part.images), random))
        yield torch.empty(0)
        epoch += 1


# --- measuring ------------------------------------------------------------------------------------------------------


def epoch_of(batches: Iterator[Tensor]) -> tuple[int, float]:
    """Images of one epoch, and seconds."""
    start, images = time.perf_counter(), 0
    while len(batch := next(batches)):
        assert batch.shape[1:] == (3, CROP, CROP)
        assert batch.dtype == torch.float32
        images += len(batch)
    return images, time.perf_counter() - start


def make_folder(examples: Examples, folder: Path) -> Examples:
    """The images as files in class folders, untouched."""
    for index, label in enumerate(examples.require_labels().tolist()):
        image = examples.images[index]
        path = folder / f"{label:05}" / f"{index:07}.jpg"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(image if isinstance(image, bytes) else Path(str(image)).read_bytes())
    return load_evaluation(str(folder))


def contestants(
    folder: Examples, shards: Examples, batch: int, workers: list[int], threads: int | None
) -> dict[str, Iterator[Tensor]]:
    """Every side of the comparison by its name."""
    _, kinds = transforms()
    sides = {
        f"DataLoader, {kind}, {n} workers": peer(folder, transform, n, batch)
        for kind, transform in kinds.items()
        for n in workers
    }
    sides["ours, folder"] = ours(folder, threads, batch)
    sides["ours, shards of `data pack`"] = ours(shards, threads, batch)
    return sides


def measure(sides: dict[str, Iterator[Tensor]], rounds: int) -> dict[str, float]:
    """Median images per second of each side; a first round that warms up is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, batches in sides.items():
            images, seconds = epoch_of(batches)
            if turn:
                rates[name].append(images / seconds)
        print(f"round {turn} of {rounds}", file=sys.stderr)
    return {name: statistics.median(values) for name, values in rates.items()}


def installed(name: str) -> str | None:
    """The version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="whatever `squeezenet train` reads; JPEG files")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3, help="every image so many times an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="of the DataLoader; its best counts")
    parser.add_argument("--threads", type=int, help="of ours (default: ours)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = make_folder(load_evaluation(args.data), Path(temporary) / "folder")
        pack(str(Path(temporary) / "folder"), Path(temporary) / "shards", Options(resize=RESIZE, shard_images=250))
        shards = load_evaluation(str(Path(temporary) / "shards"))
        sides = contestants(*(tile(e, args.repeat) for e in (folder, shards)), args.batch, args.workers, args.threads)
        rates = measure(sides, args.rounds)
    best = max((rate, name) for name, rate in rates.items() if name.startswith("DataLoader"))
    result = {
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "best_peer": best[1],
        "ratio": round(rates["ours, folder"] / best[0], 3),
        "ratio_shards": round(rates["ours, shards of `data pack`"] / best[0], 3),
        "peer_transforms": transforms()[0],
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {processor()}",
        "versions": {"python": platform.python_version()}
        | {name: installed(name) for name in ("torch", "pillow", "simplejpeg", "numpy")},
    }
    if args.json:
        print(json.dumps(result))
        return
    for name, rate in rates.items():
        print(f"{name:45}{rate:8,.0f} images/s  {rate / best[0]:.2f}x")
    print(f"\n{result['ratio']:.2f}x the best peer; its transforms: {result['peer_transforms']}")
    print(f"{result['machine']}; {result['versions']}")


def tile(examples: Examples, times: int) -> Examples:
    """Every image several times, so that an epoch is long enough to be timed."""
    return examples.take(np.tile(np.arange(len(examples)), times))


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
