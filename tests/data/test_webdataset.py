"""Shards are read by their headers: every image once, in any order, and damage is one line."""

import contextlib
import io
import json
import re
import tarfile
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from squeezenet.data import load_data, load_evaluation, load_pixels
from squeezenet.data.batches import open_source
from squeezenet.data.examples import shuffled
from squeezenet.data.imagenet import TRAIN, VALIDATION
from squeezenet.data.pixels import decode
from squeezenet.data.shards import INDEX, Shard, ShardImages, scan
from squeezenet.data.webdataset import expand, read_index, write_index
from squeezenet.errors import DataError
from squeezenet.preparation import Preparation


def image(value: int, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 12), (value, 255 - value, 7)).save(stream, kind)
    return stream.getvalue()


def tar_of(files, **options) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", **options) as tar:
        for name, data in files:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return stream.getvalue()


def make_shard(path, labels, first=0, **options):
    files = []
    for i, label in enumerate(labels, first):
        files.append((f"{i:04}.png", image(i)))
        if label is not None:
            files.append((f"{i:04}.cls", str(label).encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_of(files, **options))
    return path


def values(examples):
    return [Image.open(io.BytesIO(data)).getpixel((0, 0))[0] for data in examples.images]


@pytest.fixture
def shards(tmp_path):
    for number in range(4):
        make_shard(tmp_path / f"x-train-{number:03}.tar", [0, 2, 1], 3 * number)
    make_shard(tmp_path / "x-val-000.tar", [2, 1], 100)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncow\n")
    return tmp_path


@pytest.mark.parametrize("source", ["", "x-*.tar", "x-train-{000..003}.tar", "x-train-002.tar", "x-val-{000..000}.tar"])
def test_every_way_to_name_shards(shards, source):
    data = load_data(str(shards / source))
    assert data.train.classes == data.validation.classes == ("ant", "bee", "cow")
    found = sorted(values(data.train) + values(data.validation))
    train = list(range(12))
    assert found == {
        "": [*train, 100, 101], "x-*.tar": [*train, 100, 101], "x-train-{000..003}.tar": train,
        "x-train-002.tar": [6, 7, 8], "x-val-{000..000}.tar": [100, 101],
    }[source]  # fmt: skip
    assert [data.train.labels[i] for i in range(len(data.train))] == [[0, 2, 1][v % 3] for v in values(data.train)] or (
        source == "x-val-{000..000}.tar"
    )


def test_folders_tell_splits(tmp_path):
    make_shard(tmp_path / "train/0.tar", [0, 1, 1])
    make_shard(tmp_path / "val/0.tar", [1], 9)
    data = load_data(str(tmp_path))
    assert (len(data.train), values(data.validation), data.train.classes) == (3, [9], ("0", "1"))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_grouped_as_webdataset_groups_them(tmp_path, format):
    long = "folder/" * (5 if format == tarfile.USTAR_FORMAT else 40)
    files = [
        ("a/one.jpg", image(1, "JPEG")), ("a/one.cls", b"1\n"),
        ("b/one.json", json.dumps({"label": 0, "caption": "no"}).encode()), ("b/one.PNG", image(2)),
        (f"{long}three.cls", b"2"), (f"{long}three.webp", image(3, "WEBP")), (f"{long}three.json", b"not JSON"),
        ("four.txt", b"no image"), ("a/.hidden.jpg", b"no"), ("README", b"no"),
        ("five.jpeg", image(5, "JPEG")), ("five.seg.png", image(6)), ("five.json", b'{"label": "2"}'),
    ]  # fmt: skip
    (tmp_path / "x.tar").write_bytes(tar_of(files, format=format))
    shard = scan(tmp_path / "x.tar")
    assert shard.keys == ("a/one", "b/one", f"{long}three", "five")
    assert [shard.labels.names[code] for code in shard.labels.codes] == ["1", "0", "2", "2"]
    assert [ShardImages([shard])[i] for i in range(4)] == [files[i][1] for i in (0, 3, 5, 10)]


@pytest.mark.parametrize("listed", [True, False])
def test_labels_may_be_names(tmp_path, listed):
    make_shard(tmp_path / "a.tar", ["cow", "ant", "cow"])
    if listed:
        (tmp_path / "classes.txt").write_text("bee\ncow\nant\n")
    examples = load_evaluation(str(tmp_path))
    assert examples.classes == (("bee", "cow", "ant") if listed else ("ant", "cow"))
    assert [examples.classes[i] for i in examples.labels] == ["cow", "ant", "cow"]


def test_shards_without_labels(tmp_path):
    make_shard(tmp_path / "a.tar", [None, None])
    examples = load_evaluation(str(tmp_path))
    assert (len(examples), examples.labels, examples.classes) == (2, None, ())


def cut(data: bytes, at: int) -> bytes:
    return data[:at]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


WHOLE = tar_of([(f"{i}.png", image(i)) for i in range(4)])
END = WHOLE.rindex(image(3)) + len(image(3))
SECOND = WHOLE.index(b"1.png")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (cut(WHOLE, 1200), "damaged tar file"),
        (cut(WHOLE, END - 10), "damaged tar file"),
        (cut(WHOLE, SECOND), "damaged tar file"),  # between two members: without the mark of the end
        (flip(WHOLE, SECOND + 3), "damaged tar file"),
        (flip(WHOLE, 3), "damaged tar file"),
        (b"", "damaged tar file"),
        (b"\x1f\x8b" + WHOLE, "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd" + WHOLE, "compressed with zstd"),
        (tar_of([]), "no images found"),
        (tar_of([("a.txt", b"hello")]), "no images found"),
        (tar_of([("a.png", b"x"), ("a.cls", b"1"), ("b.png", b"x")]), "b has no label"),
    ],
)
def test_a_damaged_shard_is_one_line(tmp_path, data, said):
    (tmp_path / "x-000.tar").write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        load_evaluation(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "x-000.tar" in str(caught.value)


def test_what_else_is_wrong(shards):
    with pytest.raises(DataError, match=r"x-train-004\.tar: no such shard"):
        load_evaluation(str(shards / "x-train-{000..004}.tar"))
    make_shard(shards / "x-train-009.tar", [3])
    with pytest.raises(DataError, match="label 3 is outside the 3 classes"):
        load_evaluation(str(shards / "x-train-*.tar"))
    make_shard(shards / "x-train-009.tar", ["dog"])
    with pytest.raises(DataError, match="'dog' is not among the 3 listed"):
        load_evaluation(str(shards / "x-train-*.tar"))
    (shards / "y.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(DataError, match="compressed"):
        load_evaluation(str(shards / "y.tar.gz"))


@given(st.binary(max_size=40), st.integers(0, len(WHOLE) - 1))
def test_any_damage_is_a_data_error_or_harmless(tmp_path_factory, junk, at):
    path = tmp_path_factory.getbasetemp() / "any.tar"
    path.write_bytes(WHOLE[:at] + junk + WHOLE[at + len(junk) :])
    with contextlib.suppress(DataError):
        shard = scan(path)
        assert all(len(ShardImages([shard])[i]) == size for i, size in enumerate(shard.sizes))


def test_an_image_that_is_damaged_is_left_out(tmp_path):
    files = [("a.png", image(1)), ("a.cls", b"0"), ("b.png", image(2)[:40]), ("b.cls", b"1"), ("c.png", b"")]
    (tmp_path / "x.tar").write_bytes(tar_of([*files, ("c.cls", b"1"), ("d.png", image(3)), ("d.cls", b"1")]))
    examples = load_evaluation(str(tmp_path))
    pixels = load_pixels(examples, Preparation(8, 8), progress=False)
    assert pixels.indices.tolist() == [0, 3]
    assert [index for index, _ in pixels.unreadable] == [1, 2]


def test_the_index_saves_scanning_and_is_not_trusted_blindly(shards, monkeypatch):
    files = sorted(shards.glob("*.tar"))
    write_index(shards, [scan(path) for path in files])
    scanned = []
    monkeypatch.setattr(
        "squeezenet.data.webdataset.scan", lambda path, real=scan: scanned.append(path.name) or real(path)
    )
    plain = load_data(str(shards))
    assert scanned == []
    assert values(plain.train) == list(range(12))
    assert plain.train.labels.tolist() == [0, 2, 1] * 4
    make_shard(files[1], [0, 1, 0, 1], 50)  # with one more, in the same 10 kB
    changed = load_data(str(shards))
    assert scanned == [files[1].name]
    assert changed.train.images[3] == image(50)
    (shards / INDEX).write_bytes((shards / INDEX).read_bytes()[:300])
    assert read_index(shards) == []


@pytest.mark.parametrize(("offset", "size"), [(512, 512), (0, -1), (0, 1), (10**9, 0)])
def test_an_image_that_is_not_where_it_was_is_an_error(tmp_path, offset, size):
    shard = scan(make_shard(tmp_path / "x.tar", [0, 1]))
    images = ShardImages([replace(shard, offsets=shard.offsets + offset, sizes=shard.sizes + size)])
    with pytest.raises(DataError, match=r"has changed since it was indexed|can no longer be read"):
        images[1]


@pytest.mark.parametrize(("offset", "size"), [(-1, 5), (512, 10**15), (10**15, 5), (512, -3)])
def test_an_index_cannot_point_outside_its_shard(shards, offset, size):
    path = shards / "x-val-000.tar"
    write_index(shards, [Shard(path, (), np.array([offset]), np.array([size]), None)])
    assert read_index(shards) == []


def virtual(counts, size=100):
    """Shards that are nowhere."""
    return [Shard(None, (), np.arange(n) * size, np.full(n, size), None) for n in counts]


@given(st.lists(st.integers(1, 30), max_size=12), st.integers(1, 5000), st.integers(0, 2**32), st.integers(0, 99))
def test_a_shuffle_is_a_permutation_that_seed_and_epoch_decide(counts, window, seed, epoch):
    images = ShardImages(virtual(counts), window)
    order = shuffled(images, np.random.default_rng((seed, epoch)))
    assert sorted(order.tolist()) == list(range(sum(counts)))
    assert np.array_equal(order, shuffled(images, np.random.default_rng((seed, epoch))))


def test_a_shuffle_reads_few_shards_at_a_time_and_mixes_them_well():
    images = ShardImages(virtual([100] * 50), window_bytes=5 * 100 * 100)
    order = shuffled(images, np.random.default_rng(0))
    shard = order // 100
    at_once = [len(set(shard[i : i + 500].tolist())) for i in range(0, 5000, 500)]
    assert max(at_once) == 5
    assert min(len(set(shard[i : i + 50].tolist())) for i in range(0, 5000, 50)) >= 4
    whole = shuffled(ShardImages(virtual([100] * 50)), np.random.default_rng(0))
    assert np.abs(np.corrcoef(whole, np.arange(5000))[0, 1]) < 0.05


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 7), st.integers(1, 4),
    st.integers(0, 999), st.integers(0, 9), st.integers(0, 20),
)  # fmt: skip
def test_ranks_share_every_image_once_and_an_epoch_can_be_taken_up(counts, batch, ranks, seed, epoch, done):
    from squeezenet.data import Examples

    examples = Examples("x", ShardImages(virtual(counts)), np.zeros(sum(counts), np.int64), ("a",))
    source = open_source(examples, Preparation(8, 8), cache_bytes=0)
    order = source.order(batch, seed, epoch)
    slices = [[part[rank::ranks] for part in source.order(batch, seed, epoch)] for rank in range(ranks)]
    union = np.concatenate([part for rank in slices for part in rank])
    assert sorted(union.tolist()) == list(range(len(examples)))
    resumed = source.order(batch, seed, epoch)[min(done, len(order)) :]
    seen = [*order[: min(done, len(order))], *resumed]
    assert sorted(np.concatenate(seen).tolist()) == list(range(len(examples)))


