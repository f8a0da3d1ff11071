"""The self-test of a release. It is possible because an integer network gives the same logits on every machine.

The publisher computes the logits for a few synthetic images and signs a hash of them. A device computes them again with
the bytes that it has stored. If the hashes are equal, then the file, the program and the processor of the device
compute the same as those of the publisher. The images are computed from a number, so a release contains no images.

>>> picture(1).size, picture(1).getpixel((0, 0))
((96, 72), (47, 22, 159))
"""

import hashlib
import struct

from PIL import Image

from squeezenet.errors import SqueezeNetError
from squeezenet.fleet.state import Golden
from squeezenet.runtime.classifier import Classifier

PICTURES = 3
"""Synthetic images of one test."""
DIGITS = 16
"""Hexadecimal digits of the hash: it finds faults of a device. The hash of the whole file finds changes by others."""
WIDTH, HEIGHT, BLOCK = 96, 72, 12
"""Pixels of a synthetic image, and of the squares of one colour in it. It is resized as a photograph is."""


def picture(seed: int) -> Image.Image:
    """A mosaic of random colours."""
    across, down = WIDTH // BLOCK, HEIGHT // BLOCK
    colours = hashlib.shake_256(str(seed).encode()).digest(3 * across * down)
    rows = []
    for y in range(down):
        row = b"".join(BLOCK * colours[3 * (y * across + x) :][:3] for x in range(across))
        rows.append(BLOCK * row)
    return Image.frombytes("RGB", (WIDTH, HEIGHT), b"".join(rows))


def logits_hash(model: Classifier, seed: int) -> str:
    """The first digits of the SHA-256 of the logits for the pictures of `seed`, as little-endian float32."""
    digest = hashlib.sha256()
    for number in range(PICTURES):
        logits = model.see(picture(PICTURES * seed + number))
        digest.update(struct.pack(f"<{len(logits)}f", *logits))
    return digest.hexdigest()[:DIGITS]


def golden(data: bytes, seed: int) -> Golden:
    """The self-test that goes with a model."""
    return Golden(seed, logits_hash(Classifier(data), seed))


def fault(data: bytes, golden: Golden) -> str:
    """Decode a model and run its self-test; what is wrong, or "" if nothing is."""
    try:
        if logits_hash(Classifier(data), golden.seed) != golden.logits:
            return "its answers differ from those at the publisher"
    except (SqueezeNetError, MemoryError) as error:
        return str(error) or "there is not enough memory"
    return ""
