"""Labelling an image without NumPy: the same pixels, text, logits and labels as with it, and refusals that say why."""

import json
import os
import re
import subprocess
import sys
from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import squeezenet
from squeezenet import sqz, zoo
from squeezenet.errors import FormatError
from squeezenet.graph import Conv, Flatten, GlobalAvgPool, Graph
from squeezenet.model import Model, Plain, Weights
from squeezenet.preparation import Preparation
from squeezenet.runtime import Classifier, engine
from squeezenet.runtime.classifier import softmax
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.image import open_image, prepare
from support import ROOT
from support.damage import repaired

needs_engine = pytest.mark.skipif(not PATHS, reason="the C engine was not built here")


def network(preparation: Preparation, labels: tuple[str, ...] = (), provenance: dict[str, str] | None = None) -> bytes:
    """A file with one layer of two outputs."""
    graph = Graph(preparation.shape, (Conv((0,), "conv1", 2, (1, 1)), GlobalAvgPool((1,)), Flatten((2,))))
    weight = np.random.default_rng(0).normal(0, 1, (2, preparation.shape[0], 1, 1)).astype(np.float32)
    weights = {"conv1": Weights(Plain(weight), np.zeros(2, np.float32))}
    return sqz.encode(Model(graph, weights, preparation, labels, provenance or {}))


@st.composite
def preparations(draw: st.DrawFn) -> Preparation:
    channels = draw(st.sampled_from(["RGB", "BGR", "L"]))
    mean = st.floats(-1000, 1000, width=32)
    std = st.floats(2**-10, 1000, width=32)
    crop = draw(st.integers(1, 40))
    return Preparation(
        crop + draw(st.integers(0, 9)),
        crop,
        draw(st.sampled_from(["stretch", "shorter"])),
        channels,
        tuple(draw(mean) for _ in channels),
        tuple(draw(std) for _ in channels),
    )


@needs_engine
@settings(deadline=None, max_examples=60)
@given(preparations(), st.tuples(st.integers(1, 90), st.integers(1, 90)), st.sampled_from(["RGB", "L"]))
def test_prepared_images_are_the_same_to_the_bit(preparation: Preparation, size: tuple[int, int], mode: str) -> None:
    data = network(preparation)
    stored = sqz.decode(data).preparation
    pixels = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    found = np.asarray(EngineRunner(data).prepare(image))
    assert found.tobytes() == prepare(image, stored).tobytes()


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_wide_pixels_keep_their_upper_bits(mode: str) -> None:
    wide = np.random.default_rng(0).integers(0, 65536, (20, 30))
    wide[0, :4] = 0, 255, 256, 65535
    if mode == "I":
        wide[1, :3] = -1, 70_000, -(2**31)
        image = Image.fromarray(wide.astype(np.int32))
    else:
        image = Image.frombytes(mode, (30, 20), wide.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    assert image.mode == mode
    assert np.array_equal(np.asarray(open_image(image)), np.clip(wide >> 8, 0, 255))


@needs_engine
@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8")), min_size=2, max_size=2), st.booleans())
def test_labels_are_those_that_were_written(labels: list[str], long: bool) -> None:
    labels = [label * (40 if long else 1) for label in labels]
    data = network(Preparation(2, 2), tuple(labels), {"from": "a test"})
    assert EngineRunner(data).labels == tuple(labels)


@needs_engine
@settings(deadline=None, max_examples=300)
@given(st.binary(min_size=1, max_size=6), st.integers(0, 2**31))
def test_damaged_text_is_refused_or_other_text(damage: bytes, where: int) -> None:
    file = network(Preparation(2, 2), ("tabby cat, tiger cat", "tiger"), {"key": "value " * 20})
    graph, text = (int.from_bytes(file[at : at + 4], "little") for at in (16, 20))
    at = 24 + graph + where % (text - len(damage))
    data = repaired(bytearray(file[:at] + damage + file[at + len(damage) :]))
    try:
        labels = sqz.decode(data).labels
    except FormatError:
        with pytest.raises(FormatError):
            EngineRunner(data)
    else:
        assert EngineRunner(data).labels == labels


@needs_engine
def test_the_engine_and_numpy_give_the_same_logits() -> None:
    images = np.random.default_rng(0).normal(0, 1, (3, 3, 32, 32)).astype(np.float32)
    fast, model = squeezenet.load("cifar10"), sqz.read(zoo.find("cifar10"))
    slow = Classifier(model)
    expected = np.asarray(slow.logits(images))
    for given_images in (images, array("f", images.ravel().tolist()), memoryview(images)):
        for classifier in (fast, slow):
            found = classifier.logits(given_images)
            assert found.shape == (3, 10)
            assert isinstance(found, np.ndarray if given_images is images else memoryview)
            np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.array_equal(np.asarray(fast.logits(images)), np.asarray(fast.logits(images.ravel())))
    assert sqz.encode(fast.model) == sqz.encode(slow.model)


@pytest.mark.parametrize("wrong", [np.zeros((1, 3, 32, 31), np.float32), np.zeros((1, 3, 32, 32)),
                                   np.zeros((3, 32, 32), np.float32), np.zeros(0, np.float32),
                                   np.zeros(3 * 32 * 32 + 1, np.float32)])  # fmt: skip
def test_images_of_another_shape_or_type_are_refused(wrong: np.ndarray) -> None:
    for classifier in (squeezenet.load("cifar10"), Classifier(sqz.read(zoo.find("cifar10")))):
        with pytest.raises(ValueError, match=r"reads|reshape"):
            classifier.logits(wrong)


def test_probabilities_are_those_of_the_definition() -> None:
    logits = np.random.default_rng(0).normal(0, 5, 1000)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(softmax(logits.tolist()), expected, rtol=1e-12)
    assert softmax([1e30, 0.0, -1e30]) == [1, 0, 0]


@needs_engine
def test_pixels_of_another_size_are_refused() -> None:
    network = engine._engine.Network(zoo.find("cifar10").read_bytes())
    for pixels, image in ((3071, 3072), (3072, 3073)):
        with pytest.raises(ValueError, match="buffers"):
            network.normalise(bytes(pixels), bytearray(4 * image))


# Whole processes


def classify(tmp_path, *arguments, numpy=True, engine=True):
    """A fresh `squeezenet classify`: exit code, standard output and error."""
    return run(tmp_path, "classify", *arguments, numpy=numpy, engine=engine)


def run(tmp_path, *arguments, numpy=True, engine=True):
    hidden = tmp_path / "hidden"
    (hidden / "numpy").mkdir(parents=True, exist_ok=True)
    (hidden / "numpy" / "__init__.py").write_text("raise ModuleNotFoundError('no numpy', name='numpy')")
    code = "import sys; from squeezenet.cli.main import main; sys.exit(main(sys.argv[1:]))"
    if not engine:
        code = "import sys; sys.modules['squeezenet._engine'] = None; " + code
    paths = [] if numpy else [str(hidden)]
    source = os.path.dirname(os.path.dirname(squeezenet.__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, source])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def pictures(tmp_path):
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (50, 70, 3), np.uint8))
    image.save(tmp_path / "photo.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0")
    image.convert("CMYK").save(tmp_path / "print.jpg")
    image.convert("RGBA").save(tmp_path / "cut out.png")
    image.convert("P").save(tmp_path / "palette.gif")
    image.save(tmp_path / "really a bitmap.jpg", "BMP")
    Image.fromarray(random.integers(0, 65536, (30, 30), np.uint16)).save(tmp_path / "scan.tiff")
    (tmp_path / "text.jpg").write_text("not an image")
    return sorted(path for path in tmp_path.iterdir() if path.suffix)


