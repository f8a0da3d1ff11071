"""Images that are not square, from training and squeezing to classification."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from squeezenet import sqz
from squeezenet.cli.arguments import sides
from squeezenet.cli.main import main
from squeezenet.compression import CompressionRecipe, compress
from squeezenet.compression.squeeze.synthetic import synthetic_images
from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation, augment, draw, finish, network_input
from squeezenet.data.decoder import training_pixels
from squeezenet.errors import UsageError
from squeezenet.formats import load_model, save_model
from squeezenet.formats.state_dict import from_module
from squeezenet.graph import Flatten, GlobalAvgPool, Graph
from squeezenet.model import Model
from squeezenet.preparation import Preparation, size_of, spelled
from squeezenet.runtime import Classifier
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.runtime.image import normalise, pixels, prepare
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.run import runner
from squeezenet.sqz import costs, graphs
from squeezenet.sqz.cursor import Cursor
from squeezenet.training.job import Job, read_job, to_toml
from squeezenet.training.recipe import MODERN
from squeezenet.training.transfer import resized
from support.integer_networks import conv
from support.pictures import encoded, picture

WIDE = Preparation((18, 40), (16, 36), "shorter", "BGR", (120.0, 110.0, 100.0), (60.0, 60.0, 62.0))


def photographs(count: int = 40) -> Pixels:
    images = synthetic_images(count, replace(WIDE, mean=(0.0,) * 3, std=(1.0,) * 3)).numpy()
    return Pixels(images.round().astype(np.uint8), None, np.arange(count))


@pytest.fixture(scope="module")
def model() -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            conv(3, 8, stride=2), conv(8, 12), nn.AvgPool2d((1, 3)), nn.Flatten(), nn.Linear(12 * 8 * 6, 4)
        )
        module.train()(torch.from_numpy(normalise(photographs().images, WIDE)))
    return from_module(module.eval(), WIDE, ("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def squeezed(model: Model) -> bytes:
    return compress(model, photographs(), CompressionRecipe(max_bytes=model.float32_bytes // 4 + 400)).data


def test_a_size_is_one_number_or_two() -> None:
    for text, size in (("48x192", (48, 192)), ("192x48", (192, 48)), ("64x64", 64), ("64", 64), (64, 64)):
        assert size_of(text) == size
        assert size_of(spelled(size)) == size
    for wrong in ("", "0", "48x", "48x0", "1x2x3", "-4", "wide"):
        with pytest.raises(ValueError, match="a size is"):
            size_of(wrong)
    assert sides("48x192") == (48, 192)
    assert Preparation((64, 64), (48, 48)) == Preparation(64, 48)


@pytest.mark.parametrize(("resize", "crop"), [((10, 20), (11, 20)), ((10, 20), (10, 21)), (20, (10, 21))])
def test_a_crop_fits_into_the_image(resize: tuple[int, int], crop: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Preparation(resize, crop)


def test_what_is_not_square_takes_two_more_numbers() -> None:
    graph = Graph(WIDE.shape, (GlobalAvgPool((0,)), Flatten((1,))))
    packed = graphs.pack(graph, WIDE)
    assert packed[:6] == bytes([18, 16, 3, 1, 40, 36])
    assert graphs.unpack(Cursor(packed, "graph")) == (graph, WIDE)
    square = replace(WIDE, resize=18, crop=16)
    assert graphs.pack(replace(graph, input_shape=square.shape), square) == bytes([18, 16, 1, 1]) + packed[6:]


# Running


def test_every_runner_gives_the_same_logits(squeezed: bytes) -> None:
    model = sqz.decode(squeezed)
    assert model.preparation == WIDE
    x = normalise(photographs(3).images, WIDE)
    expected = IntegerRunner(model)(x)
    for path in PATHS:
        assert np.array_equal(EngineRunner(squeezed, 2, path)(x), expected)


@pytest.mark.skipif(not PATHS, reason="the C engine was not built here")
@pytest.mark.parametrize("size", [(90, 31), (20, 300), (36, 16), (700, 10)])
def test_the_engine_sees_what_training_sees(size: tuple[int, int], squeezed: bytes) -> None:
    image = picture(*size)
    seen = np.array(EngineRunner(squeezed).prepare(image), np.float32).reshape(WIDE.shape)
    assert np.array_equal(seen, prepare(image, WIDE))


def test_memory_counts_the_resized_image(model: Model) -> None:
    taller = costs.memory(model.graph, (36, 40)) - costs.memory(model.graph, (18, 40))
    assert taller == 4 * 18 * 40


def test_classify_and_inspect_tell_the_size(
    squeezed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, image = tmp_path / "wide.sqz", tmp_path / "image.png"
    path.write_bytes(squeezed)
    picture(80, 30).save(image)
    assert main(["classify", "--model", str(path), str(image), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    logits = runner(sqz.decode(squeezed))(prepare(image, WIDE)[None])[0]
    assert found[0]["index"] == logits.argmax()
    assert "16 x 36 BGR" in repr(Classifier(squeezed))
    assert main(["inspect", str(path)]) == 0
    assert "3x16x36 BGR images, shorter to 18x40, crop 16x36" in capsys.readouterr().out


# Squeezing


def test_it_survives_squeezing(model: Model, squeezed: bytes) -> None:
    x = normalise(photographs(60).images[40:], WIDE)
    wanted, given = runner(model)(x), runner(sqz.decode(squeezed))(x)
    assert np.corrcoef(wanted.ravel(), given.ravel())[0, 1] > 0.98


def test_it_is_squeezed_without_images(model: Model) -> None:
    assert synthetic_images(2, WIDE).shape == (2, 3, 16, 36)
    compressed = compress(model, None, CompressionRecipe(max_bytes=model.float32_bytes // 4 + 400))
    x = normalise(photographs(60).images[40:], WIDE)
    assert np.corrcoef(runner(model)(x).ravel(), runner(compressed.model)(x).ravel())[0, 1] > 0.95


# Training


def test_training_sees_nearly_what_classification_sees() -> None:
    for size in ((90, 31), (40, 60), (144, 64)):
        for source in (encoded(picture(*size), "JPEG", quality=95), encoded(picture(*size), "PNG")):
            difference = training_pixels(source, WIDE).astype(int) - prepare_bytes(source)
            assert np.abs(difference).max() <= 3


def prepare_bytes(source: bytes) -> np.ndarray:
    from squeezenet.runtime.image import open_image

    return pixels(open_image(source), WIDE).astype(int)


@pytest.mark.parametrize("how", [Augmentation(), Augmentation(pad=2), Augmentation(area=0.3), Augmentation(rotate=9)])
def test_augmentation_gives_the_size_of_the_crop(how: Augmentation) -> None:
    images = torch.randint(0, 256, (5, 3, 18, 40), dtype=torch.uint8)
    draws = draw(5, torch.Generator().manual_seed(0))
    seen = network_input(images, how, WIDE, draws)
    assert seen.shape == (5, 3, 16, 36)
    mean, std = torch.tensor(WIDE.mean)[:, None, None], torch.tensor(WIDE.std)[:, None, None]
    expected = finish((augment(images, how, (16, 36), draws).float() - mean) / std, how, draws)
    assert torch.allclose(seen, expected, atol=1e-5)


def test_crops_come_from_everywhere() -> None:
    """A corner of the crop is told by its pixel: there are 3 x 5 of them."""
    image = torch.arange(18 * 40, dtype=torch.int32).reshape(1, 1, 18, 40).expand(400, 1, 18, 40)
    cut = augment(image, Augmentation(mirror=False), (16, 36), draw(400, torch.Generator().manual_seed(0)))
    assert set(cut[:, 0, 0, 0].tolist()) == {40 * row + column for row in range(3) for column in range(5)}


def test_a_quarter_turn_is_not_sheared() -> None:
    """A square in the middle of a wide image stays a square."""
    image = torch.zeros(1, 1, 21, 61)
    image[:, :, 6:15, 26:35] = 255
    draws = torch.zeros(1, 11)
    draws[:, 2], draws[:, 3] = 1.0, 0.5  # the largest rotation, and no zoom
    turned = augment(image, Augmentation(mirror=False, rotate=90), (21, 61), draws)
    assert torch.allclose(turned, image, atol=1.0)


def test_training_at_a_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bright bars at the left or at the right: classified, evaluated, and repeated from the recipe of the run."""
    random = np.random.default_rng(0)
    for index in range(80):
        image = random.integers(0, 90, (20, 60, 3)).astype(np.uint8)
        side = "left" if index % 2 else "right"
        image[:, : 20 if index % 2 else None][:, None if index % 2 else 40 :] += 140
        (tmp_path / "data" / side).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "data" / side / f"{index}.png")
    tiny = ["--from-scratch", "--model", "squeezenet_32", "--recipe", "modern", "--epochs", "8", "--batch-size", "12"]
    tiny += [word for setting in ("base_e=8", "incr_e=8", "fires=3", "mirror=false") for word in ("--set", setting)]
    run = str(tmp_path / "run")
    assert (
        main(["train", *tiny, "--data", str(tmp_path / "data"), "--out", run, "--image-size", "16x48", "--json"]) == 0
    )
    told = capsys.readouterr()
    assert "16 x 48 pixels" in told.err
    model = load_model(run)
    assert model.graph.input_shape == (3, 16, 48)
    assert read_job(f"{run}/recipe.toml").image_size == "16x48"
    assert main(["evaluate", run, "--data", str(tmp_path / "data"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == 100


def test_a_job_has_a_size(tmp_path: Path) -> None:
    job = Job(MODERN, image_size="48x192")
    (tmp_path / "job.toml").write_text(to_toml(job))
    assert read_job(str(tmp_path / "job.toml")).size == (48, 192)
    with pytest.raises(UsageError, match="wide: a size is"):
        _ = replace(job, image_size="wide").size


def test_explore_takes_square_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "job.toml").write_text('like = "modern"\nimage_size = "16x32"\n')
    command = ["explore", "--data", "digits", "--recipe", str(tmp_path / "job.toml"), "--vary", "sr"]
    assert main([*command, "--out", str(tmp_path / "work")]) == 2
    assert "square images" in capsys.readouterr().err
    assert main([*command, "--out", str(tmp_path / "work"), "--image-size", "16x32"]) == 2
    assert "--image-size" in capsys.readouterr().err


def test_a_trained_model_at_another_size() -> None:
    model = load_model("digits")
    wide = resized(model, (32, 64))
    assert wide.preparation.cropped == wide.graph.input_shape[1:] == (32, 64)
    assert resized(wide, model.preparation.crop).preparation == model.preparation
    with pytest.raises(UsageError, match="32x64"):
        resized(load_model("cifar10"), (32, 64))  # which ends with layers that are fully connected


# Converting


@pytest.mark.parametrize("suffix", ["sqz", "pth", "safetensors"])
def test_every_format_keeps_the_size(suffix: str, model: Model, tmp_path: Path) -> None:
    save_model(model, tmp_path / f"model.{suffix}")
    assert load_model(tmp_path / f"model.{suffix}").preparation == WIDE


def test_the_user_tells_the_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from squeezenet.models import create_seeded

    module = create_seeded("squeezenet_32", 0, classes=3)
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    command = ["convert", str(tmp_path / "weights.pth"), str(tmp_path / "out.sqz"), "--network", "squeezenet_32"]
    command += ["--channels", "RGB", "--mean", "0,0,0", "--std", "1,1,1", "--resize", "50x200"]
    assert main([*command, "--crop", "48x192", "--fit", "shorter"]) == 0
    assert load_model(tmp_path / "out.sqz").preparation == Preparation((50, 200), (48, 192), "shorter")
    assert main([*command, "--crop", "52x192", "--force"]) == 2
    assert "52x192 does not fit" in capsys.readouterr().err
    assert main([*command, "--crop", "wide", "--force"]) == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "out.sqz"), "--image-size", "32x64"]) == 0
    assert "reads 3x32x64" in capsys.readouterr().out
