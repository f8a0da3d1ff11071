"""Every verb: one JSON object, exit codes 0, 1 and 2, and errors of one line."""

import csv
import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from argparse import ArgumentTypeError
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenet import sqz
from squeezenet.cli import arguments, classify
from squeezenet.cli.cores import available_cores
from squeezenet.cli.main import VERBS, _parser, main
from squeezenet.cli.overview import EXAMPLES
from squeezenet.data import load_evaluation
from squeezenet.fire import paper_names
from squeezenet.formats import save_model
from squeezenet.runtime import load
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.zoo import PUBLISHED, SHIPPED

LAYER = {"name", "shape", "parameters", "density", "bits", "bytes", "macs"}  # what a layer of `inspect` tells


@pytest.fixture(scope="module")
def tiny(tiny_model, tmp_path_factory):
    """Path of a .sqz for digits."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.sqz"
    sqz.write(tiny_model, path)
    return str(path)


@pytest.fixture
def said(capsys):
    """Run a verb that succeeds; the JSON object it prints."""

    def run(*arguments):
        assert main([*map(str, arguments), "--json"]) == 0
        out, err = capsys.readouterr()
        assert not err or "--max-loss" in arguments  # else progress goes to terminals only
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.fixture
def refused(capsys):
    """Run a verb that fails: exit code and its one line."""

    def run(*arguments):
        code = main([*map(str, arguments)])
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        lines = err.splitlines()
        assert len(lines) == 1
        assert lines[-1].startswith("squeezenet")
        return code, lines[-1]

    return run


def picture(path, kind=None, mode="RGB", size=(30, 20), **options):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, kind, **options)
    return str(path)


def python(code, *arguments):
    """Standard output of a fresh interpreter, which must not fail."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What every verb owes


def parsed(verb, words):
    """The arguments of a verb as its own parser takes them."""
    return _parser(verb, import_module(f"squeezenet.cli.{verb}")).parse_args(words)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_in_the_base_install(verb):
    """And without Pillow; at 80 columns, with examples."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["torch", "numpy", "PIL", "datasets", "optuna", "safetensors", "tqdm"]))
from squeezenet.cli.main import main
main([sys.argv[1], "--help"])
"""
    out = python(code, verb)
    assert out.startswith(f"usage: squeezenet {verb}")
    assert "--json" in out
    assert "\nexamples:\n" in out
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("verb", VERBS)
def test_every_example_is_a_command(verb):
    """Each below a comment that says what it does."""
    text = import_module(f"squeezenet.cli.{verb}").EXAMPLES
    lines = text.strip().replace("\\\n", "").splitlines()
    comments, commands = lines[::2], lines[1::2]
    assert all(line.startswith("# ") for line in comments)
    assert len(commands) == len(comments)
    for command in commands:
        name, chosen, *words = shlex.split(command.partition(" > ")[0])
        assert (name, chosen) == ("squeezenet", verb)
        parsed(verb, words)


def test_what_help_says_without_loading_it_is_so():
    """Defaults and choices that help names in words, because their modules need NumPy."""
    from squeezenet.data.pack import SKIPPED, Options

    packing = _parser("data", import_module("squeezenet.cli.data")).format_help()
    assert f"(default: {Options().quality})" in packing
    assert f"(default: {Options().shard_images})" in packing
    assert SKIPPED == "skipped.txt"


