"""Every verb: one JSON object, exit codes 0, 1 and 2, and errors of one line."""

import errno
import io
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from squeezenet.cli.main import VERBS, _parser, main
from squeezenet.cli.overview import EXAMPLES
from squeezenet.data import load_evaluation
from squeezenet.formats import save_model
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.zoo import PUBLISHED, SHIPPED
from support.commands import picture, python

LAYER = {"name", "shape", "parameters", "density", "bits", "bytes", "macs"}  # what a layer of `inspect` tells


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
