"""A photo's label by another runtime, with as little around it as its documentation allows.

    python label.py RUNTIME KIND FOLDER THREADS PHOTO RESIZE CROP FIT CHANNELS MEAN STD

Prepares the photo as `squeezenet classify` does, by Pillow and NumPy.
"""

import sys

import numpy as np
from load import load
from PIL import Image


def main() -> None:
    """Print the label."""
    runtime, kind, folder, threads, photo, resize, crop, fit, channels, mean, std = sys.argv[1:]
    image = Image.open(photo).convert("L" if channels == "L" else "RGB")
    side = int(crop)
    shorter = min(image.size)
    width, height = (int(resize),) * 2
    if fit == "shorter":
        width, height = image.width * int(resize) // shorter, image.height * int(resize) // shorter
    left, top = round((width - side) / 2), round((height - side) / 2)
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, (left + side) * x, (top + side) * y)
    cut = image.resize((side, side), Image.Resampling.BILINEAR, box)
    pixels = np.asarray(cut, np.float32).reshape(side, side, len(channels))
    if channels == "BGR":
        pixels = pixels[:, :, ::-1]
    pixels = (pixels - np.array(mean.split(","), np.float32)) / np.array(std.split(","), np.float32)
    arrange, run = load(runtime, kind, folder, int(threads))
    with open(f"{folder}/labels.txt") as labels:
        print(labels.read().split("\n")[int(np.argmax(run(arrange(pixels[None]))))], flush=True)


if __name__ == "__main__":
    main()