def test_squeezenet_alone_says_what_it_is(capsys):
    said = []
    for words in ([], ["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 1
    assert said[0].startswith("squeezenet ")
    assert max(map(len, said[0].splitlines())) <= 80
    assert sorted(re.findall(r"^  ([a-z]+) +[a-z]", said[0], re.MULTILINE)[3:]) == sorted(VERBS)
    examples = EXAMPLES.splitlines()
    assert len(examples) == 3
    for example in examples:
        assert example in said[0]
        _, verb, *words = shlex.split(example, comments=True)
        parsed(verb, words)
    with pytest.raises(SystemExit) as exit:
        main(["help", "models"])
    assert exit.value.code == 0
    assert capsys.readouterr().out.startswith("usage: squeezenet models")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("clasify x.png", "squeezenet: no verb is called clasify; did you mean classify? (squeezenet --help)"),
        ("sqash", "squeezenet: no verb is called sqash (squeezenet --help)"),
        ("--json models", "squeezenet: the verb comes first: squeezenet models ... (squeezenet --help)"),
        ("--vesion", "squeezenet: unknown option --vesion; did you mean --version? (squeezenet --help)"),
        ("models --jsn", "squeezenet models: unknown option --jsn; did you mean --json? (squeezenet models --help)"),
        ("models --js", "squeezenet models: unknown option --js; did you mean --json? (squeezenet models --help)"),
        ("models a b", "squeezenet models: b: one argument too many; leave it out (squeezenet models --help)"),
        ("pull", "squeezenet pull: NAME missing (squeezenet pull --help)"),
        ("pull alexnt", "squeezenet pull: alexnt: did you mean alexnet? (squeezenet pull --help)"),
        ("pull alexnet --url", "squeezenet pull: --url needs a value (squeezenet pull --help)"),
        ("pull alexnet --again=1", "squeezenet pull: --again takes no value (squeezenet pull --help)"),
        ("explore --data d", "squeezenet explore: --out missing (squeezenet explore --help)"),
        (
            "explore --data d --out o",
            "squeezenet explore: --vary, --search or --repeat missing (squeezenet explore --help)",
        ),
        (
            "explore --data d --out o --vary sr --search 3",
            "squeezenet explore: --search and --vary: leave one of the two out (squeezenet explore --help)",
        ),
        (
            "explore --data d --out o --vary sr --seeds no",
            "squeezenet explore: --seeds no: must be a whole number (squeezenet explore --help)",
        ),
        (
            "explore --data d --out o --method sqeeze",
            "squeezenet explore: --method sqeeze: did you mean squeeze? (squeezenet explore --help)",
        ),
        ("demo --seed -1", "squeezenet demo: --seed -1: must be at least 0 (squeezenet demo --help)"),
        (
            "models \x1b[31m\n x",
            r"squeezenet models: x: one argument too many; leave it out (squeezenet models --help)",
        ),
        ("\x1b[31m", r"squeezenet: no verb is called \x1b[31m (squeezenet --help)"),
    ],
)
def test_a_mistake_is_one_line_with_a_suggestion(refused, words, told):
    assert refused(*words.split(" ") if "\n" not in words else words.rsplit(" ", 2)) == (2, told)


