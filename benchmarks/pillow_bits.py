"""Whether versions of Pillow give the same pixels: checksums of resized images and of decoded JPEGs.

    pip install --no-deps --target old pillow==11.0.0 && PYTHONPATH=old python benchmarks/pillow_bits.py

Prints one JSON object; run it under each version. Images are made of whole numbers, JPEGs are encoded once with
`--write FOLDER` and decoded by all with `--read FOLDER`, since encoders may differ where decoders do not.
"""

import argparse
import json
import zlib
from pathlib import Path

import PIL
from PIL import Image, ImageFile, features

from squeezenet.runtime.image import Framing, cut, open_image

SIZES = ((640, 480), (97, 301), (1, 700), (227, 227), (31, 17), (1999, 1501))
FRAMINGS = tuple(
    Framing((resize, resize), (crop, crop), fit, channels)
    for resize, crop in ((227, 227), (256, 224), (32, 32))
    for fit in ("stretch", "shorter")
    for channels in ("RGB", "L")
)
JPEGS = {
    f"{name}-q{quality}": (subsampling, quality)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2))
    for quality in (30, 75, 95)
}


def noise(size: tuple[int, int], mode: str, smooth: bool) -> Image.Image:
    """Numbers of a linear congruential generator as pixels; or few of them, enlarged without interpolation."""
    if smooth:
        small = noise((size[0] // 16 + 1, size[1] // 16 + 1), mode, False)
        return small.resize(size, Image.Resampling.NEAREST)
    state, pixels = size[0] * 31 + size[1], bytearray()
    for _ in range(size[0] * size[1] * len(mode)):
        state = (1103515245 * state + 12345) & 0x7FFFFFFF
        pixels.append(state >> 16 & 255)
    return Image.frombytes(mode, size, bytes(pixels))


def resized() -> int:
    """CRC-32 of every image in every framing."""
    checksum = 0
    for size in SIZES:
        for mode in ("RGB", "L"):
            for smooth in (False, True):
                image = noise(size, mode, smooth)
                for framing in FRAMINGS:
                    checksum = zlib.crc32(cut(image, framing).tobytes(), checksum)
    return checksum


def main() -> None:
    """Print what this Pillow makes of the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="encode the JPEGs to this folder")
    parser.add_argument("--read", type=Path, help="decode the JPEGs of this folder")
    args = parser.parse_args()
    if args.write:
        args.write.mkdir(parents=True, exist_ok=True)
        ImageFile.MAXBLOCK = 1 << 20  # noise needs more room than Pillow expects
        for name, (subsampling, quality) in JPEGS.items():
            for smooth in (False, True):
                picture = noise((201, 155), "RGB", smooth)
                for progressive in (False, True):
                    path = args.write / f"{name}-{smooth:d}{progressive:d}.jpg"
                    picture.save(path, quality=quality, subsampling=subsampling, progressive=progressive)
    found = {"pillow": PIL.__version__, "libjpeg-turbo": features.version_feature("libjpeg_turbo")}
    found["resized"] = f"{resized():08x}"
    if args.read:
        decoded = 0
        for path in sorted(args.read.glob("*.jpg")):
            decoded = zlib.crc32(open_image(path).tobytes(), decoded)
        found["decoded"] = f"{decoded:08x}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
