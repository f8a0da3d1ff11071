"""Data sets of strangers: what they declare is checked before it is allocated, and what they name stays theirs."""

import contextlib
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from squeezenet.data import load_data, load_evaluation, load_pixels
from squeezenet.data.pack import pack
from squeezenet.data.parquet_pages import decompressed_bytes
from squeezenet.data.shards import INDEX, ShardImages, scan
from squeezenet.data.webdataset import read_index, write_index
from squeezenet.errors import DataError, ImageError
from squeezenet.preparation import Preparation

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (value, 7, 7)).save(stream, "PNG")
    return stream.getvalue()


def parquet(path, images, labels, metadata=None, **options):
    table = pa.table({"image": images, "label": labels})
    pq.write_table(table.replace_schema_metadata(metadata), path, **options)
    return str(path)


def one_line(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.png", "a/../../b.png", "C:\\b.png", "..\\b.png"])
@pytest.mark.parametrize("bare", [True, False])
def test_a_row_names_no_file_outside_its_folder(tmp_path, name, bare):
    images = pa.array([name]) if bare else pa.array([{"bytes": None, "path": name}], STRUCT)
    examples = load_evaluation(parquet(tmp_path / "x.parquet", images, [0]))
    assert "outside the folder" in one_line(load_pixels, examples, Preparation(8, 8))


@pytest.mark.parametrize("bare", [True, False])
def test_a_row_names_a_file_beside_it(tmp_path, bare):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png(9))
    images = pa.array(["in/a.png"]) if bare else pa.array([{"bytes": None, "path": "in/a.png"}], STRUCT)
    pixels = load_pixels(load_evaluation(parquet(tmp_path / "x.parquet", images, [0])), Preparation(8, 8))
    assert pixels.images[0, 0, 0, 0] == 9


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (pa.array([7, 8]), [0, 1], "column image holds int64"),
        (pa.array([[0] * 64] * 2), [0, 1], "column image holds list"),
        (pa.array([{"pixels": b""}] * 2), [0, 1], "column image holds struct"),
        (pa.array([png()] * 2), [[0], [1]], "column label holds list"),
        (pa.array([png()] * 2), [{"a": 1}] * 2, "column label holds struct"),
        (pa.array([png()] * 2), [0.5, 1.0], "cannot be read"),
        (pa.array([png()] * 2), ["a", "b" * 5000], "over the limit of 1,000 characters"),
        (pa.array([png()] * 2), ["a", None], "no label"),
    ],
)
def test_columns_of_other_types_are_one_line(tmp_path, images, labels, said):
    assert said in one_line(load_evaluation, parquet(tmp_path / "x.parquet", images, labels))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array([1.0, 0.0]), ("0", "1")),
        (pa.array([True, False]), ("false", "true")),
        (pa.array(["b", "a"]).dictionary_encode(), ("a", "b")),
        (pa.array([2**64 - 1, 0], pa.uint64()), ("0", str(2**64 - 1))),
        (pa.array(["b", "a"], pa.large_string()), ("a", "b")),
    ],
)
def test_labels_of_every_usual_type(tmp_path, labels, classes):
    examples = load_evaluation(parquet(tmp_path / "x.parquet", pa.array([png()] * 2), labels))
    assert (examples.classes, examples.labels.tolist()) == (classes, [1, 0])


@pytest.mark.parametrize(
    "described",
    [
        "[]", "{", "7", '{"info": []}', '{"info": {"features": [1]}}', '{"info": {"features": {"label": 3}}}',
        '{"info": {"features": {"label": {"names": [1, 2]}}}}', '{"info": {"features": {"label": {"names": "ab"}}}}',
        "[" * 100_000, "\udce9".encode("utf-8", "surrogateescape"),
    ],
)  # fmt: skip
def test_a_description_that_is_none_says_nothing(tmp_path, described):
    path = parquet(tmp_path / "x.parquet", pa.array([png()] * 2), ["a", "b"], {"huggingface": described})
    assert load_evaluation(path).classes == ("a", "b")


def test_equal_rows_that_were_stored_once_do_not_fill_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("squeezenet.limits.PARQUET_SPARE_BYTES", 2**20)
    images = pa.array([{"bytes": png() + bytes(2**18), "path": None}] * 100, STRUCT)
    path = parquet(tmp_path / "x.parquet", images, [0] * 100, compression="zstd")
    assert os.path.getsize(path) < 5000
    assert "holds more than" in one_line(load_pixels, load_evaluation(path), Preparation(8, 8))