@pytest.mark.parametrize("training", [True, False])
def test_shards_are_read_by_several_threads(tmp_path, training):
    make_shard(tmp_path / "x.tar", [0] * 60)
    examples = load_evaluation(str(tmp_path))
    order = np.random.default_rng(0).permutation(60)
    parts = list(decode(examples, [order[:40], order[40:]], Preparation(8, 8), 4, training))
    assert np.concatenate([part.images[:, 0, 0, 0] for part in parts]).tolist() == order.tolist()


def make_imagenet(folder, validation="number", classes=3):
    ids = [f"n{i:08}" for i in range(7, 7 + classes)]
    inner = [
        (f"{name}.tar", tar_of([(f"{name}_{i}.JPEG", image(20 * c + i)) for i in range(4)]))
        for c, name in enumerate(ids)
    ]
    (folder / TRAIN).write_bytes(tar_of(inner[::-1]))
    names = [f"ILSVRC2012_val_{i:08}.JPEG" for i in (2, 1)]
    (folder / VALIDATION).write_bytes(tar_of([(name, image(200 + i)) for i, name in enumerate(names)]))
    labels = [2, 0]
    told = [str(n) if validation == "number" else ids[n] for n in labels]
    (folder / "val.txt").write_text("".join(f"{name} {label}\n" for name, label in zip(names, told, strict=True)))
    return ids


