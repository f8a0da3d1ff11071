"""Class names come from one place: every source, split and shard gives a class the same number, or is refused."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from squeezenet.data import Examples, load_data, load_evaluation
from squeezenet.data.classes import Stated, match_classes, number_classes, state, tidy
from squeezenet.data.pack import Options, pack
from squeezenet.errors import DataError
from squeezenet.formats.imagenet import imagenet_ids, imagenet_labels, imagenet_numbers
from squeezenet.formats.label_file import read_labels


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value % 256, 7, 7)).save(stream, "PNG")
    return stream.getvalue()


def write_folder(root, split, labels):
    for i, label in enumerate(labels):
        path = root / (split or "") / str(label) / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))


def write_parquet(root, split, labels):
    root.mkdir(exist_ok=True)
    table = pa.table({"image": [png(i) for i in range(len(labels))], "label": labels})
    pq.write_table(table, root / f"{split or 'x'}-0.parquet")


def write_shards(root, split, labels):
    """A shard an image: labels of one shard say little of the others."""
    root.mkdir(exist_ok=True)
    for i, label in enumerate(labels):
        with tarfile.open(root / f"x{'-' * bool(split)}{split or ''}-{i:02}.tar", "w") as tar:
            for name, data in ((f"{i}.png", png(i)), (f"{i}.cls", str(label).encode())):
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))


WRITERS = {"folder": write_folder, "parquet": write_parquet, "shards": write_shards}


def names_of(examples):
    return [examples.classes[i] for i in examples.labels.tolist()]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "labels",
    [
        ["2", "3", "4", "jack", "king", "queen"],
        ["001", "002", "010", "002"],
        ["20240131", "20240201"],
        ["0", "2", "10"],
        ["a", "caf\u00e9"],
    ],
)
def test_labels_are_names_whatever_they_look_like(tmp_path, kind, labels):
    WRITERS[kind](tmp_path / "in", None, labels)
    examples = load_evaluation(str(tmp_path / "in"))
    assert sorted(names_of(examples)) == sorted(labels)
    assert set(examples.classes) == set(labels)
    pack(str(tmp_path / "in"), tmp_path / "out", Options(shard_images=2))
    packed = load_evaluation(str(tmp_path / "out"))
    assert packed.classes == examples.classes
    assert sorted(names_of(packed)) == sorted(labels)


@pytest.mark.parametrize("kind", ["parquet", "shards"])
def test_numbers_are_sorted_by_their_value_and_folders_by_their_name(tmp_path, kind):
    WRITERS[kind](tmp_path / "in", None, [10, 9, 0])
    assert load_evaluation(str(tmp_path / "in")).classes == ("0", "9", "10")
    write_folder(tmp_path / "folder", None, [10, 9, 0])
    assert load_evaluation(str(tmp_path / "folder")).classes == ("0", "10", "9")


@pytest.mark.parametrize("label", [20_000_000, 1_283_712_899, 2**62])
@pytest.mark.parametrize("kind", ["parquet", "shards"])
def test_a_large_number_is_one_class(tmp_path, kind, label):
    WRITERS[kind](tmp_path / "in", None, [label, 5])
    examples = load_evaluation(str(tmp_path / "in"))
    assert (examples.classes, examples.labels.tolist()) == (("5", str(label)), [1, 0])


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        (["0", "1"], ["cat", "dog"], "has names as labels ('cat', 'dog'), but training has numbers ('0', '1')"),
        (["cat", "dog"], ["0", "1"], "has numbers as labels"),
        (["cat", "dog"], ["cat", "dgo"], "do not include 'dgo' (dog?); validation"),
    ],
)
def test_training_and_validation_name_classes_alike(tmp_path, kind, train, validation, said):
    for split, labels in (("train", train), ("val", validation)):
        WRITERS[kind](tmp_path / "in", split, labels)
    with pytest.raises(DataError) as caught:
        load_data(str(tmp_path / "in"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_classes_is_numbered_by_lines_or_by_names():
    listed = ("ant", "bee", "cow")

    def labels(*values, meaning="either", listed=listed):
        return number_classes({"all": state(list(values), "x.tar", meaning)}, listed)[1]["all"].tolist()

    assert labels("2", "0") == labels("cow", "ant") == labels("002", "000") == [2, 0]
    assert labels("7") == [7]  # `Examples` refuses it
    assert labels("1", "0", listed=("0", "1")) == [1, 0]
    assert labels("2", "10", listed=("2", "3", "10")) == [0, 2]
    with pytest.raises(DataError, match="'1' may be the name of a class or the number of '2'"):
        labels("1", "2", listed=("1", "2", "3"))
    assert labels("1", "2", listed=("1", "2", "3"), meaning="number") == [1, 2]
    with pytest.raises(DataError, match="'dog' is not among the 3 listed classes"):
        labels("0", "dog")


def test_secret_labels_are_none_and_negative_ones_are_refused():
    assert number_classes({"all": state(np.array([-1, -1]), "x")}) == ((), {"all": None})
    with pytest.raises(DataError, match="label -1 is below 0"):
        number_classes({"all": state(np.array([-1, 1]), "x")})


def test_there_are_limits():
    with pytest.raises(DataError, match="more than 100,000 different labels"):
        state(np.arange(100_001), "x")
    with pytest.raises(DataError, match="longer than 1,000"):
        state(["a" * 1001], "x")
    with pytest.raises(DataError, match="is empty"):
        state(["  "], "x")


def test_names_are_text_that_every_file_can_hold():
    for name in ("caf\udce9", "two\nlines", "e\u0301", "  spaces "):
        assert tidy(tidy(name)) == tidy(name)
        assert json.loads(json.dumps(tidy(name)).encode()) == tidy(name)
        assert tidy(name).encode("utf-8").decode() == tidy(name)
    assert len({tidy("caf\udce9"), tidy("caf\udce8"), tidy("caf\u00e9")}) == 3


def of(classes, labels=None):
    labels = np.arange(len(classes)) if labels is None else np.array(labels)
    return Examples("data", [png(0)] * len(labels), labels, tuple(classes))


CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize(
    ("data", "labels", "outputs", "expected"),
    [
        (of(CIFAR[::-1]), CIFAR, 10, list(range(9, -1, -1))),
        (of(("dog", "cat")), CIFAR, 10, [5, 3]),  # some of the model's classes
        (of(("cat", "monkey"), [0, 0]), CIFAR, 10, [3, 3]),  # no image is of a monkey
        (of(("0", "3")), CIFAR, 10, [0, 3]),  # the data has numbers for names
        (of(("0", "2")), (), 3, [0, 2]),
        (of(("ant", "bee")), (), 2, [0, 1]),  # the model has no names
        (of(("ant", "bee")), ("0", "1"), 2, [0, 1]),
        (of(("2", "1")), ("0", "1", "2"), 3, [2, 1]),
        (of(("cafe\u0301",)), ("b", "caf\u00e9"), 2, [1]),
    ],
)
def test_classes_are_matched_by_name_or_by_number(data, labels, outputs, expected):
    matched = match_classes(data, labels, outputs)
    assert matched.labels.tolist() == expected
    assert len(matched.classes) == outputs


@pytest.mark.parametrize(
    ("data", "labels", "outputs", "said"),
    [
        (of((*CIFAR[:4], "car", "monkey")), CIFAR, 10, "'car' (cat?), 'monkey'"),
        (of(tuple("abcdefghij")), CIFAR, 10, "the model's 10 classes do not include 'a', 'b', 'c' and 7 more"),
        (of((*CIFAR[:9], "trucks")), CIFAR, 10, "'trucks' (truck?)"),
        (of((*CIFAR, "lynx")), CIFAR, 10, "'lynx'"),
        (of(("0", "10")), CIFAR, 10, "do not include"),
        (of(("0", "1")), ("1", "2"), 2, "do not include '0'"),  # numbers that are names of the model's
        (of(("ant", "bee")), (), 3, "without names"),
        (of(("20240131", "20240201")), (), 10, "without names"),
        (of(("a", "b")), ("a", "b", "b"), 3, "'b'"),  # which of the two?
    ],
)
def test_classes_that_do_not_match_are_refused_by_name(data, labels, outputs, said):
    with pytest.raises(DataError) as caught:
        match_classes(data, labels, outputs)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_imagenet_is_matched_by_ids_names_and_lemmas():
    labels = imagenet_labels()
    assert imagenet_ids()[0] == "n01440764"
    assert len(set(imagenet_ids())) == len(labels) == 1000
    assert match_classes(of(("n01443537", "tench", "great_white_shark")), labels, 1000).labels.tolist() == [1, 0, 2]
    assert match_classes(of(imagenet_ids()), labels, 1000).labels.tolist() == list(range(1000))
    other = [*labels[:134], "crane (bird)", *labels[135:]]  # as the hub tells its two cranes apart
    assert match_classes(of(other), labels, 1000).labels.tolist() == list(range(1000))
    assert imagenet_numbers(["crane", "nothing", "n02012849"]) == [None, None, 134]
    with pytest.raises(DataError, match="'crane'"):
        match_classes(of(("tench", "crane")), labels, 1000)


@pytest.mark.parametrize("data", [b"\xef\xbb\xbfcat\r\ndog\r\n", b"cat\ndog", "cat\ndog\n\n".encode("utf-8-sig")])
def test_label_files_are_read_whatever_wrote_them(tmp_path, data):
    (tmp_path / "classes.txt").write_bytes(data)
    assert read_labels(tmp_path / "classes.txt") == ("cat", "dog")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("cat\ndog".encode("utf-16"), "not text in UTF-8"),
        (b"cat\n\ndog", "line 2 is empty"),
        (b"", "line 1 is empty"),
        (b"a" * 1001, "line 1 is longer"),
        (b"a\n" * 100_001, "over the limit of 100,000"),
    ],
)
def test_label_files_that_are_none(tmp_path, data, said):
    (tmp_path / "classes.txt").write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_labels(tmp_path / "classes.txt")


def test_classes_without_images_are_known():
    stated = Stated(np.array([1, 1]), ("ant", "bee"), "x", "name")
    assert number_classes({"all": stated})[0] == ("ant", "bee")
