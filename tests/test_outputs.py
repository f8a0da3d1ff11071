"""Networks with one output, and with several labels at once: squeezed, evaluated, classified and converted as such."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from squeezenet.cli.main import main
from squeezenet.compression import CompressionRecipe, Learning, compress
from squeezenet.compression.finetune import choose_objective
from squeezenet.compression.squeeze import measure
from squeezenet.compression.squeeze.hessian import hessians_of
from squeezenet.data import Pixels
from squeezenet.data.classes import match_classes
from squeezenet.data.evaluate import answers, evaluate
from squeezenet.data.examples import Examples
from squeezenet.errors import DataError, ModelError, UsageError
from squeezenet.formats import load_model, save_model
from squeezenet.formats.state_dict import from_module
from squeezenet.model import Model, Outputs
from squeezenet.models.network import from_model
from squeezenet.models.outputs import divergence, label_loss, own_loss
from squeezenet.preparation import Preparation
from squeezenet.runtime import Classifier
from squeezenet.runtime.run import runner
from squeezenet.training.teacher import load_teacher
from squeezenet.training.transfer import transfer
from support.integer_networks import PREPARATION, SIDE, coloured_noise, conv, prepared


def network(outputs: int, labels: tuple[str, ...] = ()) -> Model:
    """A small network whose outputs differ from image to image, each of them a label."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(outputs)
        body = [conv(3, 12, stride=2), conv(12, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs)]
        module = nn.Sequential(*body)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
        x = torch.from_numpy(prepared(coloured_noise()))
        module.train()(x)
        module.eval()
        with torch.no_grad():
            logits = module(x)
            module[-1].weight.mul_(2 / logits.std(0)[:, None])
            module[-1].bias.copy_(-2 * (logits.mean(0) - module[-1].bias) / logits.std(0))
    return from_module(module, PREPARATION, labels, {}, "labels")


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return coloured_noise()


# Losses


@pytest.mark.parametrize("count", [1, 3])
def test_losses_of_labels_are_those_of_sigmoids(count: int) -> None:
    random = torch.Generator().manual_seed(0)
    logits, target = (3 * torch.randn(7, count, generator=random, dtype=torch.double) for _ in range(2))
    p, q = target.sigmoid(), logits.sigmoid()
    by_hand = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum(1).mean()
    assert float(divergence(logits, target, "labels")) == pytest.approx(float(by_hand))
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 0])
    truth = labels[:, None].double() if count == 1 else F.one_hot(labels, count).double()
    crossed = F.binary_cross_entropy(q, truth, reduction="none").sum(1).mean()
    assert float(label_loss(logits, labels, "labels")) == pytest.approx(float(crossed))


def test_losses_of_classes_are_those_of_softmax() -> None:
    logits, target = torch.randn(7, 3), torch.randn(7, 3)
    known = F.kl_div(F.log_softmax(logits, 1), F.log_softmax(target, 1), log_target=True, reduction="batchmean")
    assert divergence(logits, target, "classes") == known
    labels = torch.tensor([0, 1, 2, 0, 1, 0, 0])
    assert label_loss(logits, labels, "classes") == F.cross_entropy(logits, labels)