@pytest.mark.parametrize("validation", ["number", "id"])
def test_imagenet_is_read_from_its_tars(tmp_path, validation):
    ids = make_imagenet(tmp_path, validation)
    data = load_data(str(tmp_path))
    assert data.train.classes == tuple(ids)
    assert values(data.train) == [0, 1, 2, 3, 20, 21, 22, 23, 40, 41, 42, 43]
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert (values(data.validation), data.validation.labels.tolist()) == ([200, 201], [2, 0])
    order = shuffled(data.train.images, np.random.default_rng(0)).tolist()
    assert sorted(order) == list(range(12))


def test_imagenet_with_all_its_classes_has_their_names(tmp_path):
    make_imagenet(tmp_path, classes=1000)
    assert load_data(str(tmp_path)).train.classes[1] == "goldfish, Carassius auratus"


def test_imagenet_without_labels_or_cut_short(tmp_path):
    make_imagenet(tmp_path)
    (tmp_path / "val.txt").write_text("ILSVRC2012_val_00000002.JPEG 2\n")
    with pytest.raises(DataError, match=r"no line for ILSVRC2012_val_00000001\.JPEG"):
        load_data(str(tmp_path))
    (tmp_path / "val.txt").unlink()
    with pytest.raises(DataError, match=r"val\.txt: not found"):
        load_data(str(tmp_path))
    train = (tmp_path / TRAIN).read_bytes()
    (tmp_path / TRAIN).write_bytes(flip(train, train.index(b"n00000008_2")))
    with pytest.raises(DataError, match=r"n00000008\.tar: a damaged tar"):
        load_data(str(tmp_path))


