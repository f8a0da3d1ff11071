"""Whatever `convert` writes answers, read again, as what it was made of: every model in every format.

The answers are compared bit for bit.
"""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.compression.deep_compression.codebook import share
from squeezenet.errors import ModelError
from squeezenet.formats import load_model, save_model
from squeezenet.formats.imagenet import imagenet_labels
from squeezenet.formats.state_dict import from_module
from squeezenet.model import Grid, Model, Shared, Weights
from squeezenet.models import create_seeded, describe
from squeezenet.models.network import dense, from_model, to_weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner
from squeezenet.training import run_folder
from support.integer_networks import PREPARATION, coloured_noise, little_model

CODEBOOKS = str(Path(__file__).parents[1] / "golden" / "levels_v1.sqz")
SMALL = {"base_e": 8, "incr_e": 8, "sr": 0.25, "fires": 3}
GREY = Preparation(16, 16, "stretch", "L", (120.25,), (60.1,))
RGB = Preparation(40, 32, "shorter", "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preparation(72, 64, "stretch", "BGR", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))


def trained(name, preparation, classes=3, **settings):
    """The run folder of a training whose network has just been drawn."""

    def make(folder):
        settings_ = {**settings, "classes": classes, "in_channels": len(preparation.channels)}
        module = create_seeded(name, 1, **settings_)
        labels = tuple(f"class {number} \u00e4" for number in range(classes))
        about = describe(name, settings_)
        run_folder.save_model(folder / "model.safetensors", module, about, preparation, labels, {"data": "none"})
        return folder

    return make


def trained_on(folder):
    """The run folder of a training that started from a model: it has a graph, and no name of a network."""
    model = load_model("digits")
    run_folder.save_model(folder / "model.safetensors", dense(model), None, model.preparation, model.labels, {"a": "b"})
    return folder


def authors(folder):
    """A compressed SqueezeNet v1.0 with long gaps, empty layers and codebooks of every size, as the authors' file."""
    random = np.random.default_rng(0)
    plain = from_module(create_seeded("squeezenet1_0", 0), Preparation.imagenet_caffe())
    weights = {}
    for i, (name, shape) in enumerate(plain.graph.weight_shapes().items()):
        size = [255, 1, 16][i % 3]
        density = [0.3, 0.02, 0.001, 0.1, 1.0][i % 5]
        indices = np.where(random.random(shape) < density, random.integers(1, size + 1, shape), 0).astype(np.uint16)
        codebook = (random.normal(size=size) / 30).astype(np.float32)
        weights[name] = Weights(Shared(indices, codebook), random.normal(size=shape[0]).astype(np.float32))
    save_model(Model(plain.graph, weights, plain.preparation, imagenet_labels()), folder / "authors.net")
    return folder / "authors.net"


def shared_weights(folder):
    """A file of Deep Compression: codebooks, and biases that are floats."""
    module = create_seeded("squeezenet_32", 0, **SMALL, classes=4, bypass="complex")
    network = from_model(from_module(module.eval(), RGB, tuple("abcd"), {"name": "shared"}))
    share(network, {op.name: 3 for op in network.graph.layers})
    save_model(Model(network.graph, to_weights(network), RGB, tuple("abcd")), folder / "shared.sqz")
    return folder / "shared.sqz"


def little(name):
    """Networks with operations that a SqueezeNet does not have."""

    def make(folder):
        if name == "alexnet":
            head = [nn.Flatten(), nn.Linear(72, 12), nn.ReLU(), nn.Linear(12, 5)]
            norm = [nn.LocalResponseNorm(3, alpha=0.1), nn.AvgPool2d(4)]
            module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, groups=1), nn.ReLU(), *norm, *head)
            model = from_module(module.eval(), PREPARATION, tuple("abcde"))
        else:
            model = little_model(name, coloured_noise())
        save_model(model, folder / "little.safetensors")
        return folder / "little.safetensors"

    return make