def test_the_fisher_information_of_a_label_is_p_times_1_minus_p() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.tensor([[-1.0, 0.0, 2.0]]).repeat(20_000, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(own_loss(logits, "labels", random), logits)
    p = logits[0].sigmoid()
    np.testing.assert_allclose(gradient.square().mean(0), (p * (1 - p)).detach(), rtol=0.03)


# Squeezing


@pytest.mark.parametrize("count", [1, 3])
def test_labels_survive_squeezing(count: int, pixels: Pixels) -> None:
    """The Fisher information of one output would be 0 by softmax: rounding would remove all weights."""
    model = network(count)
    x = prepared(pixels)
    squeezed = compress(model, pixels, CompressionRecipe(max_bytes=model.float32_bytes // 4 + 200))
    assert squeezed.model.outputs == "labels"
    wanted, given = runner(model)(x), runner(squeezed.model)(x)
    for label in range(count):
        assert np.corrcoef(wanted[:, label], given[:, label])[0, 1] > 0.99
    curves = measure(model, squeezed, pixels, None)
    by_hand = divergence(torch.from_numpy(given), torch.from_numpy(wanted), "labels")
    assert curves.shipped.divergence == pytest.approx(float(by_hand), rel=0.3, abs=1e-3)


def test_a_label_that_is_never_in_doubt_costs_nothing(pixels: Pixels) -> None:
    """Its probability is 1 whatever the weights are; a softmax would hide the other labels behind it."""
    model = network(3)
    held = model.weights["4"]
    sure = replace(held, bias=np.array([60, 0, 0], np.float32))
    x = torch.from_numpy(prepared(pixels))
    sharp = from_model(replace(model, weights={**model.weights, "4": sure})).eval()
    of_labels = hessians_of(sharp, x, outputs="labels")["4"].importance
    assert of_labels > 1e4 * hessians_of(sharp, x, outputs="classes")["4"].importance


@pytest.mark.parametrize("objective", ["labels", "distill", "both"])
def test_one_output_learns(objective: str, pixels: Pixels) -> None:
    model = network(1)
    halves = replace(pixels, labels=(pixels.labels > 1).astype(np.int64))
    learning = Learning(epochs=3, batch_size=16)
    recipe = CompressionRecipe(max_bytes=2200, learning=learning, objective=objective)
    learned = compress(model, halves, recipe).model
    assert runner(learned)(prepared(pixels)).std() > 0.5


def test_data_with_one_class_an_image_do_not_teach_several_labels(pixels: Pixels) -> None:
    many = replace(pixels, images=pixels.images.repeat(20, 0), labels=pixels.labels.repeat(20), indices=np.arange(1200))
    assert choose_objective(many, 5) == choose_objective(many, 1, "labels") == "labels"
    assert choose_objective(many, 5, "labels") == "distill"


@pytest.mark.parametrize("method", ["svd", "prune", "deep-compression"])
def test_every_method_keeps_what_the_outputs_mean(method: str, pixels: Pixels) -> None:
    recipe = CompressionRecipe(method=method)
    if method != "svd":
        recipe = replace(recipe, pruning=replace(recipe.pruning, density="sensitivity=0.6", epochs=0.1, steps=1))
    assert compress(network(3), pixels, recipe).model.outputs == "labels"


# Other networks


def test_a_teacher_has_outputs_of_the_same_meaning(pixels: Pixels) -> None:
    cpu = torch.device("cpu")
    load_teacher(network(3), PREPARATION, (), 3, cpu, "labels")
    with pytest.raises(UsageError, match="its outputs are labels"):
        load_teacher(network(3), PREPARATION, (), 3, cpu)


def test_transfer_makes_classes_of_labels(pixels: Pixels) -> None:
    images = tuple(Image.fromarray(image.transpose(1, 2, 0)) for image in pixels.images)
    train = Examples("noise", images, pixels.labels, tuple("abcde"))
    for count in (1, 5):
        model = network(count, tuple("abcde")[:count])
        new, reader = transfer(model, train)
        assert (new.outputs, new.graph.classes, reader.outputs) == ("classes", 5, "classes")
        assert new.weights["4"].weight.values().std() > 0.01


# Accuracy


def logits_of(values: list[list[float]]):
    rows = iter(np.array(values, np.float32))
    return lambda images: np.stack([next(rows) for _ in images])


def test_one_output_is_right_on_its_side_of_one_half() -> None:
    four = Pixels(np.zeros((4, 3, SIDE, SIDE), np.uint8), np.array([0, 0, 1, 1]), np.arange(4))
    values = [[-1.0], [0.0], [0.1], [-900.0]]
    assert evaluate(logits_of(values), four, PREPARATION, progress=False).top1 == 75
    found = answers(logits_of(values), four, PREPARATION, progress=False, outputs="labels")
    assert found.score.top1 == 75
    assert found.predicted.tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(found.probability, [1 / (1 + exp(-1)), 0.5, 1 / (1 + exp(-0.1)), 1], rtol=1e-6)


def test_of_several_labels_the_largest_counts_with_its_own_probability() -> None:
    two = Pixels(np.zeros((2, 3, SIDE, SIDE), np.uint8), np.array([1, 2]), np.arange(2))
    found = answers(logits_of([[0, 2, 1], [3, 2, 1]]), two, PREPARATION, progress=False, outputs="labels")
    assert found.score.top1 == 50
    np.testing.assert_allclose(found.probability, [1 / (1 + exp(-2)), 1 / (1 + exp(-3))], rtol=1e-6)


def examples(*names: str) -> Examples:
    return Examples("photos", (b"",) * len(names), np.arange(len(names)), names)


@pytest.mark.parametrize(
    ("classes", "labels", "numbers", "named"),
    [
        (("cat", "dog"), (), [0, 1], ("cat", "dog")),
        (("0", "1"), ("dog",), [0, 1], ("0", "1")),
        (("cat", "dog"), ("cat",), [1, 0], ("dog", "cat")),
        (("bird", "cat", "dog"), ("cat",), [0, 1, 0], ("not cat", "cat")),
        (("cat",), ("cat",), [1], ("not cat", "cat")),
    ],
)
def test_the_positive_class_has_the_label_or_is_the_second(classes, labels, numbers, named) -> None:
    found = match_classes(examples(*classes), labels, 1)
    assert (found.labels.tolist(), found.classes) == (numbers, named)


@pytest.mark.parametrize(
    ("classes", "labels", "said"),
    [
        (("cat", "dog"), ("hot dog",), "no class 'hot dog'"),
        (("bird", "cat", "dog"), (), "not two classes"),
        (("cat",), (), "convert --labels"),
    ],
)
def test_data_without_a_positive_class_are_refused(classes, labels, said) -> None:
    with pytest.raises(DataError, match=said):
        match_classes(examples(*classes), labels, 1)


# Classifying


@pytest.mark.parametrize("source", ["the bytes of a file", "a model"])
def test_each_label_has_a_probability_of_its_own(source: str, pixels: Pixels) -> None:
    model = compress(network(3, ("beach", "night", "people")), pixels, CompressionRecipe(max_bytes=2600))
    classifier = Classifier(model.data if source == "the bytes of a file" else model.model)
    assert classifier.outputs == "labels"
    image = Image.fromarray(pixels.images[0].transpose(1, 2, 0))
    logits = runner(model.model)(prepared(pixels)[:1])[0]
    found = classifier.classify(image)
    assert [p.index for p in found] == np.argsort(-logits, kind="stable").tolist()
    assert [p.label for p in found] == [classifier.labels[p.index] for p in found]
    for p in found:
        assert p.probability == pytest.approx(1 / (1 + exp(-logits[p.index])), rel=1e-5)
    assert len(classifier.classify(image, 2)) == 2


def test_one_output_has_a_name(tmp_path: Path, pixels: Pixels, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "image.png"
    Image.fromarray(pixels.images[0].transpose(1, 2, 0)).save(image)
    for labels, told in (((), "positive"), (("hot dog",), "hot dog")):
        model = compress(network(1, labels), pixels, CompressionRecipe(max_bytes=2200))
        path = tmp_path / "one.sqz"
        path.write_bytes(model.data)
        assert main(["classify", "--model", str(path), str(image), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["outputs"] == "labels"
        (prediction,) = found["predictions"]
        assert prediction["label"] == told
        assert 0.01 < prediction["probability"] < 0.99
        assert main(["inspect", str(path)]) == 0
        assert "one output" in capsys.readouterr().out


def test_evaluate_of_one_output(tmp_path: Path, pixels: Pixels, capsys: pytest.CaptureFixture[str]) -> None:
    model = compress(network(1, ("high",)), pixels, CompressionRecipe(max_bytes=2200))
    (tmp_path / "one.sqz").write_bytes(model.data)
    high = runner(model.model)(prepared(pixels))[:, 0] > 0
    for index, image in enumerate(pixels.images):
        path = tmp_path / "photos" / ("high" if high[index] else "above") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    page = tmp_path / "page.html"
    command = ["evaluate", str(tmp_path / "one.sqz"), "--data", str(tmp_path / "photos"), "--report", str(page)]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["top1"], found["top5"], found["images"]) == (100, None, 60)
    assert "above" in page.read_text()


# Converting


@pytest.mark.parametrize("suffix", ["sqz", "pth", "safetensors"])
@pytest.mark.parametrize("count", [1, 3])
def test_every_format_keeps_what_the_outputs_mean(suffix: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / f"model.{suffix}"
    save_model(network(count), path)
    assert load_model(path).outputs == "labels"


def test_a_net_file_cannot_say_that_outputs_are_labels(tmp_path: Path) -> None:
    from squeezenet.formats.imagenet import imagenet_labels
    from squeezenet.models import create_seeded

    module = create_seeded("squeezenet1_0", 0)
    model = from_module(module, Preparation.imagenet_caffe(), imagenet_labels(), outputs="labels")
    with pytest.raises(ModelError, match="not labels"):
        save_model(model, tmp_path / "model.net")


@pytest.mark.parametrize(("option", "means"), [((), "classes"), (("--outputs", "labels"), "labels")])
def test_the_user_says_that_outputs_are_labels(
    option: tuple[str, ...], means: Outputs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once: a file made `--like` this one has outputs of the same meaning."""
    from squeezenet.models import create_seeded

    module = create_seeded("squeezenet_32", 0, classes=3)
    torch.save(module.state_dict(), tmp_path / "weights.pth")
    prepared_as = ["--resize", "32", "--channels", "RGB", "--mean", "0,0,0", "--std", "1,1,1"]
    prepared_as += ["--network", "squeezenet_32"]
    made, again = tmp_path / "made.sqz", tmp_path / "again.sqz"
    assert main(["convert", str(tmp_path / "weights.pth"), str(made), *prepared_as, *option]) == 0
    assert main(["convert", str(tmp_path / "weights.pth"), str(again), "--like", str(made)]) == 0
    assert load_model(made).outputs == load_model(again).outputs == means
    assert main(["convert", str(made), str(again), "--outputs", "classes", "--force"]) == 0
    assert load_model(again).outputs == "classes"
    capsys.readouterr()


def test_one_output_is_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, names = tmp_path / "one.sqz", tmp_path / "names.txt"
    save_model(network(1), one)
    assert main(["convert", str(one), str(tmp_path / "b.sqz"), "--outputs", "classes"]) == 2
    assert "one output" in capsys.readouterr().err
    names.write_text("cat\ndog\n")
    assert main(["convert", str(one), str(tmp_path / "b.sqz"), "--labels", str(names)]) == 2
    assert "says yes to" in capsys.readouterr().err
