"""What tests of commands share."""

import subprocess
import sys

import numpy as np
from PIL import Image


def picture(path, kind=None, mode="RGB", size=(30, 20), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, kind, **options)
    return str(path)


def python(code, *arguments):
    """Standard output of a fresh interpreter, which must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