def test_a_file_in_place_of_the_verb(refused, tmp_path):
    image = tmp_path / "a photo.png"
    image.touch()
    assert f"did you mean: squeezenet classify '{image}'" in refused(image)[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("350000", 350_000), ("350_000", 350_000), ("350,000", 350_000), ("50k", 50_000), ("300kB", 300_000),
        ("300 KB", 300_000), ("1.5MB", 1_500_000), ("1.1m", 1_100_000), ("64KiB", 65_536), ("2 gib", 2**31), ("1b", 1),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text, value):
    assert arguments.size(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5", "many", "1,5MB", "1.5", "0.0001kB", "35,00", "1e99", "9" * 5000, "nan", "5 apples", "5mib b", "²"],
)
def test_sizes_that_are_none(text):
    with pytest.raises(ArgumentTypeError, match="must be bytes, as in"):
        arguments.size(text)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (arguments.whole, ["-3", "0", "1_000"], ["", "1.5", "x", "9" * 5000, "9" * 30]),
        (arguments.count, ["1"], ["0", "-1", "1.5"]),
        (arguments.natural, ["0"], ["-1"]),
        (arguments.number, ["-1.5", "1e3"], ["nan", "inf", "-inf", "", "x"]),
        (arguments.positive, ["1e-9"], ["0", "-1", "nan", "inf"]),
        (arguments.not_negative, ["0"], ["-0.1", "nan"]),
        (arguments.amount, ["50M", "50,000,000"], ["50MB", "50Mi", "0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_numbers(kind, good, bad):
    for text in good:
        kind(text)
    for text in bad:
        with pytest.raises(ArgumentTypeError):
            kind(text)


def test_the_command_itself(tiny):
    done = subprocess.run(
        [sys.executable, "-m", "squeezenet", "inspect", tiny], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "fire2/expand3x3" in done.stdout
    done = subprocess.run([sys.executable, "-m", "squeezenet", "inspect", "no"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("squeezenet ")


@pytest.mark.smoke
def test_from_weights_to_labels(said, tiny, tmp_path):
    """compress, inspect, evaluate, classify: the path every model takes."""
    out = tmp_path / "small.sqz"
    squeezed = said("compress", tiny, "--data", "digits", "--out", out, "--bits", 4, "--density", 0.3, "--limit", 64,
                    "--set", "pruning.epochs=1", "--set", "sharing.epochs=1")  # fmt: skip
    assert {"bytes", "parameters", "density", "ratio", "top1_before", "top1_after", "top1_error"} <= set(squeezed)
    assert squeezed["bytes"] == out.stat().st_size
    assert squeezed["density"] == pytest.approx(0.3, abs=0.02)
    inspected = said("inspect", out)
    assert inspected["bytes"] == squeezed["bytes"]
    evaluated = said("evaluate", out, "--data", "digits")
    assert {"images", "top1", "top5", "bytes"} <= set(evaluated)
    assert evaluated["images"] == len(load_evaluation("digits"))
    classified = said("classify", "--model", out, picture(tmp_path / "a.png", mode="L"))
    assert [p["label"] for p in classified["predictions"]] == [str(p["index"]) for p in classified["predictions"]]


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


def test_inspect_counts_everything(said, tiny, tiny_model):
    result = said("inspect", tiny)
    assert {"parameters", "macs", "bytes", "layers"} <= set(result)
    assert all(set(layer) >= LAYER for layer in result["layers"])
    assert sum(layer["parameters"] for layer in result["layers"]) == result["parameters"] == tiny_model.parameters
    assert sum(layer["macs"] for layer in result["layers"]) == result["macs"] == sum(tiny_model.graph.macs())
    assert sum(layer["bytes"] for layer in result["layers"]) + sum(result["sections"].values()) == result["bytes"]
    memory = EngineRunner(Path(tiny).read_bytes()).memory if PATHS else None
    assert result["memory"] == (memory and {"weights": memory[0], "decoding": memory[1], "running": memory[2]})
    larger = said("inspect", tiny, "--image-size", 32)
    assert larger["memory"] is None  # of another size the file is not
    assert larger["parameters"] == result["parameters"]
    assert larger["macs"] > 3 * result["macs"]


def test_inspect_and_models_need_no_weights(said):
    listed = said("models")
    assert {m["name"] for m in listed["shipped"]} == set(SHIPPED)
    assert {m["name"]: m["cached"] for m in listed["published"]} == dict.fromkeys(PUBLISHED, False)
    known = {m["name"]: m for m in listed["models"]}
    assert known["squeezenet1_0"]["parameters"] == 1_248_424
    assert known["alexnet"]["parameters"] == 60_965_224
    assert known["alexnet_torchvision"]["parameters"] == 61_100_840
    result = said("inspect", "squeezenet1_1")
    assert result["parameters"] == known["squeezenet1_1"]["parameters"] == 1_235_496
    assert result["macs"] == known["squeezenet1_1"]["macs"]


def test_every_name_that_is_listed_has_a_card(said, refused, tiny):
    listed = said("models")
    for kind in ("shipped", "published", "models"):
        for model in listed[kind]:
            assert said("models", model["name"])["card"].startswith("# ")
    assert "1,235,496 parameters" in said("models", "squeezenet_32")["card"]
    assert refused("models", "squeezenet_23") == (
        2, "squeezenet models: no model is called squeezenet_23; did you mean squeezenet_32?"
    )  # fmt: skip
    assert f"squeezenet inspect {tiny}" in refused("models", tiny)[1]


def test_convert_gives_labels(said, tiny, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {i}\n" for i in range(10)), encoding="utf-8")
    result = said("convert", tiny, tmp_path / "named.safetensors", "--labels", names)
    assert {"parameters", "bytes"} <= set(result)
    assert result["bytes"] == (tmp_path / "named.safetensors").stat().st_size
    image = picture(tmp_path / "a.jpg")
    label = said("classify", "--model", tmp_path / "named.safetensors", image)["predictions"][0]["label"]
    assert label.startswith("digit ")
    assert said("convert", "squeezenet_32", tmp_path / "r.pth", "--random-weights", 3)["parameters"] > 700_000


@pytest.mark.parametrize("verb", ["inspect", "evaluate", "classify", "convert", "models"])
def test_what_people_read_is_no_json(verb, tiny, tmp_path, capsys):
    more = {
        "inspect": [tiny],
        "evaluate": [tiny, "--data", "digits", "--limit", "20"],
        "classify": ["--model", tiny, picture(tmp_path / "a.png")],
        "convert": [tiny, str(tmp_path / "b.sqz")],
        "models": [],
    }
    assert main([verb, *more[verb]]) == 0
    out = capsys.readouterr().out
    assert not out.startswith("{")
    assert out.strip()


# classify


IMAGES = {
    "JPEG": {"kind": "JPEG"},
    "PNG": {"kind": "PNG"},
    "WebP": {"kind": "WEBP"},
    "grayscale": {"kind": "JPEG", "mode": "L"},
    "CMYK": {"kind": "JPEG", "mode": "CMYK"},
    "transparent": {"kind": "PNG", "mode": "RGBA"},
    "palette": {"kind": "GIF", "mode": "P"},
    "16-bit": {"kind": "TIFF", "mode": "I;16"},
    "1x1": {"kind": "PNG", "size": (1, 1)},
    "1x500": {"kind": "PNG", "size": (1, 500)},
}


@pytest.mark.parametrize("options", IMAGES.values(), ids=IMAGES)
def test_any_image_gets_labels(said, tiny, tmp_path, options):
    result = said("classify", "--model", tiny, "--top", 10, picture(tmp_path / "image", **options))
    assert {"model", "image", "predictions", "milliseconds"} <= set(result)
    assert result["model"] == tiny
    probabilities = [p["probability"] for p in result["predictions"]]
    assert len(probabilities) == 10
    assert sum(probabilities) == pytest.approx(1)
    assert probabilities == sorted(probabilities, reverse=True)


def test_an_image_taken_sideways_is_turned_upright(said, tiny, tmp_path):
    upright = picture(tmp_path / "upright.png", size=(16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.open(upright).rotate(90).save(tmp_path / "sideways.png", exif=exif)
    answers = [said("classify", "--model", tiny, tmp_path / f"{n}.png")["predictions"] for n in ("upright", "sideways")]
    assert answers[0] == answers[1]


def unreadable(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.jpg").mkdir()
    picture(tmp_path / "cut.jpg", size=(300, 300))
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:2000])
    return [str(tmp_path / name) for name in ("text.jpg", "empty.png", "cut.jpg", "missing.png", "folder.jpg")]


def test_one_image_that_cannot_be_read_is_an_error(refused, tiny, tmp_path):
    for image in unreadable(tmp_path):
        code, line = refused("classify", "--model", tiny, image)
        assert code == (2 if "missing" in image else 1)
        assert image in line


def test_among_many_images_the_others_are_labelled(tiny, tmp_path, capsys):
    bad, good = unreadable(tmp_path), picture(tmp_path / "good.png")
    assert main(["classify", "--model", tiny, *bad, good, "--json"]) == 1
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert err == ""
    assert result["failed"] == len(bad)
    assert [r["image"] for r in result["results"]] == [*bad, good]
    assert all(image in r["error"] for image, r in zip(bad, result["results"], strict=False))
    assert len(result["results"][-1]["predictions"]) == 5
    assert main(["classify", "--model", tiny, good, good]) == 0


def folder_of_images(folder):
    """Five images, one of which cannot be read, and what is none."""
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "__MACOSX").mkdir()
    (folder / ".hidden").mkdir()
    for name in ("2.JPG", "b/1.jfif", "b/c/0.pbm", 'a,"b".png', "__MACOSX/9.png", ".hidden/9.png", "._9.png"):
        kind = {".pbm": "PPM", ".png": "PNG"}.get(os.path.splitext(name)[1], "JPEG")
        picture(folder / name, kind, mode="1" if kind == "PPM" else "RGB")
    (folder / "b" / "bad.webp").write_bytes(b"RIFF")
    (folder / "notes.txt").write_text("none")
    return [str(folder / name) for name in ("2.JPG", 'a,"b".png', "b/1.jfif", "b/bad.webp", "b/c/0.pbm")]


def test_a_folder_is_all_images_below_it(tiny, tmp_path, capsys):
    paths = folder_of_images(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    assert main(["classify", "--model", tiny, "--json", str(tmp_path / "photos"), str(tmp_path / "empty")]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [one["image"] for one in result["results"]] == [*paths, str(tmp_path / "empty")]
    assert [one["image"] for one in result["results"] if "error" in one] == [paths[3], str(tmp_path / "empty")]
    assert result["failed"] == 2
    assert main(["classify", "--model", tiny, str(tmp_path / "photos")]) == 1
    assert "1 of 5 images could not be read" in capsys.readouterr().out
    assert main(["classify", "--model", tiny, "--json", str(tmp_path / "photos" / "b" / "c")]) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 1


def test_links_that_lead_nowhere_are_images_that_cannot_be_read(tiny, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    picture(tmp_path / "photos" / "c.png", "PNG")
    (tmp_path / "photos" / "a.png").symlink_to("a.png")  # to itself
    (tmp_path / "photos" / "b.png").symlink_to("not there")
    (tmp_path / "photos" / "d").symlink_to(tmp_path)
    assert main(["classify", "--model", tiny, "--json", str(tmp_path / "photos")]) == 1
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(os.path.basename(one["image"]), "error" in one) for one in results] == [
        ("a.png", True),
        ("b.png", True),
        ("c.png", False),
    ]


def test_folders_may_lie_deeper_than_functions(tmp_path):
    (tmp_path / ("d/" * 200)).mkdir(parents=True)
    image = tmp_path / ("d/" * 200) / "a.png"
    image.touch()
    code = (
        "import sys; from squeezenet.runtime.folders import images_below; sys.setrecursionlimit(100)\n"
        "print(*images_below(sys.argv[1]))"
    )
    assert python(code, tmp_path).strip() == str(image)


def test_a_folder_without_images_is_an_error(refused, tiny, tmp_path):
    code, line = refused("classify", "--model", tiny, tmp_path)
    assert (code, str(tmp_path) in line) == (1, True)


def test_answers_as_a_table(said, refused, tiny, tmp_path, capsys):
    paths = folder_of_images(tmp_path / "photos")
    assert main(["classify", "--model", tiny, "--csv", "--top", "2", str(tmp_path / "photos")]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image"] for row in rows] == [*sorted(2 * paths[:3]), paths[3], *2 * paths[4:]]
    assert [row["rank"] for row in rows] == ["1", "2"] * 3 + [""] + ["1", "2"]
    assert paths[3] in rows[6]["error"]
    assert main(["classify", "--model", tiny, "--csv", paths[0]]) == 0
    (first, *_) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    (label, *_) = said("classify", "--model", tiny, paths[0])["predictions"]
    assert (first["label"], float(first["probability"])) == (label["label"], label["probability"])
    assert refused("classify", "--csv", "--json", paths[0])[0] == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_standard_input_is_no_image(refused, tiny):
    assert refused("classify", "--model", tiny, "-") == (
        2, "squeezenet classify: -: standard input is not read; save the image to a file first"
    )  # fmt: skip


def test_classify_waits_for_no_pipe(refused, tiny, tmp_path):
    os.mkfifo(tmp_path / "pipe.sqz")
    assert refused("classify", "--model", tiny, tmp_path / "pipe.sqz")[0] == 1
    assert refused("classify", "--model", tmp_path / "pipe.sqz", picture(tmp_path / "a.png"))[0] == 1


def test_a_damaged_model_is_told_with_its_path(refused, tiny, tmp_path):
    data = bytearray(Path(tiny).read_bytes())
    data[-9] ^= 1
    (tmp_path / "damaged.sqz").write_bytes(data)
    for model in (tmp_path / "damaged.sqz",):
        code, line = refused("classify", "--model", model, picture(tmp_path / "a.png"))
        assert (code, str(model) in line) == (1, True)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_labels_do_not_depend_on_threads(said, tiny, tmp_path, monkeypatch, threads):
    given = []
    monkeypatch.setattr(classify, "load", lambda path, threads: given.append(threads) or load(path, threads))
    image = picture(tmp_path / "a.png", size=(60, 50))
    for model in (tiny, "digits"):  # of floats, of integers
        found = said("classify", "--model", model, "--threads", threads, image)["predictions"]
        assert found == [prediction._asdict() for prediction in load(model).classify(image)]
        images = np.random.default_rng(0).standard_normal((2, *load(model).model.graph.input_shape), np.float32)
        assert np.array_equal(load(model, threads).logits(images), load(model).logits(images))
    assert given == [threads, threads]


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (4, 4), (64, 4)])
def test_classify_takes_the_available_cores(said, tiny, tmp_path, monkeypatch, cores, threads):
    given = []
    monkeypatch.setattr(classify, "available_cores", lambda: cores)
    monkeypatch.setattr(classify, "load", lambda path, threads: given.append(threads) or load(path, 1))
    said("classify", "--model", tiny, picture(tmp_path / "a.png"))
    assert given == [threads]


def test_cores_are_those_of_this_process_where_the_system_tells(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert available_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


# Errors


def test_wrong_words_are_wrong_usage(refused, tiny):
    assert refused("squash")[0] == 2
    assert refused("inspect")[0] == 2
    assert refused("inspect", tiny, "--sparkle")[0] == 2
    assert refused("classify", "--model", tiny, "--top", "many", "x.png")[0] == 2
    assert refused("classify", "--model", tiny, "--top", 0, "x.png")[0] == 2
    for threads in (0, -1):
        code, line = refused("classify", "--model", tiny, "--threads", threads, "x.png")
        assert (code, f"--threads {threads}: must be at least 1" in line) == (2, True)
    assert refused("evaluate", tiny)[0] == 2
    assert refused("inspect", "squeezenet1_9", "--random-weights", 0)[0] == 2
    assert refused("inspect", tiny, "--image-size", 1)[0] == 2


@pytest.mark.parametrize("verb", ["inspect", "evaluate", "compress", "convert", "classify"])
def test_models_that_are_none(refused, verb, tmp_path):
    def run(model):
        after = {
            "evaluate": ["--data", "digits"], "compress": ["--out", tmp_path / "o.sqz"], "convert": [tmp_path / "o.sqz"]
        }  # fmt: skip
        given = ["--model", model, "x.png"] if verb == "classify" else [model, *after.get(verb, [])]
        return refused(verb, *given)

    text = tmp_path / "text.sqz"
    text.write_text("once upon a time")
    foreign = tmp_path / "model.h5"
    foreign.write_bytes(b"\x89HDF")
    assert run(tmp_path / "missing.sqz")[0] == 2
    assert run(tmp_path / "missing.pth")[0] == 2
    assert run("digit") == (2, f"squeezenet {verb}: digit: no such file, run folder or model; did you mean digits?")
    assert run(text) == (1, run(text)[1])
    assert run(foreign)[0] == 2
    assert run(tmp_path)[0] == 1
    if verb != "inspect":  # which shows a network without weights
        code, line = run("squeezenet1_0")
        assert code == 1
        assert "without weights" in line
        assert "squeezenet pull squeezenet1_0" in line
    assert not (tmp_path / "o.sqz").exists()


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


def test_data_that_is_missing_or_of_other_classes(refused, tiny, tmp_path):
    assert refused("evaluate", tiny, "--data", tmp_path / "none")[0] == 2
    assert refused("evaluate", tiny, "--data", tmp_path)[0] == 1
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        picture(tmp_path / name / "a.png")
    code, line = refused("evaluate", tiny, "--data", tmp_path)
    assert code == 1
    assert "the model's 10 classes do not include 'cat', 'dog'" in line
    out = tmp_path / "x.sqz"
    assert refused("compress", tiny, "--data", tmp_path / "none", "--out", out)[0] == 2


@pytest.mark.parametrize("content", [b"a\nb\n", b"\xff\xfe\xfa\n" * 10, None], ids=["too few", "not text", "missing"])
def test_labels_that_do_not_fit(refused, tiny, tmp_path, content):
    names, out = tmp_path / "names.txt", tmp_path / "x.sqz"
    if content:
        names.write_bytes(content)
    code, line = refused("convert", tiny, out, "--labels", names)
    assert code == 2
    assert str(names) in line
    assert not out.exists()


def test_outputs_that_cannot_be_written(refused, tiny, tmp_path):
    assert refused("convert", tiny, tmp_path / "no" / "x.sqz")[0] == 2
    assert refused("convert", tiny, tmp_path / "x.h5")[0] == 2
    (tmp_path / "folder.sqz").mkdir()
    assert refused("convert", tiny, tmp_path / "folder.sqz")[0] == 2


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "change its permissions, or use another path"),
        (errno.EROFS, "change its permissions, or use another path"),
        (errno.EFBIG, "make room, or write to another disk"),
        (errno.ENOSPC, "make room, or write to another disk"),
    ],
)
def test_a_place_that_takes_no_file_is_told_with_a_way_out(refused, tiny, tmp_path, monkeypatch, number, advice):
    def fail(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    out = tmp_path / "x.sqz"
    assert refused("convert", tiny, out) == (1, f"squeezenet convert: {out}: {os.strerror(number)}; {advice}")


def test_debug_shows_the_traceback(tmp_path):
    from squeezenet.errors import ModelError

    with pytest.raises(ModelError):
        main(["inspect", str(tmp_path / "no.sqz"), "--debug"])


def test_a_reader_that_leaves_early_is_no_failure_to_report(tiny):
    command = f"{sys.executable} -m squeezenet inspect {tiny} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


# What is imported


def test_import_squeezenet_is_light():
    code = "import sys, squeezenet; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    assert python(code).strip() == "[]"


def test_classify_needs_no_workshop(tiny, tmp_path):
    code = """
import sys
from squeezenet.cli.extras import modules
from squeezenet.cli.main import main
assert main(sys.argv[1:]) == 0
workshop = modules("train") - {"numpy"}
print(sorted(workshop & set(sys.modules)), [m for m in sys.modules if m.startswith("squeezenet.models")])
"""
    for model in (tiny, "digits"):
        out = python(code, "classify", "--model", model, picture(tmp_path / "a.png"))
        assert out.splitlines()[-1] == "[] []"


def test_imports_point_one_way(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_progress_is_for_terminals(tiny, capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert main(["evaluate", tiny, "--data", "digits", "--limit", "20"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(["evaluate", tiny, "--data", "digits", "--limit", "20"]) == 0
    assert "evaluate: " in sys.stderr.getvalue()


def test_formats_written_by_convert_are_read_by_every_verb(said, tiny_model, tmp_path):
    for suffix in (".sqz", ".safetensors"):
        save_model(tiny_model, tmp_path / f"m{suffix}")
    one, two = (
        said("evaluate", tmp_path / f"m{s}", "--data", "digits", "--limit", 50) for s in (".sqz", ".safetensors")
    )
    assert (one["top1"], one["top5"]) == (two["top1"], two["top5"])
