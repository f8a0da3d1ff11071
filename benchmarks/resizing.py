"""Resizing and cropping in the engine and in Pillow: milliseconds of CPU time, measured in turn, and their ratio.

    python benchmarks/resizing.py

The pixels of both are compared first. Times of the engine include the copies of pixels out of Pillow's image.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from PIL import Image

from squeezenet.runtime.image import Framing, cut_by_pillow, cut_bytes

SIZES = ((4000, 3000), (500, 375), (3000, 4000))
FRAMINGS = (Framing((256, 256), (227, 227), "stretch", "RGB"), Framing((256, 256), (224, 224), "shorter", "RGB"))


def milliseconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    print("| image | framing | Pillow, ms | engine, ms | ratio |\n|-|-|-|-|-|")
    for size in SIZES:
        image = Image.effect_noise(size, 80).convert("RGB")
        for framing in FRAMINGS:
            pair = (lambda: cut_by_pillow(image, framing)), (lambda: cut_bytes(image, framing))  # noqa: B023
            assert pair[0]().tobytes() == pair[1]()
            times = [tuple(map(milliseconds, pair)) for _ in range(args.rounds)]
            ratio = statistics.median(engine / pillow for pillow, engine in times)
            pillow, engine = (statistics.median(column) for column in zip(*times, strict=True))
            what = f"{framing.fit} {framing.resized[0]}, crop {framing.cropped[0]}"
            print(f"| {size[0]} x {size[1]} | {what} | {pillow:.2f} | {engine:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
