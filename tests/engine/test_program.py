"""`sqz`, one static file: the labels and probabilities of `squeezenet classify`, from the same bytes of an image.

Needs musl, and the sources of the libraries: `sh engine/program/fetch.sh engine/program/build/sources`, or another
folder that the environment variable SQZ_SOURCES names. For 64-bit ARM, it needs ziglang and an emulator.
"""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from squeezenet import load, zoo
from squeezenet.errors import ImageError
from support import ROOT

FOLDER = ROOT / "engine" / "program"
SOURCES = Path(os.environ.get("SQZ_SOURCES", FOLDER / "build" / "sources"))
MISSING = [tool for tool in ("make", "musl-gcc") if shutil.which(tool) is None]
MISSING += [f"sources of {name}" for name in ("libjpeg-turbo", "libpng", "zlib") if not (SOURCES / name).is_dir()]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (engine/program/fetch.sh)"),
]
PHOTO = ROOT / "docs" / "chelsea.jpg"
MOST_BYTES = 1_000_000
MODEL = "cifar10"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the default model inside."""
    return make(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program for 64-bit ARM."""
    if find_spec("ziglang") is None or shutil.which("qemu-aarch64") is None:
        pytest.skip("needs qemu-aarch64, and a compiler: pip install ziglang")
    zig = f"{sys.executable} -m ziglang"
    return make(tmp_path_factory.mktemp("arm"), f"CC={zig} cc -target aarch64-linux-musl", f"AR={zig} ar")


