"""`squeezenet convert`: what it asks for, what it refuses to overwrite, where labels come from."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from squeezenet import zoo
from squeezenet.cli.main import main
from squeezenet.formats import load_model, save_model
from squeezenet.formats.imagenet import imagenet_labels
from squeezenet.formats.state_dict import from_module
from squeezenet.models import create_seeded
from squeezenet.preparation import Preparation

SMALL = {"base_e": 8, "incr_e": 8, "sr": 0.25, "fires": 3}
PREPARED = ["--resize", "40", "--crop", "32", "--fit", "shorter", "--channels", "BGR", "--mean", "104,117,123.5"]


@pytest.fixture
def said(capsys):
    def run(*command):
        """Exit code and what was said on stderr, which is one line."""
        capsys.readouterr()
        try:
            code = main(["convert", *map(str, command)])
        except SystemExit as exit:
            code = exit.code
        error = capsys.readouterr().err
        assert error.count("\n") == (code != 0)
        return code, error

    return run


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The state dict of a network for three classes of 32 x 32 pixels, as anybody saves it."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(create_seeded("squeezenet_32", 0, classes=3).state_dict(), path)
    return path


# What weights alone do not say


def test_weights_alone_are_converted_once_all_is_said(weights, said, tmp_path):
    out = tmp_path / "out.sqz"
    code, line = said(weights, out)
    assert code == 1
    assert "--like" in line
    code, line = said(weights, out, *PREPARED)
    assert code == 2
    assert line.startswith("squeezenet convert: --std missing: they say")
    code, line = said(weights, out, *PREPARED, "--std", "1,1")
    assert code == 2
    assert "BGR needs 3" in line
    assert said(weights, out, *PREPARED, "--std", "1,one,1")[0] == 2
    assert said(weights, out, *PREPARED, "--std", "1,1,2", "--network", "squeezenet_32") == (0, "")
    model = load_model(out)
    assert model.preparation == Preparation(40, 32, "shorter", "BGR", (104.0, 117.0, 123.5), (1.0, 1.0, 2.0))
    assert model.labels == ()


def test_another_model_says_how_images_are_prepared_and_what_classes_are_called(weights, said, tmp_path):
    preparation = Preparation(40, 32, "shorter", "BGR", (104.0, 117.0, 123.5), (1.0, 2.0, 1.0))
    like, out = tmp_path / "like.pth", tmp_path / "out.safetensors"
    save_model(from_module(create_seeded("squeezenet_32", 1, classes=3), preparation, ("a", "b", "c")), like)
    assert said(weights, out, "--like", like) == (0, "")
    model = load_model(out)
    assert model.preparation == preparation
    assert model.labels == ("a", "b", "c")
    code, line = said(weights, out, "--like", like, "--mean", "1,1,1")
    assert code == 2
    assert "--like and --mean" in line
    code, line = said(weights, out, "--like", "digits")
    assert code == 1
    assert str(weights) in line
    code, line = said(like, out, "--like", like)
    assert code == 2
    assert "leave out --like" in line


@pytest.mark.parametrize("classes", [4, 1000])
def test_torchvision_s_transforms_have_a_name(said, tmp_path, classes):
    path, out = tmp_path / "tuned.pth", tmp_path / "out.safetensors"
    torch.save(create_seeded("squeezenet1_0", 0, classes=classes).state_dict(), path)
    assert said(path, out, "--like", "torchvision") == (0, "")
    model = load_model(out)
    assert model.preparation.crop == 224
    assert model.labels == (imagenet_labels() if classes == 1000 else ())


# Labels


@pytest.mark.parametrize(
    ("content", "code", "what"),
    [
        (b"\xef\xbb\xbfcat\r\ndog\r\nbird\r\n", 0, ("cat", "dog", "bird")),
        ("gr\u00fcner Specht\n\u732b\nthe bird\n\n".encode(), 0, ("gr\u00fcner Specht", "\u732b", "the bird")),
        (b"cat\ndog\n", 2, "2 names for 3 classes"),
        (b"cat\n\ndog\nbird\n", 2, "line 2 is empty"),
        (b"cat\nd\x1b[2Kog\nbird\n", 2, r"line 2 is d\x1b[2Kog"),
        (b"\xff\xfec\0a\0t\0", 2, "UTF-8"),
        (b"", 2, "line 1 is empty"),
    ],
    ids=["byte order mark", "Unicode", "too few", "empty line", "escape", "UTF-16", "nothing"],
)  # fmt: skip
def test_labels_are_one_name_a_line(said, tmp_path, content, code, what):
    model, names, out = tmp_path / "model.sqz", tmp_path / "names.txt", tmp_path / "out.sqz"
    preparation = Preparation(32, 32, "stretch", "RGB")
    save_model(from_module(create_seeded("squeezenet_32", 0, **SMALL, classes=3), preparation), model)
    names.write_bytes(content)
    found, line = said(model, out, "--labels", names)
    assert found == code
    if code == 0:
        assert load_model(out).labels == what
    else:
        assert str(names) in line
        assert what in line
        assert not out.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a\nb\nc\n", ""),
        ("b\na\nc\n", "the model's own names in another order; class 0 was a and is now called b"),
        ("x\ny\nx\n", "lines 1 and 3 are both x"),
        ("x\ny\nz\n", ""),
    ],
)
def test_labels_that_look_like_a_mistake_are_taken_with_a_warning(said, tmp_path, caplog, content, told):
    model, names, out = tmp_path / "model.sqz", tmp_path / "names.txt", tmp_path / "out.sqz"
    module = create_seeded("squeezenet_32", 0, **SMALL, classes=3)
    save_model(from_module(module, Preparation(32, 32, "stretch", "RGB"), ("a", "b", "c")), model)
    names.write_text(content)
    assert said(model, out, "--labels", names)[0] == 0
    assert load_model(out).labels == tuple(content.split())
    assert [told in record.message for record in caplog.records] == [True] * bool(told)


def test_labels_that_are_missing_are_said_to_be(said, tmp_path):
    code, line = said("digits", tmp_path / "out.sqz", "--labels", tmp_path / "none.txt")
    assert code == 2
    assert "none.txt: No such file" in line


# What convert overwrites


@pytest.mark.parametrize("suffix", [".sqz", ".pth", ".pt", ".safetensors"])
def test_what_convert_wrote_it_writes_again(said, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert said("digits", out) == (0, "")
    first = out.read_bytes()
    for _ in range(4):  # safetensors itself writes metadata in an order of chance
        assert said("digits", out) == (0, "")
        assert out.read_bytes() == first


def foreign_safetensors(path):
    safetensors.torch.save_file({"squeezenet.weight": torch.zeros(3)}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("photo.sqz", lambda path: path.write_bytes(b"\xff\xd8\xff\xe0 a photograph")),
        ("empty.sqz", lambda path: path.write_bytes(b"")),
        ("theirs.pth", lambda path: torch.save({"squeezenet.weight": torch.zeros(3)}, path)),
        ("old.pth", lambda path: torch.save({"x": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)),
        ("text.pth", lambda path: path.write_text("these are my notes")),
        ("theirs.safetensors", foreign_safetensors),
        ("model.pth", lambda path: shutil.copy(zoo.find("digits"), path)),
        ("link.sqz", lambda path: path.symlink_to(__file__)),
    ],
)
def test_what_others_wrote_is_replaced_only_by_force(said, tmp_path, name, make):
    out = tmp_path / name
    make(out)
    before = out.read_bytes()
    code, line = said("digits", out)
    assert code == 2
    assert line == f"squeezenet convert: {out}: exists, and squeezenet did not write it; pass --force to replace it\n"
    assert out.read_bytes() == before
    assert said("digits", out, "--force") == (0, "")
    assert load_model(out).labels == load_model("digits").labels


def test_a_folder_is_no_file_to_write(said, tmp_path):
    assert said("digits", tmp_path, "--force")[0] == 2
    code, line = said("digits", tmp_path / "no" / "out.sqz")
    assert code == 2
    assert "no such folder" in line


def test_a_path_from_a_stranger_stays_on_its_line(said, tmp_path):
    odd = tmp_path / "a\x1b[2K\nb.pth"
    odd.write_bytes(b"nothing")
    code, line = said(odd, tmp_path / "out.sqz")
    assert code == 1
    assert "\x1b" not in line


def test_a_run_folder_and_its_conversions_have_one_accuracy(tmp_path, capsys):
    """Through training, as a user does it."""
    recipe = ["--recipe", "modern", "--epochs", "1", "--max-images", "200", "--image-size", "16"]
    network = ["--model", "squeezenet_32", "--set", "base_e=8", "--set", "fires=2", "--set", "bypass=simple"]
    assert main(["train", "--data", "digits", "--out", str(tmp_path / "run"), *recipe, *network]) == 0
    top1 = set()
    for name in ("run", "r.pth", "r.sqz", "r.safetensors"):
        if name != "run":
            assert main(["convert", str(tmp_path / "run"), str(tmp_path / name)]) == 0
        capsys.readouterr()
        assert main(["evaluate", str(tmp_path / name), "--data", "digits", "--limit", "100", "--json"]) == 0
        top1.add(json.loads(capsys.readouterr().out)["top1"])
    assert len(top1) == 1
