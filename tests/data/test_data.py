"""Every source gives the same kind of examples; splits are deterministic and disjoint; errors are one line."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from squeezenet.data import Examples, HeldOut, Pixels, default_preparation, load_data, load_evaluation, load_pixels
from squeezenet.data.augment import Augmentation, augment, draw, finish
from squeezenet.data.batches import open_source
from squeezenet.data.evaluate import evaluate
from squeezenet.data.examples import Picked, shuffled
from squeezenet.data.parquet import ParquetImages
from squeezenet.data.pixels import checked, decode
from squeezenet.data.score import ranks
from squeezenet.errors import DataError
from squeezenet.files import write_atomically
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import normalise, open_image
from squeezenet.training.distributed import Group
from support.commands import picture, python

CLASSES = ("ant", "bee", "cow")


def png(value: int, side: int = 12, mode: str = "RGB") -> bytes:
    colour = value if mode == "L" else (value, 255 - value, 7)
    stream = io.BytesIO()
    Image.new(mode, (side, side), colour).save(stream, "PNG")
    return stream.getvalue()


def make_folder(root, counts=(20, 10, 5), classes=CLASSES, side=12):
    for number, (name, count) in enumerate(zip(classes, counts, strict=True)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i:03}.png").write_bytes(png(80 * number + i, side))
    return root


def make_parquet(path, labels, names=CLASSES, first=0, rows=4, column="label"):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": png((first + i) % 256), "path": f"{i}.png"} for i in range(len(labels or range(9)))]
    columns = {"image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    features = {"image": {"_type": "Image"}}
    if labels is not None:
        columns[column] = pa.array(labels)
    if names is not None:
        features[column] = {"_type": "ClassLabel", "names": list(names)}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.fixture(params=["folder", "split folder", "parquet", "parquet folder", "digits"])
def source(request, tmp_path):
    labels = [i % 3 for i in range(40)]
    if request.param == "folder":
        return str(make_folder(tmp_path / "animals"))
    if request.param == "split folder":
        make_folder(tmp_path / "animals/train")
        make_folder(tmp_path / "animals/val", (3, 2, 1))
        return str(tmp_path / "animals")
    if request.param == "parquet":
        return str(make_parquet(tmp_path / "animals.parquet", labels))
    if request.param == "parquet folder":
        make_parquet(tmp_path / "data/train-00000-of-00002.parquet", labels)
        make_parquet(tmp_path / "data/train-00001-of-00002.parquet", labels)
        make_parquet(tmp_path / "data/validation-00000-of-00001.parquet", labels[:9])
        return str(tmp_path)
    return "digits"


def same_images(one: Examples, other: Examples) -> bool:
    pairs = zip(one.images, other.images, strict=True)
    return all(np.array_equal(np.asarray(open_image(a)), np.asarray(open_image(b))) for a, b in pairs)


def test_every_source_gives_the_same_interface(source):
    data = load_data(source)
    for examples in (data.train, data.validation):
        assert len(examples) == len(examples.images) == len(examples.labels) > 0
        assert examples.labels.dtype == np.int64
        assert examples.classes == data.train.classes
        present = {examples.classes[i] for i in examples.labels.tolist()}
        assert set(examples.empty_classes) == set(examples.classes) - present
        assert open_image(examples.images[len(examples) - 1]).mode in ("RGB", "L")
        part = examples.take(np.array([2, 0]))
        assert part.labels.tolist() == [examples.labels[2], examples.labels[0]]
        assert same_images(part, Examples("two", [examples.images[2], examples.images[0]]))
        with pytest.raises(IndexError):
            examples.images[len(examples)]


def test_splits_are_deterministic(source):
    one, other = load_data(source, seed=3), load_data(source, seed=3)
    for a, b in ((one.train, other.train), (one.validation, other.validation)):
        assert np.array_equal(a.labels, b.labels)
        assert same_images(a.take(np.arange(0, len(a), 3)), b.take(np.arange(0, len(b), 3)))


def test_a_source_without_splits_is_split_evenly_and_without_overlap(tmp_path):
    make_folder(tmp_path, (100, 50, 10))
    data, other = load_data(str(tmp_path)), load_data(str(tmp_path), seed=1)
    assert np.bincount(data.validation.labels).tolist() == [10, 5, 1]
    everything = [str(p) for e in (data.train, data.validation) for p in e.images]
    assert len(everything) == len(set(everything)) == 160
    assert {str(p) for p in data.validation.images} != {str(p) for p in other.validation.images}
    assert len(load_evaluation(str(tmp_path))) == 160


def test_digits_are_fixed_and_disjoint():
    data, other = load_data("digits", seed=0), load_data("digits", seed=9)
    assert len(data.train) + len(data.validation) == 1797
    assert np.array_equal(data.validation.images.indices, other.validation.images.indices)
    assert not set(data.train.images.indices) & set(data.validation.images.indices)
    share = np.bincount(data.validation.labels) / np.bincount(
        np.concatenate([data.train.labels, data.validation.labels])
    )
    assert np.allclose(share, 0.2, atol=0.005)
    assert len(load_evaluation("digits")) == len(data.validation)
    pixels = np.stack([np.asarray(image) for image in data.train.images])
    assert pixels.shape[1:] == (8, 8)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_folders_ignore_what_is_no_image(tmp_path):
    make_folder(tmp_path, (2, 2, 0))
    (tmp_path / "ant/notes.txt").write_text("x")
    (tmp_path / "ant/.hidden.png").write_bytes(png(1))
    (tmp_path / ".cache").mkdir()
    (tmp_path / "bee/more").mkdir()
    (tmp_path / "bee/more/deep.JPEG").write_bytes(png(9))
    examples = load_evaluation(str(tmp_path))
    assert examples.classes == CLASSES
    assert np.bincount(examples.labels).tolist() == [2, 3]
    assert examples.empty_classes == ("cow",)


def test_a_class_may_be_called_train(tmp_path):
    make_folder(tmp_path, (3, 3), ("bus", "train"))
    assert load_evaluation(str(tmp_path)).classes == ("bus", "train")


def test_images_without_class_folders_have_no_labels(tmp_path):
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    data = load_data(str(tmp_path))
    assert data.train.labels is None
    assert (len(data.train), len(data.validation)) == (18, 2)
    with pytest.raises(DataError, match="no labels"):
        data.train.require_labels()


def test_validation_of_another_source_counts_in_the_classes_of_training(tmp_path):
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "b", (2, 1), ("bee", "cow"))
    data = load_data(str(tmp_path / "a"), str(tmp_path / "b"))
    assert len(data.train) == 35
    assert data.validation.labels.tolist() == [1, 1, 2]
    make_folder(tmp_path / "c", (2, 1), ("bee", "dog"))
    with pytest.raises(DataError, match="do not include 'dog'"):
        load_data(str(tmp_path / "a"), str(tmp_path / "c"))


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (CLASSES, [0, 2, 1, 0], CLASSES),
        (None, [0, 2, 1, 0], ("0", "1", "2")),
        (None, ["b", "a", "b", "c"], ("a", "b", "c")),
    ],
)
def test_parquet_class_names(tmp_path, names, labels, classes):
    examples = load_evaluation(str(make_parquet(tmp_path / "x.parquet", labels, names)))
    assert examples.classes == classes
    told = [str(label) if names is None else names[label] for label in labels]
    assert [classes[i] for i in examples.labels] == told


def test_parquet_prefixes_tell_splits(tmp_path):
    for name in ("xyz-train-00000-of-00003", "xyz-train-00001-of-00003", "xyz-val"):
        make_parquet(tmp_path / f"{name}.parquet", [0, 1, 2] * 3)
    data = load_data(str(tmp_path / "xyz-*.parquet"))
    assert (len(data.train), len(data.validation)) == (18, 9)
    assert len(load_evaluation(str(tmp_path))) == 9
    only = load_data(str(tmp_path / "xyz-val.parquet"))  # the only file there is, so it is split
    assert (len(only.train), len(only.validation)) == (8, 1)


def test_parquet_is_read_lazily_and_shuffled_cheaply(tmp_path, monkeypatch):
    examples = load_evaluation(str(make_parquet(tmp_path / "x.parquet", [0, 1] * 50, rows=10)))
    images = examples.images
    one = images._read(0).nbytes
    images.cache_bytes = 2 * one + one // 2  # two row groups
    order = shuffled(images, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(100))
    assert order.tolist() != list(range(100))
    reads = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, **k: (reads.append(i), read(self, i, **k))[1])
    for index in order:
        images[int(index)]
    assert len(reads) <= 10  # not once an image
    assert sum(a.nbytes for a in images._cache.values()) <= images.cache_bytes
    part = Picked(images, np.arange(0, 100, 3))
    assert sorted(shuffled(part, np.random.default_rng(0)).tolist()) == list(range(34))
    twice = Picked(images, np.array([7, 3, 7, 99]))
    assert sorted(shuffled(twice, np.random.default_rng(0)).tolist()) == [0, 1, 2, 3]
    assert isinstance(images, ParquetImages)


def test_reading_parquet_writes_nothing(tmp_path, monkeypatch):
    path = make_parquet(tmp_path / "in/x.parquet", [0, 1, 2] * 4)
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "home")}
    code = (
        "from squeezenet.data import *\n"
        f"examples = load_evaluation({str(path)!r})\n"
        "print(len(load_pixels(examples, default_preparation(examples))))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "12"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p / "nothing", "no such file or folder"),
        (lambda p: os.mkfifo(p / "pipe") or p / "pipe", "is a pipe or a device"),
        (lambda p: make_folder(p / "cats", (1, 1, 1)).parent / "cast", "did you mean cats"),
        (lambda p: (p / "empty").mkdir() or p / "empty", "no images found"),
        (lambda p: make_folder(p / "c", (0, 0, 0)), "no images found"),
        (lambda p: make_parquet(p / "x.parquet", [0, 1, 3]), "label 3 is outside the 3 classes"),
        (lambda p: make_parquet(p / "x.parquet", [0, None, 1]), "no label"),
        (lambda p: (p / "x.parquet").write_bytes(b"no") and p / "x.parquet", "not a Parquet file"),
        (lambda p: pq.write_table(pa.table({"text": ["a"]}), p / "t.parquet") or p / "t.parquet", "no `image` column"),
        (lambda p: (p / "a.zip").write_bytes(b"PK") and p / "a.zip", "is one file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, make, said):
    with pytest.raises(DataError, match=said) as caught:
        load_data(str(make(tmp_path)))
    assert "\n" not in str(caught.value)


def test_files_of_different_data_sets_are_not_mixed(tmp_path):
    make_parquet(tmp_path / "a-train.parquet", [0, 1])
    make_parquet(tmp_path / "b-train.parquet", [0, 1], ("x", "y"))
    with pytest.raises(DataError, match="give files of one data set"):
        load_data(str(tmp_path))


def test_unreadable_images_are_left_out_and_counted(tmp_path):
    make_folder(tmp_path, (4, 4, 4))
    (tmp_path / "bee/001.png").write_text("not an image")
    (tmp_path / "cow/000.png").write_bytes(png(3)[:40])
    examples = load_evaluation(str(tmp_path))
    pixels = load_pixels(examples, Preparation(12, 12))
    assert (len(pixels), pixels.skipped) == (10, 2)
    assert pixels.labels.tolist() == examples.labels[pixels.indices].tolist() == [0] * 4 + [1] * 3 + [2] * 3
    assert [index for index, _ in pixels.unreadable] == [5, 8]
    assert "001.png" in pixels.unreadable[0][1]
    with pytest.raises(DataError, match="none of 2 images can be read"):
        load_pixels(examples.take(np.array([5, 8])), Preparation(12, 12))


def test_links_to_themselves_are_unreadable_images(tmp_path):
    make_folder(tmp_path, (2, 2, 2))
    (tmp_path / "ant/000.png").unlink()
    for link in (tmp_path / "ant/000.png", tmp_path / "beside.png"):
        link.symlink_to(link.name)
    examples = load_evaluation(str(tmp_path))
    pixels = load_pixels(examples, Preparation(12, 12))
    assert (len(pixels), pixels.skipped) == (5, 1)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_pixels_do_not_depend_on_threads(tmp_path, workers):
    examples = load_evaluation(str(make_parquet(tmp_path / "x.parquet", [0, 1, 2] * 30)))
    pixels = load_pixels(examples, Preparation(8, 6), workers=workers)
    expected = np.stack([np.full((6, 6), i, np.uint8) for i in range(90)])
    assert np.array_equal(pixels.images[:, 0], expected)
    few = load_pixels(examples, Preparation(8, 6), limit=9, workers=workers)
    assert few.indices.tolist() == list(range(0, 90, 10))


@pytest.mark.parametrize(
    ("mode", "side", "image_size", "expected"),
    [
        ("RGB", 32, None, (32, 32, "RGB")),
        ("L", 8, None, (16, 16, "L")),
        ("L", 28, 32, (32, 32, "L")),
        ("RGB", 200, None, (256, 227, "BGR")),
        ("RGB", 200, 64, (72, 64, "BGR")),
        ("L", 200, None, (256, 227, "L")),
    ],
)
def test_default_preparation(mode, side, image_size, expected):
    preparation = default_preparation(Examples("e", [png(v, side, mode) for v in (10, 50)]), image_size)
    assert (preparation.resize, preparation.crop, preparation.channels) == expected
    if expected[2] == "BGR":
        assert preparation.mean == (104.0, 117.0, 123.0)
    if side <= 96:
        pixels = load_pixels(Examples("e", [png(v, side, mode) for v in (10, 50)]), preparation)
        assert normalise(pixels.images, preparation).mean() == pytest.approx(0, abs=0.01)


def test_batches_are_the_same_from_memory_and_from_threads(tmp_path):
    examples = load_evaluation(str(make_parquet(tmp_path / "x.parquet", [0, 1, 2] * 10)))
    preparation = Preparation(12, 8)
    held = open_source(examples, preparation)
    read = [open_source(examples, preparation, cache_bytes=0, workers=n) for n in (1, 3)]
    assert held.held is not None
    assert all(r.held is None for r in read)
    order = held.order(8, seed=5, epoch=1)
    assert [len(batch) for batch in order] == [8, 8, 7, 7]
    assert sorted(np.concatenate(order).tolist()) == list(range(30))
    assert not all(np.array_equal(a, b) for a, b in zip(order, held.order(8, seed=5, epoch=2), strict=True))
    for batches in zip(*(source.batches(order) for source in (held, *read)), strict=True):
        for batch in batches:
            assert torch.equal(batch.images, batches[0].images)
            assert torch.equal(batch.labels, batches[0].labels)
            assert (batch.unreadable, batch.size) == ((), len(batch.images))
    for size in (2, 3):  # processes: together they have every image of every batch once
        shares = [
            [source.batches(order, Group(rank, 0, size).slice) for source in (held, *read)] for rank in range(size)
        ]
        for whole, *parts in zip(held.batches(order), *(zip(*share, strict=True) for share in shares), strict=True):
            for same in zip(*parts, strict=True):
                rows = torch.cat([part.rows for part in same])
                assert sorted(rows.tolist()) == list(range(len(whole.images)))
                assert torch.equal(torch.cat([part.images for part in same]), whole.images[rows])
                assert torch.equal(torch.cat([part.labels for part in same]), whole.labels[rows])
                assert all(part.size == len(whole.images) for part in same)


def draws(images, seed):
    return draw(len(images), torch.Generator().manual_seed(seed))


def test_crops_come_from_everywhere_and_mirrors_half_the_time():
    image = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(400, 3, 8, 8)
    cut = augment(image, Augmentation(), (6, 6), draws(image, 0))
    assert cut.shape == (400, 3, 6, 6)
    assert cut.dtype == torch.uint8
    mirrored = cut[:, 0, 0, 0] > cut[:, 0, 0, 1]
    assert 150 < int(mirrored.sum()) < 250
    corners = torch.where(mirrored, cut[:, 0, 0, -1], cut[:, 0, 0, 0])
    assert set(corners.tolist()) == {8 * row + column for row in range(3) for column in range(3)}
    assert torch.equal(cut, augment(image, Augmentation(), (6, 6), draws(image, 0)))
    whole = augment(image, Augmentation(mirror=False), (8, 8), draws(image, 0))
    assert torch.equal(whole, image)


def test_padding_repeats_the_edge_and_distortion_stays_in_range():
    image = torch.full((50, 1, 8, 8), 200, dtype=torch.uint8)
    how = Augmentation(pad=3, rotate=30, zoom=0.3)
    assert torch.allclose(augment(image, how, (8, 8), draws(image, 1)), torch.tensor(200.0))
    ramp = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8)
    moved = augment(ramp, Augmentation(mirror=False, rotate=45), (8, 8), draws(ramp, 1))
    assert not torch.equal(moved, ramp.float())
    assert 0 <= moved.min() <= moved.max() <= 63


def test_light_and_erasing():
    images = torch.ones(20, 2, 8, 8)
    erased = finish(images.clone(), Augmentation(erase=4), draws(images, 0))
    counts = (erased == 0).sum((1, 2, 3))
    assert (counts > 0).all()
    assert (counts <= 2 * 16).all()
    assert counts.max() == 32
    noise = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    lit = finish(noise.clone(), Augmentation(light=0.5), draws(noise, 0))
    assert (lit.mean((1, 2, 3)) - noise.mean((1, 2, 3))).abs().max() > 0.1


def test_ranks_count_ties_as_argmax_does():
    logits = np.array([[0, 0, 0, 0, 0, 0.0], [1, 2, 3, 4, 5, 6.0]])
    assert ranks(logits, np.array([0, 5])).tolist() == [0, 0]
    assert ranks(logits, np.array([4, 1])).tolist() == [4, 4]
    assert ranks(logits, np.array([5, 0])).tolist() == [5, 5]


def test_atomic_writing_keeps_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("pattern", "train", "validation", "classes"),
    [("cifar10-*.parquet", 50_000, 10_000, 10), ("tiny-imagenet-*.parquet", 66_666, 10_000, 200)],
)
def test_real_parquet(shared, pattern, train, validation, classes):
    data = load_data(str(shared / "data" / pattern))
    assert (len(data.train), len(data.validation), len(data.train.classes)) == (train, validation, classes)
    pixels = load_pixels(data.validation, Preparation(32, 32), limit=20)
    assert (len(pixels), pixels.skipped) == (20, 0)


@pytest.mark.parametrize("kind", ["folder", "parquet", "unlabelled"])
def test_a_record_of_the_split_finds_what_was_held_out(tmp_path, kind):
    if kind == "parquet":
        where = make_parquet(tmp_path / "x.parquet", [i % 3 for i in range(50)])
    else:
        where = make_folder(tmp_path / "x", (30, 20, 10))
    if kind == "unlabelled":
        where = where / "ant"
    data = load_data(str(where), seed=5)
    record = HeldOut.from_dict(json.loads(json.dumps(data.held_out.to_dict())))
    again = record.apply(load_evaluation(str(where)))
    assert same_images(again, data.validation)
    assert again.labels is None or np.array_equal(again.labels, data.validation.labels)
    expected = load_pixels(again, Preparation(8, 8)).images
    moved = where.rename(where.with_name(f"moved{where.suffix}")) if kind == "folder" else where
    assert np.array_equal(load_pixels(record.apply(load_evaluation(str(moved))), Preparation(8, 8)).images, expected)
    with pytest.raises(DataError, match="not the data set that was split"):
        record.apply(load_evaluation(str(moved)).take(np.arange(len(again))))


def test_a_renamed_file_or_class_is_another_data_set(tmp_path):
    folder = make_folder(tmp_path / "x", (30, 20, 10))
    record = load_data(str(folder)).held_out
    (folder / "ant/000.png").rename(folder / "ant/0000.png")
    with pytest.raises(DataError, match="other files or labels"):
        record.apply(load_evaluation(str(folder)))
    (folder / "ant/0000.png").rename(folder / "ant/000.png")
    assert len(record.apply(load_evaluation(str(folder)))) == 6
    (folder / "ant").rename(folder / "asp")
    with pytest.raises(DataError, match="other files or labels"):
        record.apply(load_evaluation(str(folder)))


@pytest.mark.parametrize("saved", [{}, {"every": 0, "seed": 0, "images": 1, "fingerprint": ""}, [], {"every": "ten"}])
def test_a_damaged_record_of_a_split_is_refused(saved):
    with pytest.raises(DataError, match="train again"):
        HeldOut.from_dict(saved)


def test_a_source_with_a_validation_split_holds_nothing_out():
    assert load_data("digits").held_out is None


def test_large_images_are_decoded_and_answered_one_by_one(tmp_path, monkeypatch):
    examples = load_evaluation(str(make_folder(tmp_path, (3, 3, 3))))
    monkeypatch.setattr("squeezenet.data.pixels.BATCH_BYTES", 3 * 40 * 40)  # an image of 40 x 40
    seen = []

    def answer(images):
        seen.append(len(images))
        return np.zeros((len(images), 3), np.float32)

    assert evaluate(answer, examples, Preparation(40, 40), progress=False).images == 9
    assert evaluate(answer, load_pixels(examples, Preparation(40, 40)), Preparation(40, 40), progress=False).images == 9
    assert seen == [1] * 18
    monkeypatch.setattr("squeezenet.data.pixels.DECODED_BYTES", 3 * 40 * 40 * 5)
    assert len(load_pixels(examples, Preparation(40, 40), limit=5)) == 5
    with pytest.raises(DataError, match="take at most 5"):
        load_pixels(examples, Preparation(40, 40))


@pytest.mark.parametrize(("limit", "ahead"), [(10**9, 3), (3 * 8 * 8, 3), (3 * 8 * 8 - 1, 1)])
def test_batches_are_decoded_ahead_unless_an_image_is_large(tmp_path, monkeypatch, limit, ahead):
    monkeypatch.setattr("squeezenet.data.pixels.BATCH_BYTES", limit)
    examples = load_evaluation(str(make_folder(tmp_path, (8, 8, 8))))
    asked = []

    def batches():
        for start in range(0, 24, 4):
            asked.append(start)
            yield np.arange(start, start + 4)

    for number, part in enumerate(decode(examples, batches(), Preparation(8, 8))):
        assert len(asked) == min(6, number + ahead)
        assert part.indices.tolist() == list(range(4 * number, 4 * number + 4))


def test_evaluation_of_nothing_but_damage_names_an_image(tmp_path):
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant/a.png").write_text("not an image")
    with pytest.raises(DataError, match=r"ant/a\.png: not an image"):
        evaluate(lambda images: images, load_evaluation(str(tmp_path)), Preparation(8, 8), progress=False)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((4, 3, 8, 8), np.float32) - 1.5, r"float32 \(4, 3, 8, 8\), values from -1.5 to -1.5"),
        (np.zeros((4, 8, 8, 3), np.uint8), r"uint8 \(4, 8, 8, 3\)"),
        (np.zeros((4, 1, 8, 8), np.uint8), r"uint8 \(4, 1, 8, 8\)"),
        (np.zeros((4, 3, 16, 16), np.uint8), r"uint8 \(4, 3, 16, 16\)"),
        (np.zeros((0, 3, 8, 8), np.uint8), r"uint8 \(0, 3, 8, 8\)"),
    ],
    ids=["normalised", "channels last", "grey", "another size", "none"],
)
def test_pixels_that_are_no_prepared_images_are_refused(images, said):
    with pytest.raises(DataError, match=said + r".*expected uint8 \(images, 3, 8, 8\): channels RGB first"):
        checked(images, Preparation(8, 8))
    with pytest.raises(DataError, match=said):
        checked(Pixels(images, None, np.arange(len(images))), Preparation(8, 8))


def test_arrays_and_tensors_are_pixels_and_dark_ones_are_told(caplog):
    images = np.full((4, 3, 8, 8), 200, np.uint8)
    for given in (images, torch.from_numpy(images), Pixels(images, None, np.arange(4))):
        found = checked(given, Preparation(8, 8))
        assert np.array_equal(found.images, images)
        assert len(found.indices) == 4
    assert not caplog.records
    checked(images // 4, Preparation(8, 8))
    assert "no value of 4 images is above 50 of 255" in caplog.text
    with pytest.raises(DataError, match="not as many labels"):
        checked(Pixels(images, np.zeros(3, np.int64), np.arange(4)), Preparation(8, 8))


def test_an_evaluation_reads_its_images_without_pytorch(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        picture(tmp_path / name / "0.png")
    code = (
        "import sys; from squeezenet.data import *; from squeezenet.preparation import Preparation; "
        "found = load_pixels(load_evaluation(sys.argv[1]), Preparation(8, 8), progress=False); "
        "print(len(found), 'torch' in sys.modules)"
    )
    assert python(code, str(tmp_path)).split() == ["2", "False"]