def make(build: Path, *more: str) -> Path:
    given = [f"BUILD={build}", f"SOURCES={SOURCES.resolve()}", f"MODEL={zoo.find(zoo.DEFAULT)}"]
    flags = ["CFLAGS=-Wall -Wextra -Wconversion -Werror", "-s", f"-j{os.cpu_count()}"]
    done = subprocess.run(["make", "-C", FOLDER, *flags, *given, *more], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return build / "sqz"


def run(*command: str | Path, code: int = 0, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, check=False, timeout=600, **options)  # type: ignore[call-overload]
    assert done.returncode == code, done.stderr
    assert done.stderr.count(b"\n") == (1 if code and not done.stdout else 0)
    said: bytes = done.stdout or done.stderr
    return said.decode()


def compare(program: Path, folder: Path, images: dict[str, bytes], model: str = MODEL, emulator: str = "") -> None:
    """All probabilities are those of Python, and images that Python refuses are refused."""
    for name, data in images.items():
        (folder / name).write_bytes(data)
    classifier = load(model)
    names = [*images, "no image"]
    command = [*emulator.split(), program, "classify", "--json", "--top", "1000", zoo.find(model), *names]
    answers = json.loads(run(*command, code=1, cwd=folder))["results"]
    for name, answer in zip(images, answers, strict=False):
        try:
            expected = classifier.classify(images[name], top=1000)
        except ImageError:
            assert "error" in answer, name
            continue
        found = {(one["label"], one["index"]): one["probability"] for one in answer["predictions"]}
        assert found == pytest.approx({(p.label, p.index): p.probability for p in expected}, rel=1e-9, abs=1e-300), name


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def jpegs() -> Iterator[tuple[str, bytes]]:
    photo = Image.open(PHOTO)
    for size in ((451, 300), (97, 131), (8, 8), (1, 1), (3, 700)):
        small = photo.resize(size)
        for sampling in (0, 1, 2):
            for progressive in (False, True):
                options = {"subsampling": sampling, "progressive": progressive, "quality": 60 + 10 * sampling}
                yield f"{size[0]}-{sampling}-{progressive:d}.jpg", saved(small, "JPEG", **options)
    for mode in ("L", "CMYK"):
        yield f"{mode}.jpg", saved(photo.convert(mode), "JPEG", quality=80)
    yield "whole.jpg", PHOTO.read_bytes()
    yield "no end.jpg", PHOTO.read_bytes()[:-2]
    for orientation in range(10):
        yield f"turned {orientation}.jpg", saved(photo, "JPEG", exif=oriented(orientation))
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "xmp.jpg", saved(photo, "JPEG", xmp=xmp)
    yield "large metadata.jpg", saved(photo, "JPEG", comment=b"x" * 65000, icc_profile=b"y" * 300_000, xmp=xmp)


def pngs() -> Iterator[tuple[str, bytes]]:
    photo = Image.open(PHOTO).resize((150, 100))
    alpha = Image.linear_gradient("L").resize(photo.size)
    seen = np.random.default_rng(0).integers(0, 65536, (70, 90), np.uint16)
    for mode in ("RGB", "L", "1", "P", "RGBA", "LA"):
        image = photo.convert(mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(alpha)
        yield f"{mode}.png", saved(image, "PNG")
        yield f"{mode} turned.png", saved(image, "PNG", exif=oriented(7))
    yield "16.png", saved(Image.fromarray(seen), "PNG")
    yield "16 keyed.png", saved(Image.fromarray(seen), "PNG", transparency=int(seen[3, 4]))
    yield "L keyed.png", saved(photo.convert("L"), "PNG", transparency=100)
    yield "1 keyed.png", saved(photo.convert("1"), "PNG", transparency=1)
    yield "RGB keyed.png", saved(photo.quantize(16).convert("RGB"), "PNG", transparency=photo.getpixel((3, 4)))
    for bits, colours in ((1, 2), (2, 4), (4, 16), (8, 200)):
        palette = photo.quantize(colours)
        yield f"P{bits}.png", saved(palette, "PNG", bits=bits)
        yield f"P{bits} clear.png", saved(palette, "PNG", bits=bits, transparency=0)
        half = bytes(255 * entry // colours for entry in range(colours))
        yield f"P{bits} half.png", saved(palette, "PNG", bits=bits, transparency=half)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="8"/>', zip=True)
    yield "xmp.png", saved(photo, "PNG", pnginfo=text)


def by_hand(bits: int, colour: int, interlaced: bool, seed: int, size: tuple[int, int] = (37, 29)) -> bytes:
    """A PNG of random samples that Pillow cannot write. Its header may declare another `size`."""
    import struct
    import zlib

    rng = random.Random(seed)
    width, height, channels = 37, 29, {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    data = b""
    for left, top, across, down in steps if interlaced else [(0, 0, 1, 1)]:
        count, rows = -(-(width - left) // across), -(-(height - top) // down)
        data += b"".join(b"\0" + rng.randbytes((count * channels * bits + 7) // 8) for _ in range(rows))
    head = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced)
    chunks = (b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def test_jpegs(program: Path, tmp_path: Path) -> None:
    compare(program, tmp_path, dict(jpegs()))
    compare(program, tmp_path, {"photo.jpg": PHOTO.read_bytes()}, "imagenet-small")


def test_pngs(program: Path, tmp_path: Path) -> None:
    images = dict(pngs())
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (4, (8, 16)), (6, (8, 16))):
        for bits in depths:
            for interlaced in (False, True):
                images[f"{colour}-{bits}-{interlaced:d}.png"] = by_hand(bits, colour, interlaced, bits)
    compare(program, tmp_path, images)


def test_large_images(program: Path, tmp_path: Path) -> None:
    """Those that Python decodes at a fraction of their size, or averages before it turns them."""
    wide = Image.open(PHOTO).resize((9000, 8000))
    images = {
        "fraction.jpg": saved(wide, "JPEG", quality=50),
        "turned.jpg": saved(wide.crop((0, 0, 6001, 7000)), "JPEG", quality=50, exif=oriented(6)),
        "too large.png": saved(wide, "PNG", compress_level=1),
        "palette.png": saved(wide.convert("L").quantize(9), "PNG", compress_level=1),
    }
    compare(program, tmp_path, images)


def test_damaged_files_are_refused_quietly(program: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    photo = Image.open(PHOTO).resize((90, 60))
    whole = [saved(photo, "JPEG"), saved(photo, "JPEG", progressive=True), saved(photo, "PNG"), by_hand(8, 6, True, 1)]
    images = {"empty.jpg": b"", "head.jpg": b"\xff\xd8\xff", "head.png": b"\x89PNG\r\n\x1a\n"}
    for number, data in enumerate(whole):
        for trial in range(40):
            images[f"cut {number} {trial}"] = data[: rng.randrange(len(data) - 20)]
            broken = bytearray(data)
            for _ in range(rng.choice([1, 3, 20])):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
            images[f"broken {number} {trial}"] = bytes(broken)
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    answers = json.loads(run(program, "classify", "--json", zoo.find("digits"), *images, code=1, cwd=tmp_path))
    assert len(answers["results"]) == len(images)
    for name, answer in zip(images, answers["results"], strict=True):
        if name.startswith("cut"):
            assert "error" in answer, name


def test_small_files_that_ask_for_much_are_refused_at_once(program: Path, tmp_path: Path) -> None:
    import resource

    (tmp_path / "bomb.png").write_bytes(by_hand(8, 6, False, 0, (12_000, 12_000)))
    scans = saved(Image.new("RGB", (60_000, 2_400)), "JPEG", progressive=True)
    start = scans.index(b"\xff\xda")
    (tmp_path / "bomb.jpg").write_bytes(scans[:-2] + 90 * scans[start:-2] + scans[-2:])
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))  # noqa: E731
    for name in ("bomb.png", "bomb.jpg"):
        assert "over the limit" in run(program, "classify", tmp_path / name, code=1, preexec_fn=limit)


def test_one_file_answers_as_the_command(program: Path, tmp_path: Path) -> None:
    assert program.stat().st_size <= MOST_BYTES
    if readelf := shutil.which("readelf"):
        assert "INTERP" not in run(readelf, "-l", program)
    mine = json.loads(run(program, "classify", "--json", PHOTO))
    theirs = json.loads(run("squeezenet", "classify", "--json", PHOTO, env={**os.environ, "PATH": _path()}))
    assert mine.pop("milliseconds") > 0
    assert theirs.pop("milliseconds") > 0
    for answer in (mine, theirs):
        for one in answer["predictions"]:
            one["probability"] = pytest.approx(one["probability"])
    assert mine == theirs
    assert run(program, "classify", "-", input=PHOTO.read_bytes()).splitlines()[1].endswith("Egyptian cat")
    several = json.loads(run(program, "classify", "--json", "--top", "1", PHOTO, PHOTO))
    assert (len(several["results"]), several["failed"]) == (2, 0)


@pytest.mark.long
def test_arm(arm: Path, tmp_path: Path) -> None:
    """libjpeg-turbo's loops for NEON give the pixels of those for x86."""
    assert arm.stat().st_size <= MOST_BYTES
    emulator = "qemu-aarch64 -cpu cortex-a53"
    compare(arm, tmp_path, {**dict(jpegs()), **dict(pngs())}, emulator=emulator)
    small = saved(Image.open(PHOTO).resize((9000, 8000)), "JPEG", quality=50)
    compare(arm, tmp_path, {"photo.jpg": PHOTO.read_bytes(), "fraction.jpg": small}, emulator=emulator)
    assert run(*emulator.split(), arm, "classify", PHOTO).splitlines()[1].endswith("Egyptian cat")


def containers(folder: Path, *machines: int) -> tuple[Path, list[bytes]]:
    """The archive of programs for some processors, made twice, and the programs."""
    programs = [b"\x7fELF" + bytes(14) + bytes([machine, 0]) for machine in machines]
    names = [folder / f"sqz {machine}" for machine in machines]
    for name, program in zip(names, programs, strict=True):
        name.write_bytes(program)
    for out in ("a.tar", "b.tar"):
        run(sys.executable, FOLDER / "container.py", *names, folder / out)
    assert (folder / "a.tar").read_bytes() == (folder / "b.tar").read_bytes()
    return folder / "a.tar", programs


@pytest.mark.parametrize("machines", [[62], [62, 183]])
def test_the_container_image_is_whole(machines: list[int], tmp_path: Path) -> None:
    archive, programs = containers(tmp_path, *machines)
    with tarfile.open(archive) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    blob = lambda of: files["blobs/" + of["digest"].replace(":", "/")]  # noqa: E731
    images = json.loads(files["index.json"])["manifests"]
    if len(machines) > 1:
        images = json.loads(blob(*images))["manifests"]
    for program, machine, entry in zip(programs, ["amd64", "arm64"], images, strict=False):
        manifest = json.loads(blob(entry))
        config = json.loads(blob(manifest["config"]))
        assert config["config"]["Entrypoint"] == ["/sqz"]
        assert config["architecture"] == entry["platform"]["architecture"] == machine
        with tarfile.open(fileobj=io.BytesIO(blob(manifest["layers"][0]))) as layer:
            assert layer.getmember("sqz").mode == 0o755
            assert layer.extractfile("sqz").read() == program  # type: ignore[union-attr]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo")
def test_a_container_engine_finds_the_image_of_its_processor(tmp_path: Path) -> None:
    archive, _ = containers(tmp_path, 62, 183)
    for machine in ("amd64", "arm64"):
        said = run("skopeo", "--override-arch", machine, "inspect", f"oci-archive:{archive}")
        assert json.loads(said)["Architecture"] == machine


def _path() -> str:
    return f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["classify", "gone.jpg"], 2, "gone.jpg: no such file"),
        (["classify", "gone.sqz", "photo.jpg"], 2, "gone.sqz: no such file"),
        (["classify", "bad.sqz", "photo.jpg"], 1, "bad.sqz: not a .sqz file"),
        (["classify", "bad.sqz"], 2, "name a model and an image"),
        (["classify", "."], 1, ".: is a folder, not an image"),
        (["classify", "text.jpg"], 1, "text.jpg: not an image that can be read"),
        (["classify", "--top", "0", "photo.jpg"], 2, "--top: needs a number"),
        (["classify", "--topp", "photo.jpg"], 2, "--topp: no such option"),
        (["label"], 2, "the only verb is classify"),
        (["classify", "\x1b[2J.jpg"], 2, "\\x1b[2J.jpg: no such file"),
    ],
)
def test_errors_are_one_line(program: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    (tmp_path / "text.jpg").write_text("text")
    (tmp_path / "bad.sqz").write_text("no model")
    assert said in run(program, *arguments, code=code, cwd=tmp_path)


def test_damaged_models_are_refused(program: Path, tmp_path: Path) -> None:
    data = zoo.find("digits").read_bytes()
    rng = random.Random(0)
    for _ in range(30):
        broken = bytearray(data)
        broken[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        (tmp_path / "m.sqz").write_bytes(broken)
        assert "m.sqz: " in run(program, "classify", tmp_path / "m.sqz", PHOTO, code=1)
