"""What is packed is what is read back, the same bytes every time, whatever happened in between."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from squeezenet.cli.main import main
from squeezenet.data import load_evaluation
from squeezenet.data.load import load_splits
from squeezenet.data.pack import Options, convert, pack
from squeezenet.errors import DataError, UsageError
from squeezenet.runtime.image import open_image


def jpeg(seed, width=40, height=30, mode="RGB", kind="JPEG", **options):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def make_folder(root, count=12, **options):
    for i in range(count):
        path = root / ("cat", "dog", "emu")[i % 3] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i, **options))
    return root


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.tar"))}


def content(examples):
    """(image, class) of all, in an order of their own."""
    read = [bytes(source) if isinstance(source, bytes) else source.read_bytes() for source in examples.images]
    return sorted((data, examples.classes[label]) for data, label in zip(read, examples.labels, strict=True))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 8), st.integers(0, 99), st.integers(1, 4))
@settings(max_examples=25)
def test_packed_images_are_all_there_once_and_untouched(tmp_path_factory, counts, shard_images, seed, workers):
    root = tmp_path_factory.mktemp("packed")
    for number, count in enumerate(counts):
        (root / f"in/{number}").mkdir(parents=True)
        for i in range(count):
            (root / f"in/{number}/{i}.jpg").write_bytes(jpeg(10 * number + i, 8, 8))
    packed = pack(str(root / "in"), root / "out", Options(shard_images=shard_images, seed=seed), workers)
    before, after = load_evaluation(str(root / "in")), load_evaluation(str(root / "out"))
    assert content(after) == content(before)
    assert after.classes == before.classes
    assert (packed.images, packed.classes, packed.skipped) == (sum(counts), len(counts), 0)
    assert packed.shards == -(-sum(counts) // shard_images) == len(digests(root / "out"))
    assert packed.bytes == sum(path.stat().st_size for path in (root / "out").glob("*.tar"))


def test_splits_stay_and_classes_are_mixed(tmp_path):
    make_folder(tmp_path / "in/train", 60)
    make_folder(tmp_path / "in/val", 6)
    pack(str(tmp_path / "in"), tmp_path / "out", Options(shard_images=20))
    assert list(digests(tmp_path / "out")) == [*(f"train-{i:06}.tar" for i in range(3)), "val-000000.tar"]
    splits = load_splits(str(tmp_path / "out"))
    assert {name: len(examples) for name, examples in splits.items()} == {"train": 60, "validation": 6}
    assert all(np.bincount(splits["train"].labels[i : i + 20]).min() >= 3 for i in (0, 20, 40))
    again = pack(str(tmp_path / "out"), tmp_path / "twice", Options(shard_images=33))  # shards are a source, too
    assert (again.images, again.shards) == (66, 3)
    assert content(load_splits(str(tmp_path / "twice"))["train"]) == content(splits["train"])


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_plan_gives_the_same_bytes(tmp_path, workers):
    make_folder(tmp_path / "in")
    options = Options(resize=16, shard_images=5)
    for name, threads in (("one", 2), ("other", workers)):
        pack(str(tmp_path / "in"), tmp_path / name, options, threads)
    assert digests(tmp_path / "one") == digests(tmp_path / "other")
    pack(str(tmp_path / "in"), tmp_path / "third", Options(resize=16, shard_images=5, seed=1))
    assert digests(tmp_path / "one") != digests(tmp_path / "third")


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [((400, 300), 60, (80, 60)), ((30, 90), 10, (10, 30)), ((40, 30), 30, (40, 30)), ((40, 30), 64, (40, 30))],
)
def test_resizing_keeps_the_shape_and_never_enlarges(size, resize, expected):
    data = jpeg(0, *size)
    kind, packed = convert(data, Options(resize=resize))
    assert (kind, open_image(packed).size) == ("jpg", expected)
    assert (packed == data) == (size == expected)
    small, large = (len(convert(data, Options(resize=8, quality=q))[1]) for q in (20, 95))
    assert small < large


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (jpeg(0, kind="PNG"), "png"), (jpeg(0, kind="WEBP"), "webp"), (jpeg(0, kind="BMP"), "bmp"),
        (jpeg(0, kind="TIFF"), "tif"), (jpeg(0, kind="GIF"), "gif"), (jpeg(0, kind="PPM"), "ppm"),
        (Image.new("L", (8, 8), 7), "png"), (jpeg(0, mode="CMYK"), "jpg"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_every_format_keeps_its_pixels(source, kind):
    suffix, data = convert(source, Options())
    assert suffix == kind
    assert np.array_equal(np.asarray(open_image(data)), np.asarray(open_image(source)))
    assert convert(jpeg(0, 40, 30, kind="PNG"), Options(resize=10))[0] == "jpg"


def test_turned_images_are_upright_after_resizing():
    exif = Image.Exif()
    exif[0x0112] = 6
    _, packed = convert(jpeg(0, 40, 20, exif=exif.tobytes()), Options(resize=10))
    assert open_image(packed).size == (10, 20)


def test_damaged_images_are_skipped_and_named(tmp_path, capsys):
    make_folder(tmp_path / "in")
    broken = [tmp_path / "in/dog/4.jpg", tmp_path / "in/emu/8.jpg"]
    broken[0].write_bytes(broken[0].read_bytes()[:200])
    broken[1].write_text("not an image")
    arguments = ["data", "pack", str(tmp_path / "in"), str(tmp_path / "out"), "--shard-images", "4", "--json"]
    for call in (1, 2):
        assert main(arguments) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["images"], result["skipped"], result["shards"], result["classes"]) == (10, 2, 3, 3)
        assert (result["images_per_second"] > 0) == (call == 1)  # the second has nothing left to do
        named = (tmp_path / "out/skipped.txt").read_text().splitlines()
        assert len(named) == 2
        assert all(any(line.startswith(f"{path}: ") for line in named) for path in broken)
        (tmp_path / "out/skipped.txt").unlink()
    assert main(arguments[:-1]) == 0
    assert "2 images could not be read: see skipped.txt" in capsys.readouterr().out


def test_only_missing_shards_are_made(tmp_path):
    make_folder(tmp_path / "in")
    options = Options(shard_images=4, resize=16)
    pack(str(tmp_path / "in"), tmp_path / "out", options)
    before = digests(tmp_path / "out")
    kept = (tmp_path / "out/images-000000.tar").stat().st_mtime_ns
    (tmp_path / "out/images-000001.tar").unlink()
    (tmp_path / "out/.images-000001.tar.abc.tmp").write_bytes(b"half")
    again = pack(str(tmp_path / "in"), tmp_path / "out", options)
    assert digests(tmp_path / "out") == before
    assert again.images == 12
    assert (tmp_path / "out/images-000000.tar").stat().st_mtime_ns == kept
    assert not list((tmp_path / "out").glob(".*"))


def test_another_plan_is_refused(tmp_path):
    make_folder(tmp_path / "in")
    pack(str(tmp_path / "in"), tmp_path / "out", Options(shard_images=4))
    with pytest.raises(DataError, match=r"another command \(resize: None, now 9\)"):
        pack(str(tmp_path / "in"), tmp_path / "out", Options(shard_images=4, resize=9))
    (tmp_path / "in/dog/1.jpg").rename(tmp_path / "in/cat/1.jpg")
    with pytest.raises(DataError, match=r"another command \(labels"):
        pack(str(tmp_path / "in"), tmp_path / "out", Options(shard_images=4))
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="is not empty"):
        pack(str(tmp_path / "in"), tmp_path / "full")
    with pytest.raises(UsageError, match="is inside"):
        pack(str(tmp_path / "in"), tmp_path / "in/shards")
    assert not (tmp_path / "in/shards").exists()


@pytest.mark.parametrize(
    "option", [["--resize", "0"], ["--quality", "101"], ["--shard-images", "0"], ["--workers", "0"]]
)
def test_wrong_numbers_are_wrong_usage(tmp_path, capsys, option):
    make_folder(tmp_path / "in", 3)
    assert main(["data", "pack", str(tmp_path / "in"), str(tmp_path / "out"), *option]) == 2
    assert option[0] in capsys.readouterr().err


def test_a_killed_run_is_taken_up_and_ends_with_the_same_bytes(tmp_path):
    source, whole, killed = (tmp_path / name for name in ("in", "whole", "killed"))
    make_folder(source, 90, width=640, height=480)
    options = Options(resize=200, shard_images=10)
    pack(str(source), whole, options, workers=2)
    arguments = ["data", "pack", str(source), str(killed), "--resize", "200", "--shard-images", "10", "--workers", "1"]
    code = [sys.executable, "-m", "squeezenet.cli.main", *arguments]
    with subprocess.Popen(code, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(killed.glob("*.tar"))) < 3:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    there = digests(killed)
    assert 3 <= len(there) < 9
    pack(str(source), killed, options, workers=2)
    assert digests(killed) == digests(whole)
    assert there.items() <= digests(whole).items()
    for name in ("index.npz", "classes.txt", "skipped.txt", "pack.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_packing_real_parquet(shared, tmp_path):
    source = str(shared / "data/imagenet-sample.parquet")
    packed = pack(source, tmp_path / "out", Options(shard_images=400))
    assert (packed.images, packed.classes, packed.shards, packed.skipped) == (1000, 1000, 3, 0)
    before, after = load_evaluation(source), load_evaluation(str(tmp_path / "out"))
    assert content(after) == content(before)
    assert after.classes == before.classes


def test_the_first_classes_alone(tmp_path, capsys):
    source = make_folder(tmp_path / "in")
    assert pack(str(source), tmp_path / "out", Options(classes=2)).classes == 2
    after = load_evaluation(str(tmp_path / "out"))
    assert after.classes == ("cat", "dog")
    assert content(after) == [pair for pair in content(load_evaluation(str(source))) if pair[1] != "emu"]
    assert main(["data", "pack", str(source), str(tmp_path / "out")]) == 1  # another plan
    assert main(["data", "pack", str(source), str(tmp_path / "new"), "--classes", "4"]) == 1
    assert main(["data", "pack", str(source), str(tmp_path / "new"), "--classes", "1"]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_images_without_labels_are_packed_with_a_warning(tmp_path, capsys, caplog):
    make_folder(tmp_path / "photos", 3)
    assert main(["data", "pack", str(tmp_path / "photos" / "cat"), str(tmp_path / "packed")]) == 0
    assert capsys.readouterr().out.startswith("1 image without labels in 1 shard, ")
    assert "has no labels" in caplog.text
