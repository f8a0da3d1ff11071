"""`squeezenet.load` and what it gives, as somebody's program uses them."""

import io
import os
import pickle
import pydoc
import subprocess
import sys
from multiprocessing import get_context

import numpy as np
import pytest
from PIL import Image

import squeezenet
from squeezenet import sqz, zoo
from squeezenet.errors import ImageError, MissingDependency, ModelError, UsageError
from squeezenet.formats import load_model, save_model
from squeezenet.runtime import Classifier, Prediction, engine
from support.pictures import encoded, picture


@pytest.fixture(scope="module")
def model() -> Classifier:
    return squeezenet.load("cifar10")


def test_importing_the_package_loads_none_of_its_parts():
    code = (
        "import squeezenet, sys; dir(squeezenet); model = squeezenet.load('cifar10')\n"
        "assert not {'numpy', 'torch', 'pandas'} & set(sys.modules)"
    )
    light = "import squeezenet, sys; assert not {'numpy', 'PIL', 'torch'} & set(sys.modules)"
    for program in (light, *[code] * bool(engine.PATHS)):
        subprocess.run([sys.executable, "-c", program], check=True)


def test_help_shows_what_the_package_is_for():
    text = pydoc.render_doc(squeezenet, renderer=pydoc.plaintext)
    assert "class Classifier" in text
    assert "load(model: str" in text
    assert set(squeezenet.__all__) <= set(dir(squeezenet))


def test_what_is_told_of_a_model(model):
    assert model.labels[:2] == ("airplane", "automobile")
    assert repr(model) == "<Classifier 'cifar10', 98,479 bytes, 10 classes, 32 x 32 RGB>"


def test_a_model_without_labels_has_numbers(tiny_model):
    from dataclasses import replace

    nameless = replace(tiny_model, labels=())
    for source in (nameless, sqz.encode(nameless)):
        assert Classifier(source).labels == tuple("0123456789")
        assert Classifier(source).classify(Image.new("L", (9, 9)), 1)[0].label in "0123456789"


@pytest.mark.parametrize("source", ["the bytes of a file", "a model"])
def test_any_number_of_threads_gives_the_same(source, tiny_model):
    given = tiny_model if source == "a model" else sqz.encode(tiny_model)
    image = picture(40, 30)
    assert Classifier(given, 10**12).classify(image) == Classifier(given, 1).classify(image)
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        Classifier(given, 0)


@pytest.mark.parametrize("source", ["the bytes of a file", "a model"])
def test_arrays_may_lie_in_memory_in_any_order(source, tiny_model):
    classifier = Classifier(tiny_model if source == "a model" else sqz.encode(tiny_model))
    images = np.random.default_rng(0).random((3, *tiny_model.graph.input_shape), np.float32)
    expected = classifier.logits(images)
    mirrored = np.ascontiguousarray(images[..., ::-1])[..., ::-1]
    for same in (np.asfortranarray(images), mirrored):
        assert np.array_equal(classifier.logits(same), expected)


def test_every_type_of_image_gives_the_same(model, tmp_path):
    file = encoded(picture(40, 30), "PNG")
    (tmp_path / "a.png").write_bytes(file)
    image = Image.open(io.BytesIO(file))
    expected = model.classify(file)
    for source in (
        str(tmp_path / "a.png"), tmp_path / "a.png", bytearray(file), memoryview(file), io.BytesIO(file), image,
        np.asarray(image),
    ):  # fmt: skip
        assert model.classify(source) == expected
    with (tmp_path / "a.png").open("rb") as opened:
        assert model.classify(opened) == expected
        several = [file, tmp_path / "a.png", opened, np.asarray(image)]
        for given in (several, tuple(several), iter(several), (each for each in several)):
            assert model.classify(given) == [expected] * 4
    assert model.classify(np.stack([np.asarray(image)] * 2), top=1) == [expected[:1]] * 2
    assert model.classify([]) == []


@pytest.mark.parametrize(
    "source",
    [7, None, object(), [7], np.zeros((8, 8, 3)), np.zeros((2, 8, 8, 3)), {1: 2}, Image.new("RGB", (0, 4))],
)
def test_what_is_no_image_is_refused_in_one_sentence(model, source):
    with pytest.raises(ImageError) as caught:
        model.classify(source)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="at least 1"):
        model.classify(Image.new("L", (8, 8)), top=0)


def test_predictions_are_a_table(model):
    pandas = pytest.importorskip("pandas")
    found = model.classify(picture(40, 30), top=3)
    table = pandas.DataFrame(found)
    assert list(table.columns) == ["label", "index", "probability"]
    assert list(table["label"]) == [prediction.label for prediction in found]
    html = type(found)([Prediction("<b>&", 7, 0.5)])._repr_html_()
    assert "<td>50.0%</td><td>&lt;b&gt;&amp;</td><td>7</td>" in html
    label, index, probability = found[0]
    assert (label, index, probability) == (found[0].label, found[0].index, found[0].probability)


def test_models_travel_between_processes_as_their_bytes(model, tiny_model):
    image = picture(40, 30)
    data = pickle.dumps(model)
    assert len(data) < 98_479 + 300
    copy = pickle.loads(data)
    assert (repr(copy), copy.classify(image)) == (repr(model), model.classify(image))
    floats = Classifier(tiny_model, name="tiny")
    assert pickle.loads(pickle.dumps(floats)).classify(image) == floats.classify(image)
    with get_context("spawn").Pool(1) as pool:
        assert pool.map(model.classify, [image]) == [model.classify(image)]


@pytest.mark.parametrize("suffix", [".sqz", ".safetensors", ".pth"])
def test_every_format_is_loaded(suffix, tiny_model, tmp_path):
    path = tmp_path / f"tiny{suffix}"
    save_model(tiny_model, path)
    image = picture(40, 30)
    expected = Classifier(load_model(path)).classify(image)
    for where in (path, str(path)):
        found = squeezenet.load(where).classify(image)
        assert [p.index for p in found] == [p.index for p in expected]
        assert found[0].probability == pytest.approx(expected[0].probability, rel=1e-4)


def test_a_run_folder_is_loaded(tiny_model, tmp_path):
    save_model(tiny_model, tmp_path / "model.safetensors")
    assert squeezenet.load(tmp_path).labels == tiny_model.labels


def test_a_sqz_file_may_have_any_name(tmp_path):
    data = (zoo.HERE / "digits.sqz").read_bytes()
    (tmp_path / "model.bin").write_bytes(data)
    assert squeezenet.load(tmp_path / "model.bin").labels == tuple("0123456789")


def test_what_cannot_be_loaded_is_told_with_its_name(tmp_path, monkeypatch):
    (tmp_path / "cut.sqz").write_bytes((zoo.HERE / "digits.sqz").read_bytes()[:999])
    (tmp_path / "a.pth").write_bytes(b"none")
    for where in ("none.sqz", "nothing", "squeezenet1_0", tmp_path / "cut.sqz", tmp_path / "a.pth", tmp_path):
        with pytest.raises(ModelError, match=os.path.basename(where)):
            squeezenet.load(where)
    monkeypatch.setitem(sys.modules, "squeezenet.formats", None)
    with pytest.raises(MissingDependency, match=r"a\.pth.*sqznet\[train\]"):
        squeezenet.load(tmp_path / "a.pth")
    with pytest.raises(ModelError, match="nothing"):
        squeezenet.load("nothing")
