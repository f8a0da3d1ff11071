"""Other people's files come in unchanged, ours go out and come back, and damaged ones are refused in one line."""

import contextlib
import json
import os
import pickle
import re
import struct
import sys
from dataclasses import replace
from math import prod
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.compression.deep_compression.codebook import share
from squeezenet.errors import MissingDependency, ModelError, SqueezeNetError, UsageError
from squeezenet.fire import paper_names
from squeezenet.formats import About, load_model, save_model
from squeezenet.formats.about import NOTHING
from squeezenet.formats.foreign import candidates
from squeezenet.formats.imagenet import imagenet_labels
from squeezenet.formats.state_dict import from_module
from squeezenet.importing import trace
from squeezenet.model import Model, Shared, Weights
from squeezenet.models import ARCHITECTURES, create_model, create_seeded, describe
from squeezenet.models.network import from_model, to_weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.reference import Runner
from squeezenet.training import run_folder

SMALL = {"base_e": 8, "incr_e": 8, "sr": 0.25, "fires": 3, "classes": 3, "in_channels": 1}
GREY = Preparation(16, 16, "stretch", "L", (120.0,), (60.0,))


def usual_preparation(name, channels):
    side = ARCHITECTURES[name].input_size
    return Preparation(side, side, "stretch", "L" if channels == 1 else "BGR", (99.0,) * channels, (60.0,) * channels)


def values(model):
    return {name: (held.weight.values(), held.bias) for name, held in model.weights.items()}


def assert_same(one, two):
    """Graph, preparation, labels and every value."""
    assert one.graph == two.graph
    assert as_float32(one.preparation) == as_float32(two.preparation)
    assert one.labels == two.labels
    ours, theirs = values(one), values(two)
    assert all(np.array_equal(a, b) for name in ours for a, b in zip(ours[name], theirs[name], strict=True))


def as_float32(preparation):
    """What images are computed with; a .sqz stores no more."""
    return {k: np.float32(v).tolist() if k in ("mean", "std") else v for k, v in preparation.to_dict().items()}


def same_logits(model, module):
    images = np.random.default_rng(0).normal(size=(2, *model.graph.input_shape)).astype(np.float32)
    with torch.inference_mode():
        expected = module.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(Runner(model)(images), expected, rtol=1e-3, atol=1e-3)


# PyTorch's state dicts


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def other(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


WRAPPED = {
    "checkpoint": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"step": 4}},
    "parallel": lambda state: {"state_dict": prefixed("module.", state)},
    "compiled": lambda state: {"model": prefixed("module._orig_mod.", state), "args": ["a", 1]},
    "lightning": lambda state: {"state_dict": prefixed("net.", state), "hyper_parameters": {"lr": 0.1}},
    "averaged": lambda state: {"n_averaged": torch.tensor(3), **prefixed("module.", state)},
    "mean and last": lambda state: {"state_dict": other(state), "state_dict_ema": state},
}
"""What programs for training write: the weights, under longer names, beside other things."""


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("squeezenet1_1", {"classes": 5}),
        ("squeezenet_32", {"classes": 10}),
        ("squeezenet_32", {"classes": 7, "in_channels": 1, "bypass": "none"}),
        ("squeezenet1_0_complex", {"classes": 4}),
        ("alexnet_32", {"classes": 6}),
    ],
)
@pytest.mark.parametrize("form", ["pth", *WRAPPED, "safetensors"])
def test_weights_under_torchvision_s_names_are_recognised(name, settings, form, tmp_path):
    module = create_seeded(name, 3, **settings)
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        safetensors.torch.save_file(module.state_dict(), path)
    else:
        torch.save(WRAPPED.get(form, dict)(module.state_dict()), path)
    about = About(usual_preparation(name, settings.get("in_channels", 3)), networks=(name,))
    model = load_model(path, about=about)
    assert model.graph.classes == settings["classes"]
    assert model.preparation == about.preparation
    assert model.labels == ()
    same_logits(model, module)


def test_the_two_alexnets_are_told_apart():
    for name in ("alexnet", "alexnet_torchvision"):
        with torch.device("meta"):
            state = create_model(name, classes=7).state_dict()
        assert candidates(state) == {name: {"in_channels": 3, "classes": 7}}


