"""Files of other tools that ask for far more memory or time than they have bytes are refused before any is given."""

import contextlib
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from squeezenet.cli.main import main
from squeezenet.errors import ModelError, SqueezeNetError
from squeezenet.formats import load_model, save_model
from squeezenet.models import create_model
from squeezenet.preparation import Preparation

MEMORY = 100 << 20  # bytes that a refusal may take
SECONDS = 2.0  # of CPU time, likewise
CODEBOOKS = str(Path(__file__).parents[1] / "golden" / "levels_v1.sqz")


@contextlib.contextmanager
def cheaply():
    """Neither memory nor time."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - start < SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MEMORY


def safetensors_of(description, tensors=(("x", [1], bytes(4)),)):
    header, body = {"__metadata__": {"squeezenet": json.dumps(description)}}, b""
    for name, shape, data in tensors:
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def run_folder_of(preparation=None, **settings):
    """The file of a training that describes one network and holds the tensors of none."""
    about = (preparation or Preparation(32, 32)).to_dict()
    return safetensors_of({"architecture": {"name": "squeezenet_32", **settings}, "preparation": about, "labels": []})


def huge_crop():
    settings = {"base_e": 8, "incr_e": 8, "fires": 2, "classes": 2}
    state = create_model("squeezenet_32", **settings).state_dict()
    tensors = [(name, list(value.shape), value.numpy().tobytes()) for name, value in state.items()]
    about = Preparation(6000, 6000).to_dict()
    described = {"architecture": {"name": "squeezenet_32", **settings}, "preparation": about, "labels": []}
    return safetensors_of(described, tensors)


def saved(state, **options):
    stream = BytesIO()
    torch.save(state, stream, **options)
    return stream.getvalue()


def strided(**options):
    """One float that every element of 4 GB of tensors points to."""
    with torch.device("meta"):
        shapes = {
            key: value.shape for key, value in create_model("squeezenet1_1", classes=2_000_000).state_dict().items()
        }
    one = torch.zeros(1)
    return saved({key: one.as_strided(shape, [0] * len(shape)) for key, shape in shapes.items()}, **options)


def many_views():
    """A thousand tensors that are all the same megabyte."""
    held = torch.zeros(1 << 18)
    return saved({f"layer{number}.weight": held[:] for number in range(1000)})


def deflated():
    plain, stream = zipfile.ZipFile(BytesIO(saved({"x": torch.zeros(60 << 18)}))), BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in plain.infolist():
            archive.writestr(entry.filename, plain.read(entry))
    return stream.getvalue()


def with_pickle(data):
    """An archive as torch.save writes it, with another pickle."""
    plain, stream = zipfile.ZipFile(BytesIO(saved({"x": torch.zeros(1)}))), BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for entry in plain.infolist():
            archive.writestr(entry.filename, data if entry.filename.endswith("data.pkl") else plain.read(entry))
    return stream.getvalue()


def calling(module, name, argument):
    """A pickle that calls `module.name(argument)`."""
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + pickle.dumps((argument,), 2)[2:-1] + b"R."


HOSTILE = {
    "architecture.safetensors": (lambda: run_folder_of(base_e=100_000), "not those of the network"),
    "fires.safetensors": (lambda: run_folder_of(base_e=1, incr_e=0, fires=100_000), "100000 Fire modules"),
    "fires that are a float.safetensors": (lambda: run_folder_of(fires=1e6), "Fire modules"),
    "crop.safetensors": (huge_crop, "at once"),
    "header.safetensors": (lambda: struct.pack("<Q", 1 << 40) + b"{}", "header of 1,099,511,627,776 bytes"),
    "description.safetensors": (lambda: safetensors_of({"graph": "A" * (5 << 20)}), "description of 5,2"),
    "nested.safetensors": (lambda: safetensors_of({})[:8] + b"[" * 100_000, "read safely"),
    "strided.pth": (strided, "tensors of 4,1"),
    "strided, legacy.pth": (lambda: strided(_use_new_zipfile_serialization=False), "tensors of 4,1"),
    "views.pth": (many_views, "tensors of 1,0"),
    "deflated.pth": (deflated, "compressed"),
    "bytearray.pth": (lambda: with_pickle(calling("builtins", "bytearray", 8 << 30)), "builtins.bytearray"),
    "bytearray, legacy.pth": (lambda: calling("builtins", "bytearray", 8 << 30), "builtins.bytearray"),
    "sparse.pth": (lambda: saved({"x": torch.zeros(9).to_sparse()}), "_rebuild_sparse_tensor"),
    "long pickle.pth": (lambda: with_pickle(b"\x80\x02" + b"]" * 3_000_000 + b"."), "200,000 operations"),
    "memo.pth": (lambda: with_pickle(b"\x80\x02]r\xff\xff\xff\x7f."), "no state dict"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_asks_for_more_than_it_holds_is_refused_before_it_gets_it(name, tmp_path):
    make, said = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(make())
    with cheaply(), pytest.raises(ModelError) as caught:
        load_model(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_in_which_two_entries_are_the_same_bytes_is_refused(tmp_path):
    data = bytearray(saved({"x": torch.zeros(1 << 10), "y": torch.zeros(1 << 10)}))
    listed = data.rfind(b"PK\x01\x02", 0, data.find(b"archive/data/1", data.find(b"PK\x01\x02")))
    data[listed + 24 : listed + 28] = struct.pack("<I", len(data))  # the size of an entry, as the directory has it
    data[listed + 20 : listed + 24] = struct.pack("<I", len(data))
    (tmp_path / "overlap.pth").write_bytes(data)
    with pytest.raises(ModelError, match="more than the file has bytes"):
        load_model(tmp_path / "overlap.pth")


def described(path):
    """Tensors and description of a `.safetensors` of ours."""
    with safe_open(path, "pt") as file:
        return safetensors.torch.load_file(path), json.loads(file.metadata()["squeezenet"])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cifar10-small", lambda about: about.update(scales="AAAA")),
        ("cifar10-small", lambda about: about.update(scales=about["scales"][4:])),
        ("cifar10-small", lambda about: about.update(scales=7)),
        ("cifar10-small", lambda about: about.pop("scales")),
        ("cifar10-small", lambda about: about.pop("codes")),
        ("cifar10-small", lambda about: about.update(codes=[1])),
        ("cifar10-small", lambda about: first(about).update(exponents=[])),
        ("cifar10-small", lambda about: first(about).update(exponents=[1 << 40])),
        ("cifar10-small", lambda about: first(about).update(exponents="x")),
        ("cifar10-small", lambda about: first(about).update(exponents=[e + 8 for e in first(about)["exponents"]])),
        ("cifar10-small", lambda about: first(about).update(exponents=[700 for _ in first(about)["exponents"]])),
        ("cifar10-small", lambda about: first(about).update(exponents=[-700 for _ in first(about)["exponents"]])),
        (CODEBOOKS, lambda about: first(about).update(codebook="AAAA")),
        (CODEBOOKS, lambda about: first(about).update(codebook="")),
        (CODEBOOKS, lambda about: first(about).update(codebook=first(about)["codebook"] * 2000)),
        (CODEBOOKS, lambda about: first(about).update(codebook="AADAfwAAwH8=")),
        (CODEBOOKS, lambda about: first(about).update(exponents=[1])),
        (CODEBOOKS, lambda about: about["layers"].reverse()),
    ],
    ids=range(18),
)
def test_a_description_of_other_weights_is_refused(name, change, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(load_model(name), path)
    state, about = described(path)
    change(about)
    safetensors.torch.save_file(state, path, {"squeezenet": json.dumps(about)})
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38, 1e-40])
def test_numbers_that_no_level_stands_for_are_refused(value, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(load_model("cifar10-small"), path)
    state, about = described(path)
    for name in state:
        changed = {**state, name: state[name].clone().fill_(value)}
        safetensors.torch.save_file(changed, path, {"squeezenet": json.dumps(about)})
        with pytest.raises(ModelError, match=r"m\.safetensors"):
            load_model(path)


def first(about):
    return next(iter(about["codes"].values()))


@pytest.mark.parametrize("suffix", ["", ".sqz", ".net", ".pth", ".safetensors"])
def test_nothing_waits_for_a_pipe(suffix, tmp_path, capsys, tiny_model):
    pipe, out = tmp_path / f"pipe{suffix}", tmp_path / "out.sqz"
    os.mkfifo(pipe)
    with pytest.raises((SqueezeNetError, OSError), match="pipe or a device"):
        load_model(pipe)
    assert main(["convert", str(pipe), str(out)]) != 0
    assert "pipe or a device" in capsys.readouterr().err
    save_model(tiny_model, out)
    if suffix:
        assert main(["convert", str(out), str(pipe), "--force"]) == 2
        assert pipe.is_fifo()


def test_a_full_disk_is_told_with_the_path(tiny_model, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for name in ("m.sqz", "m.pth", "m.safetensors"):
        with pytest.raises(OSError, match="No space left") as caught:
            save_model(tiny_model, tmp_path / name)
        assert caught.value.filename == str(tmp_path / name)
    assert not list(tmp_path.iterdir())