SOURCES = {
    "grey run": trained("squeezenet_32", GREY, **SMALL, bypass="none"),
    "RGB run": trained("squeezenet_32", RGB, 12, **SMALL, bypass="simple"),
    "64-pixel BGR run": trained("squeezenet_64", BGR, **SMALL, bypass="complex"),
    "normalised run": trained("squeezenet_32", RGB, **SMALL, norm="batch"),
    "depthwise": little("depthwise"),
    "linear layers and local response normalisation": little("alexnet"),
    "run from a model": trained_on,
    "authors": authors,
    "codebooks": shared_weights,
    "digits": lambda folder: zoo.find("digits"),
    "integer network": lambda folder: zoo.find("cifar10-small"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_conversion_changes_nothing(source, tmp_path, capsys):
    """From one format into the next, through all: each file answers as the first did."""
    first = path = SOURCES[source](tmp_path)
    model = load_model(path)
    images = np.random.default_rng(0).normal(0, 1, (1, *model.graph.input_shape)).astype(np.float32)
    logits = runner(model)(images)
    for number, suffix in enumerate([".pth", ".sqz", ".pt", ".safetensors", ".net", ".sqz"]):
        before, path = path, tmp_path / f"{number}{suffix}"
        code = main(["convert", str(before), str(path)])
        if suffix == ".net" and source != "authors":
            assert code == 1
            assert f": {path}: only SqueezeNet v1.0" in capsys.readouterr().err
            assert not path.exists()
            path = before
            continue
        assert code == 0
        again = load_model(path)
        assert again.labels == model.labels
        assert as_float32(again.preparation) == as_float32(model.preparation)
        assert again.scales == model.scales
        assert [type(held.weight) for held in again.weights.values()] == [
            type(held.weight) for held in model.weights.values()
        ]
        assert np.array_equal(runner(again)(images), logits)
        if suffix == ".sqz" and first.suffix == ".sqz":
            assert path.read_bytes() == sqz.encode(model)


def as_float32(preparation):
    """What images are computed with; a .sqz stores no more."""
    return {k: np.float32(v).tolist() if k in ("mean", "std") else v for k, v in preparation.to_dict().items()}


@pytest.mark.parametrize("name", ["squeezenet1_1", "squeezenet1_0_complex"])
def test_a_pth_is_a_state_dict_for_whoever_has_the_module(name, tmp_path):
    module, other = create_seeded(name, 0, classes=5).eval(), create_seeded(name, 1, classes=5).eval()
    preparation = Preparation(64, 64, "stretch", "RGB", (120.0,) * 3, (60.0,) * 3)
    save_model(from_module(module, preparation), tmp_path / "w.pth")
    other.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))
    images = torch.zeros(1, *preparation.shape)
    with torch.inference_mode():
        assert torch.equal(other(images), module(images))
    torch.save(other.state_dict(), tmp_path / "again.pth")  # trained on, perhaps: what was described is gone
    with pytest.raises(ModelError, match="do not say how images are prepared"):
        load_model(tmp_path / "again.pth")


@pytest.mark.parametrize(("name", "kind"), [(CODEBOOKS, Shared), ("cifar10-small", Grid)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_were_changed_are_not_rounded_in_silence(name, kind, suffix, tmp_path):
    path = tmp_path / f"changed{suffix}"
    assert main(["convert", name, str(path)]) == 0
    model = load_model(path)
    assert all(isinstance(held.weight, kind) for held in model.weights.values())
    weight = f"{model.graph.layers[0].name}.weight"
    if suffix == ".pth":
        state = torch.load(path, weights_only=True)
        state[weight].mul_(1.01)
        torch.save(state, path)
    else:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        state = safetensors.torch.load_file(path)
        state[weight].mul_(1.01)
        safetensors.torch.save_file(state, path, metadata)
    with pytest.raises(ModelError, match="changed after they were described"):
        load_model(path)