def test_the_published_file_is_known_by_its_hash_whatever_it_is_called(tmp_path, monkeypatch):
    module, path = create_seeded("squeezenet1_0", 0), tmp_path / "mine.pth"
    torch.save(module.state_dict(), path)
    with pytest.raises(ModelError, match="do not say how images are prepared"):
        load_model(path)
    entry = zoo.PUBLISHED["squeezenet1_0"]._replace(sha256=zoo.sha256(path)[:8])
    monkeypatch.setitem(zoo.PUBLISHED, "squeezenet1_0", entry)
    model = load_model(path)
    assert model.preparation == Preparation.imagenet_torchvision()
    assert model.labels == imagenet_labels()
    assert len(set(model.labels)) > 990
    assert model.parameters == 1_248_424
    same_logits(model, module)  # of squeezenet1_0, not of the network with a bypass that has the same tensors


def test_what_weights_do_not_tell_is_asked_for(tmp_path):
    path, preparation = tmp_path / "w.pth", Preparation.imagenet_caffe()
    simple = create_seeded("squeezenet1_0_simple", 0, classes=4)
    torch.save(simple.state_dict(), path)
    with pytest.raises(ModelError, match="squeezenet1_0 and squeezenet1_0_simple; say which with --network"):
        load_model(path, about=About(preparation))
    with pytest.raises(ModelError, match="not the weights of squeezenet1_1"):
        load_model(path, about=About(preparation, networks=("squeezenet1_1",)))
    with pytest.raises(ModelError, match="3 labels for 4 classes; say what they are: --labels"):
        load_model(path, about=About(preparation, ("a", "b", "c"), ("squeezenet1_0",)))
    same_logits(load_model(path, about=About(preparation, networks=("squeezenet1_0_simple",))), simple)
    graph = from_module(simple.eval(), preparation).graph
    model = load_model(path, about=About(preparation, tuple("abcd"), graph=graph))
    assert model.labels == tuple("abcd")
    same_logits(model, simple)
    other = create_seeded("squeezenet1_0_simple", 0, classes=7)  # trained on, for other classes
    torch.save(other.state_dict(), path)
    same_logits(load_model(path, about=About(preparation, graph=graph)), other)


def test_who_says_it_twice_is_stopped(tiny_model, tmp_path):
    for name in ("t.pth", "t.safetensors", "t.sqz"):
        save_model(tiny_model, tmp_path / name)
        with pytest.raises(UsageError, match="leave out"):
            load_model(tmp_path / name, about=About(GREY))


@pytest.mark.parametrize("suffix", [".sqz", ".safetensors"])
def test_a_model_comes_back_as_it_was(tiny_model, suffix, tmp_path):
    model = replace(tiny_model, provenance={"name": "tiny", "source": "a test"})
    save_model(model, tmp_path / f"a{suffix}")
    other = ".sqz" if suffix == ".safetensors" else ".safetensors"
    save_model(load_model(tmp_path / f"a{suffix}"), tmp_path / f"b{other}")
    again = load_model(tmp_path / f"b{other}")
    assert_same(again, model)
    assert again.provenance == model.provenance


def test_a_compressed_model_can_leave_as_floats(tiny_model, tmp_path):
    network = from_model(tiny_model)
    share(network, {op.name: 2 for op in tiny_model.graph.layers})
    model = replace(tiny_model, weights=to_weights(network))
    save_model(model, tmp_path / "floats.safetensors")
    assert_same(load_model(tmp_path / "floats.safetensors"), model)
    save_model(model, tmp_path / "floats.pth")
    state = torch.load(tmp_path / "floats.pth", weights_only=True)
    for name, (weight, bias) in values(model).items():
        assert np.array_equal(state[f"{name}.weight"].numpy(), weight)
        assert np.array_equal(state[f"{name}.bias"].numpy(), bias)


def test_a_run_folder_is_a_model(tmp_path):
    module = create_seeded("squeezenet_32", 1, **SMALL)
    about = describe("squeezenet_32", SMALL)
    run_folder.save_model(tmp_path / "model.safetensors", module, about, GREY, ("left", "middle", "right"), {"a": "b"})
    model = load_model(tmp_path)
    assert model.labels == ("left", "middle", "right")
    assert model.preparation == GREY
    assert_same(model, load_model(tmp_path / "model.safetensors"))
    same_logits(model, module)


def test_a_run_that_has_not_finished_is_said_to_be(tmp_path):
    with pytest.raises(ModelError, match="is training finished"):
        load_model(tmp_path)