def without_times(out):
    result = json.loads(out)
    for one in result["results"]:
        one.pop("milliseconds", None)
    return result


@needs_engine
def test_without_numpy_everything_is_the_same(tmp_path, pictures):
    for model in ("cifar10", ROOT / "tests" / "golden" / "levels_v1.sqz"):  # of integers; of codebooks
        given = ("--model", model, "--json", *pictures)
        code, out, err = classify(tmp_path, *given)
        assert (code, err) == (1, "")  # one is no image
        again = classify(tmp_path, *given, numpy=False)
        assert (again[0], again[2]) == (code, err)
        assert without_times(again[1]) == without_times(out)
        assert [r.get("error") for r in without_times(out)["results"]].count(None) == len(pictures) - 1


def test_without_the_engine_numpy_gives_the_same_labels(tmp_path, pictures):
    given = ("--model", "digits", *pictures)
    (code, out, err), expected = (classify(tmp_path, *given, engine=engine) for engine in (False, True))
    untimed = [re.sub(r"  [0-9.]+ ms$", "", text, flags=re.MULTILINE) for text in (out, expected[1])]
    assert (code, untimed[0], err) == (expected[0], untimed[1], expected[2])


def test_without_both_one_line_says_what_to_do(tmp_path, pictures):
    code, out, err = classify(tmp_path, pictures[0], numpy=False, engine=False)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "C compiler" in err
    assert "sqznet[numpy]" in err


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (("train", "--data", "digits", "--out", "run"), "train"),
        (("evaluate", "digits", "--data", "digits"), "train"),
        (("convert", "digits", "d.net"), "train"),
        (("inspect", "digits"), "numpy"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_without_numpy_one_line_says_all_that_the_verb_needs(tmp_path, command, extra):
    code, out, err = run(tmp_path, *command, numpy=False)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"pip install 'sqznet[{extra}]'" in err


@needs_engine
def test_a_name_that_is_near_another_is_told_without_numpy(tmp_path, pictures):
    code, out, err = classify(tmp_path, "--model", "imagnet", pictures[0], numpy=False)
    assert (code, out) == (2, "")
    assert err == "squeezenet classify: imagnet: no such file, run folder or model; did you mean imagenet?\n"


@needs_engine
def test_a_damaged_model_is_named_without_numpy(tmp_path, pictures):
    whole = zoo.find("digits").read_bytes()
    flipped = bytearray(whole)
    flipped[-9] ^= 1
    for data, said in ((b"GIF89a", "not a .sqz file"), (whole[:-1], "too early"), (flipped, "not the bytes")):
        (tmp_path / "bad.sqz").write_bytes(data)
        code, out, err = classify(tmp_path, "--model", tmp_path / "bad.sqz", pictures[0], numpy=False)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