def test_shards_on_the_hub_have_numbers_without_names(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    files = {
        "train": str(make_shard(tmp_path / "train/0.tar", [0, 2, 1])),
        "validation": str(make_shard(tmp_path / "val/0.tar", [1], 9)),
    }
    load = datasets.load_dataset
    monkeypatch.setattr(
        datasets, "load_dataset", lambda _: load("webdataset", data_files=files, cache_dir=str(tmp_path / "cache"))
    )
    data = load_data("nobody/shards")  # as the hub's own library gives them, without the hub
    assert (data.train.labels.tolist(), data.validation.labels.tolist()) == ([0, 2, 1], [1])
    assert data.train.classes == data.validation.classes == ("0", "1", "2")
    assert (values(data.train), values(data.validation)) == ([0, 1, 2], [9])


def test_expanding_ranges():
    assert [p.name for p in expand("a{0..1}-{9..10}.tar")] == ["a0-9.tar", "a0-10.tar", "a1-9.tar", "a1-10.tar"]
    assert [p.name for p in expand("plain.tar")] == ["plain.tar"]


def test_scanning_takes_less_than_a_millisecond_an_image(tmp_path):
    make_shard(tmp_path / "x.tar", [1] * 250)
    start = time.perf_counter()
    assert len(scan(tmp_path / "x.tar").offsets) == 250
    assert time.perf_counter() - start < 0.25 * 4  # busy machines included
    assert re.fullmatch(r"\d{4}", scan(tmp_path / "x.tar").keys[0])