# Damage and malice: one line each, never a traceback


class Malice:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def refused(path, about=NOTHING):
    with pytest.raises(SqueezeNetError) as caught:
        load_model(path, about=about)
    assert "\n" not in str(caught.value)
    assert str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(tmp_path, zipped):
    evidence, path = tmp_path / "it ran", tmp_path / "malice.pth"
    payload = {"classifier.1.weight": Malice(str(evidence))}
    if zipped:
        torch.save(payload, path)
    else:
        path.write_bytes(pickle.dumps(payload, 2))
    assert "the Python object" in refused(path)
    assert not evidence.exists()


GARBAGE = {
    "empty": b"",
    "one byte": b"\x80",
    "text": b"these are not the weights you are looking for\n" * 40,
    "random": np.random.default_rng(0).bytes(4000),
    "zeros": bytes(4000),
    "ones": b"\xff" * 4000,
    "zip": b"PK\x03\x04" + bytes(60),
    "pickled list": pickle.dumps([1, 2]),
    "pickled string": pickle.dumps("weights"),
    "pickled number": pickle.dumps(7, 2),
    "json": b'{"format": "pt"}',
    "huge header": struct.pack("<Q", 1 << 60) + b"{}",
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("suffix", [".sqz", ".net", ".pth", ".pt", ".safetensors"])
def test_what_is_no_model_is_refused_in_one_line(tmp_path, suffix, content):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("suffix", [".sqz", ".pth", ".safetensors"])
def test_a_file_cut_off_or_altered_is_refused_or_harmless(tiny_model, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_model(tiny_model, path)
    whole = path.read_bytes()
    for end in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:end])
        refused(path)
    random = np.random.default_rng(0)
    for _ in range(100):
        altered = bytearray(whole)
        reach = random.choice([1200, len(whole)])  # half of the blows go to the head, where the structure is
        altered[random.integers(reach)] ^= random.integers(1, 256)
        path.write_bytes(altered)
        with contextlib.suppress(ModelError):
            load_model(path)


def altered_metadata(model, path, **changes):
    save_model(model, path)
    with safetensors.safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["squeezenet"])
    about = {key: value for key, value in {**about, **changes}.items() if value is not None}
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file(state, path, {"squeezenet": json.dumps(about)})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"graph": "AAAA"}, {"graph": "not base64!"}, {"graph": 3}, {"graph": None}, {"layers": None}, {"layers": ["a"]},
        {"layers": 3}, {"labels": ["one"]}, {"labels": None}, {"provenance": None}, {"provenance": [1]},
        {"graph": None, "architecture": {"name": "nothing"}}, {"graph": None, "architecture": {"surname": "x"}},
        {"graph": None, "architecture": 7}, {"graph": None, "architecture": {"name": "squeezenet_32", "fires": "x"}},
        {"graph": None, "architecture": {"name": "squeezenet_32"}, "preparation": {"crop": 3}},
        {"graph": None, "architecture": {"name": "squeezenet_32"}, "preparation": Preparation(32, 32).to_dict()},
    ],
    ids=str,
)  # fmt: skip
def test_a_description_that_cannot_be_is_refused(tiny_model, tmp_path, changes):
    refused(altered_metadata(tiny_model, tmp_path / "odd.safetensors", **changes))


@pytest.mark.parametrize(
    "state",
    [
        {}, {"weight": torch.zeros(3)}, {"a.weight": torch.zeros(4, 3, 3, 3), "a.bias": torch.zeros(4)},
        {"epoch": 3}, [torch.zeros(3)], torch.zeros(3), {"state_dict": {"x": 1}}, {1: torch.zeros(2, 2)},
        {"a.weight": torch.zeros(0, 0, 1, 1)},
    ],
    ids=range(9),
)  # fmt: skip
def test_a_state_dict_of_something_else_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "other.pth")
    refused(tmp_path / "other.pth")


def test_what_was_found_is_said(tmp_path):
    torch.save({"epoch": 3, "history": [1.0], "loss": 0.5, "lr": 0.1, "seed": 1}, tmp_path / "log.pth")
    assert re.search(r"but epoch \(a int\), history \(a list\), .* and more", refused(tmp_path / "log.pth"))
    torch.save({"stem.conv.weight": torch.zeros(4, 3, 3, 3), "head": torch.zeros(4)}, tmp_path / "other.pth")
    assert "2 tensors, the first of them stem.conv.weight (4, 3, 3, 3), belong to none" in refused(
        tmp_path / "other.pth"
    )


