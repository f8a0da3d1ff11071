"""Names of models, and that what ships keeps its claims."""

import json
import re
import sys
from argparse import ArgumentParser
from dataclasses import replace
from importlib.resources import files

import pytest

import squeezenet
from squeezenet import sqz, zoo
from squeezenet.architectures import ARCHITECTURES
from squeezenet.cli import compress, compress_recipe
from squeezenet.cli.main import main
from squeezenet.zoo import PUBLISHED, SHIPPED
from support import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty one."""
    monkeypatch.setenv("SQUEEZENET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Names


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert zoo.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SQUEEZENET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert zoo.cache_folder() == tmp_path / "xdg" / "squeezenet"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert zoo.cache_folder() == tmp_path / "home" / ".cache" / "squeezenet"


def test_what_lies_there_comes_before_a_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shipped = zoo.find("digits")
    assert shipped.is_absolute()
    (tmp_path / "digits").mkdir()  # images, say
    assert zoo.find("digits") == shipped
    for of_a_run in ("config.json", "model.safetensors"):  # one that has begun, one that is done
        (tmp_path / "digits" / of_a_run).touch()
        assert zoo.find("digits").resolve() == tmp_path / "digits"
        (tmp_path / "digits" / of_a_run).unlink()
    assert str(zoo.find("squeezenet1_0")) == "squeezenet1_0"
    assert str(zoo.find("nothing.sqz")) == "nothing.sqz"


def test_a_model_that_ships_needs_no_file_and_no_workshop(monkeypatch, tmp_path, capsys):
    from PIL import Image

    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20), 40).save("grey.png")
    monkeypatch.setattr(zoo, "DEFAULT", "digits")
    (tmp_path / "digits").write_text("of no interest where no model is named")
    assert main(["classify", "grey.png", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["model"] == "digits"
    (tmp_path / "digits").unlink()
    assert [p["label"] for p in one["predictions"]] == [p.label for p in squeezenet.load("digits").classify("grey.png")]
    assert main(["classify", "--model", "digits", "grey.png", "grey.png", "--json"]) == 0
    two = json.loads(capsys.readouterr().out)
    assert two["model"] == "digits"
    assert [r["predictions"] for r in two["results"]] == 2 * [one["predictions"]]
    assert main(["classify", "grey.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "model: digits"


# What ships, and what is said about it


def test_every_name_has_a_card(capsys):
    for name in [*SHIPPED, *PUBLISHED]:
        assert main(["models", name, "--json"]) == 0
        card = json.loads(capsys.readouterr().out)["card"]
        assert card == files("squeezenet.zoo").joinpath(f"{name}.md").read_text(encoding="utf-8")
        assert card.startswith(f"# {name}\n")
        for word in ("**Data.**", "**Recipe", "ardware", "| accuracy |", "| bytes |", "**Limits.**"):
            assert word in card, f"{name}: {word}"
        assert main(["models", name]) == 0
        assert capsys.readouterr().out.strip() == card.strip()
    assert main(["models", "digit"]) == 2
    assert "did you mean digits?" in capsys.readouterr().err
    assert main(["models", "resnet50"]) == 2
    assert "`squeezenet models` lists names" in capsys.readouterr().err


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_published_is_pinned(name):
    entry, card = PUBLISHED[name], zoo.card(name)
    assert entry.name == name
    assert entry.url.startswith("https://")
    assert re.fullmatch("[0-9a-f]{8}|[0-9a-f]{64}", entry.sha256)
    assert f"-{entry.sha256[:8]}.pth" in entry.file  # torchvision's own short hash
    assert entry.url in card
    assert entry.sha256 in card
    assert f"{entry.top1}% top-1" in card
    assert entry.bytes is None or f"| {entry.bytes:,} " in card


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_as_large_as_is_said(name):
    entry, card = SHIPPED[name], zoo.card(name)
    data = files("squeezenet.zoo").joinpath(f"{name}.sqz").read_bytes()
    assert entry.name == name
    assert len(data) == entry.bytes
    again = sqz.encode(sqz.read(zoo.find(name)))
    assert len(again) <= len(data)  # a file from an earlier writer may have become smaller
    assert sqz.encode(sqz.decode(again)) == again
    assert f"| {entry.bytes:,}:" in card
    assert f"| {entry.top1:.2f}% top-1" in card
    assert f"| {sqz.read(zoo.find(name)).parameters:,}" in card


def test_imagenet_labels_an_image_where_no_model_is_named(tmp_path, capsys):
    from PIL import Image

    picture = tmp_path / "sky.png"
    Image.linear_gradient("L").save(picture)
    assert zoo.DEFAULT == "imagenet"
    assert main(["classify", str(picture), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == "imagenet"
    labels = sqz.read(zoo.find("imagenet")).labels
    assert len(labels) == 1_000
    assert [labels[p["index"]] for p in said["predictions"]] == [p["label"] for p in said["predictions"]]


def test_the_terms_of_imagenet_lie_beside_it():
    terms = files("squeezenet.zoo").joinpath("imagenet.LICENSE").read_text(encoding="utf-8")
    assert "Redistributions in binary form must reproduce" in terms
    credits = files("squeezenet.zoo").joinpath("imagenet.CREDITS").read_text(encoding="utf-8").splitlines()
    assert "CC BY 2.0" in credits[1]
    assert len(credits) > 600
    small = files("squeezenet.zoo").joinpath("imagenet-small.LICENSE").read_text(encoding="utf-8")
    assert small == terms
    assert SHIPPED["imagenet"].bytes <= 350_000
    assert SHIPPED["imagenet-small"].bytes <= 243_800


@pytest.mark.parametrize(("name", "max_bytes"), [("imagenet", 348_170), ("imagenet-small", 244_100)])
def test_all_commands_on_a_card_ask_for_the_same(name, max_bytes, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = re.findall(r"`squeezenet (compress\s[^`]+)`", zoo.card(name))
    parser = ArgumentParser()
    compress.configure(parser)
    by_recipe, by_options, by_file = (
        replace(compress_recipe.asked(parser.parse_args(each.split()[1:])).recipe, data=None, images=None)
        for each in commands
    )
    assert by_recipe.max_bytes == max_bytes
    assert by_recipe == by_options == by_file


def test_digits_scores_what_its_card_says(capsys):
    assert main(["evaluate", "digits", "--data", "digits", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert f"{measured['top1']:.2f}% top-1 of {measured['images']} test images" in zoo.card("digits")
    assert measured["bytes"] == SHIPPED["digits"].bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "images"),
    [
        ("imagenet", "imagenet-sample.parquet", 1_000),
        ("imagenet-small", "imagenet-sample.parquet", 1_000),
        ("cifar10", "cifar10-test.parquet", 10_000),
        ("cifar10-small", "cifar10-test.parquet", 10_000),
    ],
)
def test_what_ships_scores_what_its_card_says(name, data, images, shared, capsys):
    assert main(["evaluate", name, "--data", str(shared / "data" / data), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["images"] == images
    assert measured["top1"] == pytest.approx(SHIPPED[name].top1, abs=0.05)  # sums round otherwise elsewhere
    assert measured["bytes"] == SHIPPED[name].bytes


def test_models_needs_no_workshop_and_no_time(monkeypatch, capsys):
    for name in ("torch", "numpy", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)
    zoo.cache_folder().mkdir()
    zoo.cached(PUBLISHED["alexnet"]).touch()
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "digits" in out
    assert re.search(r"^alexnet .* yes ", out, re.MULTILINE)
    assert all(name in out for name in ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_networks_cost_is_counted_again(name):
    from squeezenet.formats import load_model

    model, told = load_model(name, random_weights=0), ARCHITECTURES[name]
    assert (model.parameters, sum(model.graph.macs())) == (told.parameters, told.macs)
    assert model.graph.input_shape == (3, told.input_size, told.input_size)