def test_what_a_file_declares_is_checked_before_it_is_read(tmp_path, monkeypatch):
    path = parquet(tmp_path / "x.parquet", pa.array([png(i) for i in range(100)]), list(range(100)))
    monkeypatch.setattr("squeezenet.limits.PARQUET_GROUP_BYTES", 20)
    assert "labels of" in one_line(load_evaluation, path)
    monkeypatch.setattr("squeezenet.limits.PARQUET_GROUP_BYTES", 2000)
    assert "row_group_size" in one_line(load_pixels, load_evaluation(path), Preparation(8, 8))
    monkeypatch.setattr("squeezenet.limits.PARQUET_FEW_ROWS", 10)
    monkeypatch.setattr("squeezenet.limits.PARQUET_ROWS", 99)
    assert "declares 100 rows" in one_line(load_evaluation, path)


def tar(path, files):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


@pytest.mark.parametrize("size", [-512, -1024, -1, -(2**60)])
def test_a_negative_size_does_not_go_round_for_ever(tmp_path, size):
    path = tar(tmp_path / "x.tar", [("a.png", b"x" * 512)])
    whole = bytearray(path.read_bytes())
    header = whole[:512]
    header[:5], header[124:136] = b"b.png", size.to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(whole[:1024] + header + bytes(1024))
    assert "damaged tar" in one_line(load_evaluation, str(path))


def test_the_label_of_a_shard_has_a_limit(tmp_path):
    tar(tmp_path / "x.tar", [("a.png", png()), ("a.cls", b"1" * 5000)])
    assert "a.cls has 5,000 bytes" in one_line(load_evaluation, str(tmp_path))
    tar(tmp_path / "x.tar", [("a.png", png()), ("a.json", json.dumps({"label": "a" * 2000}).encode())])
    assert "longer than 1,000" in one_line(load_evaluation, str(tmp_path))