def test_the_difference_to_the_network_that_is_named_is_said(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"stem.conv.weight": torch.zeros(4, 3, 3, 3)}, path)
    about = About(Preparation(32, 32), networks=("squeezenet_32",))
    assert re.search("not the weights of squeezenet_32, .* are missing, such as", refused(path, about))
    state = create_model("squeezenet_32", classes=7).state_dict()
    torch.save({**state, "bias": torch.zeros(1)}, path)
    assert "1 is unknown, such as bias" in refused(path, about)


def test_a_pickled_module_is_refused_with_what_to_do(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    line = refused(tmp_path / "whole.pth")
    assert "the Python object torch.nn.modules.linear.Linear, not weights alone" in line
    assert "torch.save(model.state_dict(), PATH)" in line


class Timm(ModuleType):
    """What `formats.libraries` uses of timm, with one network."""

    __version__ = "0"

    @staticmethod
    def is_model(name):
        return name == "little"

    @staticmethod
    def get_pretrained_cfg(name):
        return SimpleNamespace(
            classifier="3", first_conv="0", input_size=(3, 24, 24), mean=(0.5,) * 3, std=(0.25,) * 3, crop_pct=0.75,
            crop_mode="center",
        )  # fmt: skip

    @staticmethod
    def create_model(name, num_classes=1000, in_chans=3):
        flat = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(nn.Conv2d(in_chans, 4, 3), *flat, nn.Linear(4, num_classes))


def test_networks_of_timm_are_known_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", Timm("timm"))
    module = Timm.create_model("little", 7)
    torch.save({"state_dict": prefixed("model.", module.state_dict())}, tmp_path / "w.pth")
    paths = [str(tmp_path / "w.pth"), str(tmp_path / "w.sqz")]
    assert main(["convert", *paths, "--arch", "timm/little", "--like", "timm"]) == 0
    model = load_model(tmp_path / "w.sqz")
    assert model.preparation == Preparation(32, 24, "shorter", "RGB", (127.5,) * 3, (63.75,) * 3)
    same_logits(model, module)
    about = About(model.preparation, networks=("timm/little",))
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "other.pth")
    assert "2 tensors" in refused(tmp_path / "other.pth", about)
    assert "4 are missing, such as 0.weight" in refused(tmp_path / "other.pth", about)
    with pytest.raises(UsageError, match="timm 0 has no network large"):
        load_model(tmp_path / "w.pth", about=replace(about, networks=("timm/large",)))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependency, match="pip install timm"):
        load_model(tmp_path / "w.pth", about=about)


def test_what_cannot_be_written_is_said(tiny_model, tmp_path):
    with pytest.raises(UsageError, match="known are"):
        save_model(tiny_model, tmp_path / "model.h5")
    with pytest.raises(UsageError, match="squeezenet export MODEL --to onnx --out model"):
        save_model(tiny_model, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="no such folder"):
        save_model(tiny_model, tmp_path / "no" / "model.sqz")
    with pytest.raises(ModelError, match="only SqueezeNet"):
        save_model(tiny_model, tmp_path / "model.net")


# The authors' file


