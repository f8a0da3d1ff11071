"""Checks an installed package: the engine is there, and gives the bits that it gives everywhere.

python -m pip install dist/sqznet-…-manylinux_2_17_x86_64.whl
python release/check.py
"""

import platform
import sys
import sysconfig
from array import array
from hashlib import sha256
from importlib.resources import files

from PIL import Image

import squeezenet
from squeezenet import _engine

DIGESTS = {
    "digits": "1c5d479f91fd1b2d5ce1d5c3cf1576735f43d542d54add0c22db8acc9c6097b2",
    "imagenet-small": "f8c6a03c35efcdf0260f73a65d619f6566077a6329f868a23a2e6194da03d83e",
}
"""SHA-256 of the logits of a picture, computed by GCC's build and by NumPy. Integer networks have no other bits."""


def picture(count: int) -> bytes:
    """Bytes without a pattern that a network could ignore."""
    state, made = 1, bytearray()
    for _ in range(count):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        made.append(state >> 16 & 255)
    return bytes(made)


def digest(name: str, path: str, threads: int) -> str:
    """The SHA-256 of the logits of a network that ships, for the picture above."""
    network = _engine.Network(files("squeezenet.zoo").joinpath(f"{name}.sqz").read_bytes(), path, threads)
    channels, height, width = network.shape
    pixels = picture(channels * height * width)
    image, logits = array("f", bytes(4 * len(pixels))), array("f", bytes(4 * network.classes))
    network.normalise(pixels, image)
    network.run(image, logits, threads)
    return sha256(logits.tobytes()).hexdigest()


def main() -> int:
    """Runs each path of the processor with the small network, and the fastest with the large one."""
    paths = _engine.paths()
    print(f"{sys.implementation.name} {platform.python_version()}, {platform.system()} {platform.machine()}: {paths}")
    if sysconfig.get_config_var("Py_GIL_DISABLED") and sys._is_gil_enabled():
        print("check: the module switched Python's global lock on")
        return 1
    runs = [("digits", path, threads) for path in paths for threads in (1, 2)]
    for run in [*runs, ("imagenet-small", paths[-1], 1), ("imagenet-small", paths[-1], 2)]:
        if (found := digest(*run)) != DIGESTS[run[0]]:
            print(f"check: {run} gives other bits: {found}")
            return 1
    label = squeezenet.load("digits").classify(Image.new("L", (28, 28)))[0]
    print(f"the same bits as everywhere; an empty image is {label}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
