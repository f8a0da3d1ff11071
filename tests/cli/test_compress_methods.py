"""The methods of `compress`: what each gives, how they compose, and options that do not fit one."""

import re

import pytest

from squeezenet import sqz
from squeezenet.fire import paper_names


@pytest.mark.parametrize(
    ("method", "options", "bits"),
    [
        ("svd", ["--rank", "ratio=2"], 32),
        ("prune", ["--density", 0.3], 32),
        ("svd+prune", ["--rank", "energy=0.6", "--density", 0.5], 32),
        ("deep-compression+svd", ["--rank", 0.3, "--density", 0.5, "--bits", 4], 4),  # the order is ours
    ],
)
def test_methods_compose(said, tiny, tiny_model, tmp_path, method, options, bits):
    out = tmp_path / "small.sqz"
    squeezed = said("compress", tiny, "--method", method, *options, "--out", out)
    layers = {layer["key"]: layer for layer in said("inspect", out)["layers"] if layer["parameters"]}
    assert max(layer["bits"] for layer in layers.values()) == bits
    assert squeezed["method"] == method
    assert squeezed["bytes"] == out.stat().st_size
    if "svd" in method:
        assert squeezed["parameters"] < tiny_model.parameters
        assert any(name.endswith("/up") for name in layers)
    else:
        assert squeezed["parameters"] == tiny_model.parameters
    if method == "svd":
        assert squeezed["parameters"] <= tiny_model.parameters / 2
        assert squeezed["density"] == 1
    elif method == "prune":
        assert squeezed["density"] == pytest.approx(0.3, abs=0.02)
    elif "0.5" in map(str, options):
        assert squeezed["density"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("options", "largest"),
    [
        (["--max-bytes", 5000, "--epochs", 0], 5000),
        (["--max-bytes", 4000, "--epochs", 0.2, "--data", "digits", "--limit", 64], 4000),
        (["--max-loss", 60, "--epochs", 1, "--data", "digits", "--limit", 64], 10_000),
    ],
)
def test_squeeze_keeps_its_promise(said, tiny, tmp_path, options, largest):
    """Bytes, or points of top-1; and the file is an integer network that every verb reads."""
    out = tmp_path / "s.sqz"
    squeezed = said("compress", tiny, "--method", "squeeze", "--out", out, *options)
    assert squeezed["bytes"] == out.stat().st_size <= largest
    if "--max-loss" in options:
        assert squeezed["top1_after"] >= squeezed["top1_before"] - 60
    assert not (tmp_path / "s.sqz.work").exists()
    assert sqz.read(out).scales
    assert said("inspect", out)["parameters"] == squeezed["parameters"]
    assert said("evaluate", out, "--data", "digits", "--limit", 20)["images"] == 20
    floats = said("convert", out, tmp_path / "f.safetensors")
    assert floats["parameters"] == squeezed["parameters"]


def test_squeeze_reports_what_each_size_and_layer_costs(said, tiny, tmp_path):
    out, page = tmp_path / "s.sqz", tmp_path / "s.html"
    settings = ("--max-bytes", 4000, "--data", "digits", "--limit", 64, "--report", page)
    squeezed = said("compress", tiny, "--method", "squeeze", "--out", out, *settings)
    text = page.read_text()
    assert f"in {squeezed['bytes']:,} bytes" in text
    assert f"{squeezed['top1_after']:.2f}%" in text
    assert text.count("by rounding alone") >= 3
    assert all(f"<td>{name}</td>" in text for name in paper_names(sqz.read(out).graph).values())
    assert not re.search(r"<script|<img|<link|url\((?!#)|src=", text)  # nothing to fetch


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--bits", "0"), ("--bits", "six"), ("--bits", "8,5,3"), ("--bits", "13"), ("--bits", "-3"),
        ("--density", "0"), ("--density", "1.1"), ("--density", "most"), ("--density", "sensitivity=0.3"),
        ("--density", "paper"), ("--density", "nan"), ("--out", "nowhere/x.sqz"), ("--out", "x.pth"),
        ("--method", "magic"), ("--method", "svd+"), ("--method", ""), ("--rank", "ratio=2"), ("--rank", "0.5"),
    ],
)  # fmt: skip
def test_compress_refuses_what_cannot_be(refused, tiny, tmp_path, option, value):
    options = {"--out": tmp_path / "x.sqz", option: value}
    assert refused("compress", tiny, *(f"{key}={value}" for key, value in options.items()))[0] == 2
    assert not (tmp_path / "x.sqz").exists()


def test_a_size_that_nothing_fits_into_is_refused_before_images_are_read(refused, tiny, tmp_path):
    options = ("--data", tmp_path / "nowhere", "--out", tmp_path / "x.sqz")
    code, line = refused("compress", tiny, "--max-bytes", 60, *options)
    assert (code, "graph, names and labels alone are" in line) == (2, True)


@pytest.mark.parametrize(
    ("method", "option", "value"),
    [
        ("svd", "--rank", "0"), ("svd", "--rank", "ratio=0.5"), ("svd", "--rank", "energy=x"), ("svd", "--rank", "1"),
        ("svd", "--rank", "ratio=1000"), ("svd", "--rank", "most=1"), ("svd", "--density", "0.5"),
        ("svd", "--bits", "6"), ("svd", "--set", "pruning.epochs=1"), ("prune", "--bits", "6"),
        ("prune", "--rank", "0.5"), ("prune", "--set", "sharing.initialisation=random"),
        ("svd+prune", "--set", "sharing.epochs=1"), ("prune", "--density", "keep"), ("svd", "--report", "r.html"),
        ("deep-compression", "--set", "low_rank.epochs=1"), ("squeeze", "--set", "learning.lr=0.1"),
        ("squeeze", "--set", "lerning=0.1"), ("squeeze", "--set", "objective=love"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_with_the_method(refused, tiny, tmp_path, method, option, value):
    code, line = refused("compress", tiny, "--out", tmp_path / "x.sqz", "--method", method, option, value)
    assert code == 2
    assert value.partition("=")[0] in line if option == "--set" else option.strip("-") in line
    assert not (tmp_path / "x.sqz").exists()