def slow_decode(path):
    """The layout as PAPER.md tells it, one weight at a time: layer number -> (weights, bias), both lists."""
    data = path.read_bytes()
    graph, _ = trace(create_model("squeezenet1_0"), (3, 227, 227))
    counts = struct.unpack_from("<26I", data)
    at = 4 * 26
    layers = {}
    for count, (name, shape) in zip(counts, graph.weight_shapes().items(), strict=True):
        codebook = struct.unpack_from("<256f", data, at)
        bias = struct.unpack_from(f"<{shape[0]}f", data, at + 1024)
        codes = at + 1024 + 4 * shape[0]
        gaps = codes + count
        weights = [0.0] * prod(shape)
        position = -1
        for i in range(count):
            byte = data[gaps + i // 2]
            position += (byte >> 4 if i % 2 else byte & 15) + 1
            code = data[codes + i]
            weights[position] = codebook[code] if code else 0.0
        layers[name] = weights, bias
        at = gaps + (count + 1) // 2
    assert at == len(data)
    return layers


def assert_decodes_to(model, path):
    for name, (weights, bias) in slow_decode(path).items():
        held = model.weights[name]
        assert np.array_equal(held.weight.values().ravel(), np.array(weights, np.float32))
        assert np.array_equal(held.bias, np.array(bias, np.float32))


@pytest.fixture(scope="module")
def synthetic():
    """A compressed SqueezeNet v1.0 with long gaps, empty layers and codebooks of every size."""
    random = np.random.default_rng(0)
    plain = from_module(create_seeded("squeezenet1_0", 0), Preparation.imagenet_caffe())
    weights = {}
    for i, (name, shape) in enumerate(plain.graph.weight_shapes().items()):
        size = [255, 1, 16][i % 3]
        density = [0.3, 0.02, 0.001, 0.0, 1.0][i % 5]
        indices = np.where(random.random(shape) < density, random.integers(1, size + 1, shape), 0).astype(np.uint16)
        codebook = random.normal(size=size).astype(np.float32)
        weights[name] = Weights(Shared(indices, codebook), random.normal(size=shape[0]).astype(np.float32))
    return Model(plain.graph, weights, plain.preparation, imagenet_labels())


def test_the_authors_format_there_and_back(synthetic, tmp_path):
    save_model(synthetic, tmp_path / "ours.net")
    assert_decodes_to(synthetic, tmp_path / "ours.net")
    assert_same(load_model(tmp_path / "ours.net"), synthetic)


@pytest.mark.parametrize("damage", ["short", "long", "counts", "gaps", "more than all"])
def test_a_damaged_net_is_refused(synthetic, tmp_path, damage):
    path = tmp_path / "damaged.net"
    save_model(synthetic, path)
    data = bytearray(path.read_bytes())
    if damage == "short":
        del data[-1]
    elif damage == "long":
        data.append(0)
    elif damage == "more than all":
        count = struct.unpack_from("<I", data)[0]
        struct.pack_into("<I", data, 0, count + 20_000)
        at = 4 * 26 + 1024 + 4 * 96
        data[at : at + count + (count + 1) // 2] = bytes(count + 20_000 + (count + 20_001) // 2)
    elif damage == "counts":
        data[1] ^= 1
    else:  # gaps of 15 everywhere in a full layer: its last weights would lie outside
        data[-2000:] = b"\xff" * 2000
        full = 4 * 26 + 1024 + 4 * 96 + struct.unpack_from("<I", data)[0]
        data[full : full + 2000] = b"\xff" * 2000
    path.write_bytes(data)
    refused(path)


def test_only_what_the_authors_format_holds_is_written(synthetic, tmp_path):
    simple = create_seeded("squeezenet1_0_simple", 0)
    others = {
        "preparation": replace(synthetic, preparation=replace(synthetic.preparation, channels="RGB")),
        "labels": replace(synthetic, labels=()),
        "only SqueezeNet": replace(synthetic, graph=from_module(simple.eval(), synthetic.preparation).graph),
    }
    for what, model in others.items():
        with pytest.raises(ModelError, match=what):
            save_model(model, tmp_path / "x.net")
    plain = from_module(create_seeded("squeezenet1_0", 0), synthetic.preparation, imagenet_labels())
    with pytest.raises(ModelError, match="compress the model first"):
        save_model(plain, tmp_path / "x.net")
    assert not list(tmp_path.iterdir())


def test_the_authors_model_loses_nothing_but_size(shared, tmp_path, capsys):
    official = shared / "reference" / "compressed_SqueezeNet.net"
    assert main(["convert", str(official), str(tmp_path / "official.sqz"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    model = sqz.read(tmp_path / "official.sqz")
    assert_decodes_to(model, official)
    assert said["bytes"] == (tmp_path / "official.sqz").stat().st_size <= 575_000
    assert said["parameters"] == model.parameters == 1_248_424
    assert len(model.labels) == 1000
    assert sum(held.weight.nonzero for held in model.weights.values()) == 415_921
    assert list(paper_names(model.graph).values())[:2] == ["conv1", "fire2/squeeze1x1"]

    assert main(["convert", str(tmp_path / "official.sqz"), str(tmp_path / "again.net")]) == 0
    assert_decodes_to(model, tmp_path / "again.net")
    assert (tmp_path / "again.net").stat().st_size <= official.stat().st_size