def test_an_index_that_is_compressed_or_lies_is_not_read(tmp_path):
    path = tar(tmp_path / "x.tar", [("a.png", png()), ("a.cls", b"0")])
    write_index(tmp_path, [scan(path)])
    assert len(read_index(tmp_path)) == 1
    with zipfile.ZipFile(tmp_path / INDEX) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(tmp_path / INDEX, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    assert read_index(tmp_path) == []
    np.savez(tmp_path / INDEX, **{name[:-4]: np.load(io.BytesIO(data)) for name, data in parts.items()})
    assert len(read_index(tmp_path)) == 1
    arrays = {name[:-4]: np.load(io.BytesIO(data)) for name, data in parts.items()}
    for counts in ([2], [-1], [0]):
        np.savez(tmp_path / INDEX, **{**arrays, "counts": np.array(counts)})
        assert read_index(tmp_path) == []


def test_a_large_image_file_is_left_out(tmp_path, monkeypatch):
    shard = scan(tar(tmp_path / "x.tar", [("a.png", png())]))
    monkeypatch.setattr("squeezenet.data.shards.IMAGE_FILE", 10)
    with pytest.raises(ImageError, match="over the limit of 10"):
        ShardImages([shard])[0]


@pytest.mark.parametrize("name", ["x.parquet", "x.tar", "classes.txt"])
def test_a_pipe_is_no_data(tmp_path, name):
    if name == "classes.txt":
        tar(tmp_path / "x.tar", [("a.png", png()), ("a.cls", b"0")])
    os.mkfifo(tmp_path / name)
    with pytest.raises((DataError, OSError)) as caught:
        load_evaluation(str(tmp_path))
    assert "pipe or a device" in str(caught.value)


def tree(root, classes=("cat", "dog"), count=3):
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(png(10 * number + i))
    return root


@pytest.mark.parametrize(
    ("train", "validation"),
    [("train", "val"), ("Train", "eval"), ("training_set", "test_set"), ("train_images", "valid"), ("training", "dev")],
)
@pytest.mark.parametrize("beside", [None, "__MACOSX", "annotations", ".git", "@eaDir"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_splits_are_found_among_what_lies_beside_them(tmp_path, train, validation, beside, wrapped):
    root = tmp_path / "images" if wrapped else tmp_path
    tree(root / train)
    tree(root / validation, count=1)
    if beside:
        (root / beside).mkdir()
        (root / beside / ("notes.xml" if beside == "annotations" else "a.jpg")).write_bytes(b"no image")
    data = load_data(str(tmp_path))
    assert data.train.classes == data.validation.classes == ("cat", "dog")
    assert (len(data.train), len(data.validation)) == (6, 2)


def test_images_beside_the_splits_are_told_of(tmp_path, caplog):
    for name in ("train", "val", "more"):
        tree(tmp_path / name)
    assert load_data(str(tmp_path)).train.classes == ("cat", "dog")
    assert "more were not read" in caplog.text


def test_what_systems_leave_is_no_class_and_no_image(tmp_path, caplog):
    tree(tmp_path)
    for folder in ("__MACOSX", "@eaDir", ".thumbnails", "cat/@eaDir"):
        tree(tmp_path / folder)
    for name in ("cat/Thumbs.db", "cat/.DS_Store", "desktop.ini", "cat/._0.png", "cat/notes.txt"):
        (tmp_path / name).write_bytes(b"no image")
    examples = load_evaluation(str(tmp_path))
    assert (examples.classes, len(examples)) == (("cat", "dog"), 6)
    assert caplog.text == ""


@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_what_is_left_out_is_counted(tmp_path, caplog, kind):
    files = {"a.jfif": png(), "b.JPE": png(), "c.heic": b"ftypheic", "d.xyz": b"?", "e": b"?"}
    if kind == "folder":
        tree(tmp_path, ("dog",))
        for name, data in files.items():
            (tmp_path / "dog" / name).write_bytes(data)
    else:
        more = [(f"{i}.png", png()) for i in range(3)]
        tar(tmp_path / "x.tar", [*more, *files.items()])
    examples = load_evaluation(str(tmp_path))
    pixels = load_pixels(examples, Preparation(8, 8))
    assert (len(examples), pixels.skipped) == (6, 1)
    assert "1 .xyz" in caplog.text
    assert kind == "shards" or "1 without a suffix" in caplog.text


def test_names_that_are_not_unicode_are_packed(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    tree(tmp_path / "in", ("dog", odd))
    (tmp_path / "in" / odd / f"{odd}.png").write_bytes(b"no image")
    packed = pack(str(tmp_path / "in"), tmp_path / "out")
    assert (packed.images, packed.skipped) == (6, 1)
    examples = load_evaluation(str(tmp_path / "out"))
    assert examples.classes == load_evaluation(str(tmp_path / "in")).classes == ("caf\\udce9", "dog")
    assert "caf\\udce9.png" in (tmp_path / "out/skipped.txt").read_text()


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_headers_of_pages_tell_what_the_summary_does(tmp_path, version, compression, dictionary):
    images = pa.array([{"bytes": png(i % 200) + bytes(i), "path": f"{i}.png"} for i in range(1000)], STRUCT)
    options = {
        "data_page_version": version, "compression": compression, "use_dictionary": dictionary,
        "data_page_size": 5000, "row_group_size": 400, "write_page_checksum": True,
    }  # fmt: skip
    path = parquet(tmp_path / "x.parquet", images, [i % 7 for i in range(1000)], **options)
    meta = pq.ParquetFile(path).metadata
    with open(path, "rb") as file:
        for group in range(meta.num_row_groups):
            for number in range(3):
                column = meta.row_group(group).column(number)
                headers = column.total_uncompressed_size - decompressed_bytes(file, column)
                assert 0 < headers < 0.2 * column.total_uncompressed_size + 300


def test_a_summary_that_lies_does_not_help(tmp_path, monkeypatch):
    images = pa.array([{"bytes": bytes([i]) * 2**16, "path": None} for i in range(64)], STRUCT)
    path = parquet(tmp_path / "x.parquet", images, [0] * 64, compression="zstd")
    monkeypatch.setattr("squeezenet.limits.PARQUET_GROUP_BYTES", 2**20)
    assert "row group 0 holds 4,19" in one_line(load_pixels, load_evaluation(path), Preparation(8, 8))


@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_page_header_is_read_or_refused(junk, at):
    class Column:
        dictionary_page_offset, data_page_offset, total_compressed_size = None, 4, at

    with contextlib.suppress(DataError):
        assert decompressed_bytes(io.BytesIO(b"PAR1" + junk), Column) >= 0
