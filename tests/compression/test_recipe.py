"""Compression recipes: read and written as TOML, kept in the files that they make, and carried out again."""

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.compression import CompressionRecipe, Learning, LowRank, Pruning, Sharing
from squeezenet.compression.recipe import KEY, METHODS, from_toml, last_name, to_toml
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.files import write_atomically
from support import ROOT

RECIPES = sorted((ROOT / "recipes" / "compression").glob("*.toml"))
FEW = ["--data", "digits", "--limit", "48"]
SHORT = ["--set", "pruning.epochs=0.5", "--set", "pruning.steps=1", "--set", "sharing.epochs=0.5"]
ASKED = {
    "squeeze": ["--max-bytes", "4000", *FEW, "--seed", "3", "--epochs", "0.2", "--teacher", "model.sqz"],
    "svd+squeeze": ["--method", "svd+squeeze", "--rank", "ratio=1.5", "--max-bytes", "4000"],
    "deep-compression": ["--density", "0.4", "--bits", "4,3", *FEW, *SHORT],
}

counts, rates = st.integers(1, 10**6), st.floats(1e-6, 1e6)
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
part = {"epochs": rates, "batch_size": counts, "lr": rates}
settings = {
    "seed": counts, "threads": counts, "data": names, "val": names, "limit": counts, "images": names,
    "objective": st.sampled_from(["labels", "distill", "both"]),
    "augmentation": st.builds(Augmentation, st.booleans(), st.floats(0.1, 1), counts, rates, st.floats(0, 0.9)),
}  # fmt: skip
of_methods = {
    "max_bytes": counts, "max_loss": rates, "calibration": st.integers(2, 10**6), "teacher": names,
    "scales": st.just("eighths"), "near": names, "update_bytes": counts,
    "learning": st.builds(Learning, **part, step_lr=rates),
    "low_rank": st.builds(LowRank, **part, rank=st.one_of(rates, names)),
    "pruning": st.builds(Pruning, **part, density=st.one_of(rates, names), steps=counts),
    "sharing": st.builds(Sharing, **part, conv_bits=st.integers(1, 12), float_bits=st.integers(10, 32)),
}  # fmt: skip


@st.composite
def recipes(draw):
    method = draw(
        st.sampled_from(["squeeze", "svd", "prune", "deep-compression", "svd+deep-compression", "prune+squeeze"])
    )
    fitting = {name: of_methods[name] for word in method.split("+") for name in METHODS[word]}
    fitting.pop(draw(st.sampled_from(["max_bytes", "max_loss"])), None)
    if not draw(st.booleans()) or "svd" in method:
        fitting.pop("near", None)
    told = draw(st.fixed_dictionaries({}, optional={**settings, **fitting}))
    if "near" in told:
        for name in ("max_bytes", "max_loss", "learning"):
            told.pop(name, None)
    else:
        told.pop("update_bytes", None)
    if "learning" not in told:
        told.pop("teacher", None)
    return CompressionRecipe(method, **told)


@given(recipes())
def test_a_recipe_is_its_toml_table(recipe):
    assert from_toml(to_toml(recipe)) == recipe
    assert to_toml(from_toml(to_toml(recipe))) == to_toml(recipe)


def test_whole_numbers_are_written_as_they_are_read():
    assert "epochs = 2.0" in to_toml(CompressionRecipe(learning=Learning(epochs=2)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('method = "squeze"', "did you mean squeeze"), ('method = "squeeze+deep-compression"', "leave one of the two"),
        ('scales = "power-of-two"\n[learning]\nepochs = 1\nstep_lr = 0.1', "no powers of two"),
        ('method = "svd"\nmax_bytes = 3', "max_bytes is not for method svd"), ("max_bytes = 0", "must be 1 or more"),
        ("max_bytes = 5\nmax_loss = 1", "give one of them"), ('seed = "x"', "must be a whole number"),
        ("sed = 1", "did you mean seed"), ("[learning]\nlr = 0.1", "give learning.epochs"), ("a = ", "not TOML"),
        ("[learning]\nepochs = nan", "learning.epochs nan"), ("learning = 3", "must be a table"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_is_refused_in_one_line(text, why):
    with pytest.raises(UsageError, match=r"^mine\.toml: .*" + why) as error:
        from_toml(text, "mine.toml")
    assert "\n" not in str(error.value)


def test_every_setting_is_documented():
    def named(value):
        for each in fields(value):
            yield from named(getattr(value, each.name)) if is_dataclass(getattr(value, each.name)) else [each.name]

    text = (ROOT / "docs" / "compressing.md").read_text()
    assert [name for name in named(CompressionRecipe(augmentation=Augmentation())) if f"{name}`" not in text] == []


def test_only_the_last_name_of_a_path_is_kept(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    assert {last_name(path) for path in (".", "../photos/", str(tmp_path / "photos"))} == {"photos"}
    assert [last_name(name) for name in ("digits", "uoft-cs/cifar10", None)] == ["digits", "uoft-cs/cifar10", None]


# The same bytes again


@pytest.fixture(scope="module")
def again(tiny_model, tmp_path_factory):
    """A folder with a file for everything that is asked for, and what another process makes by its recipe."""
    folder = tmp_path_factory.mktemp("again")
    sqz.write(tiny_model, folder / "model.sqz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, options in ASKED.items():
            assert main(["compress", "model.sqz", *options, "--set", "threads=1", "--out", f"{name}.sqz"]) == 0
        code = (
            "import sys; from squeezenet.cli.main import main\n"
            "for name in sys.argv[1:]:\n"
            "    command = ['compress', 'model.sqz', '--recipe', f'{name}.sqz', '--out', f'{name} again.sqz']\n"
            "    assert main(command) == 0\n"
        )
        path = os.pathsep.join(sys.path)
        command = [sys.executable, "-c", code, *ASKED]
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=True
        )
    return folder, done.stderr


@pytest.mark.parametrize("name", ASKED)
def test_a_file_is_made_again_by_the_recipe_in_it(again, name):
    folder, said = again
    assert (folder / f"{name}.sqz").read_bytes() == (folder / f"{name} again.sqz").read_bytes()
    assert "will not be the same" not in said
    recipe = from_toml(sqz.read(folder / f"{name}.sqz").provenance[KEY])
    assert (recipe.data, recipe.limit) == (("digits", 48) if "digits" in ASKED[name] else (None, None))
    assert recipe.teacher == ("model.sqz" if "--teacher" in ASKED[name] else None)


def test_inspect_shows_the_recipe(again, capsys):
    assert main(["inspect", str(again[0] / "squeeze.sqz")]) == 0
    assert 'recipe:\n    method = "squeeze"\n    max_bytes = 4000\n    seed = 3\n' in capsys.readouterr().out


def test_images_are_looked_for_here_and_beside_the_model(tiny_model, tmp_path, monkeypatch, capsys):
    theirs, elsewhere = tmp_path / "theirs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for label in range(10):
        (theirs / "photos" / str(label)).mkdir(parents=True)
        for i in range(2):
            Image.new("L", (16, 16), 20 * label + i).save(theirs / "photos" / str(label) / f"{i}.png")
    sqz.write(tiny_model, theirs / "model.sqz")
    monkeypatch.chdir(elsewhere)
    command = ["compress", str(theirs / "model.sqz"), "--max-bytes", "4000", "--set", "threads=1"]
    assert main([*command, "--data", str(theirs / "photos"), "--out", "a.sqz"]) == 0
    first = sqz.read("a.sqz").provenance[KEY]
    assert 'data = "photos"' in first
    assert str(tmp_path) not in first

    repeat = ["compress", str(theirs / "model.sqz"), "--recipe", "a.sqz", "--out", "b.sqz"]
    assert main(repeat) == 0
    (theirs / "photos").rename(tmp_path / "moved")
    capsys.readouterr()
    assert main(repeat) == 2
    assert "photos: is in the recipe, but neither here nor beside" in capsys.readouterr().err
    assert main([*repeat[:-1], "c.sqz", "--data", str(tmp_path / "moved")]) == 0
    assert "not be the same" not in capsys.readouterr().err
    kept = (elsewhere / "a.sqz").read_bytes()
    assert (elsewhere / "b.sqz").read_bytes() == (elsewhere / "c.sqz").read_bytes() == kept

    Image.new("L", (16, 16), 255).save(tmp_path / "moved" / "0" / "0.png")
    written = sqz.read("a.sqz")
    old = replace(written, provenance={**written.provenance, "made by": "squeezenet 0.0.1"})
    write_atomically("old.sqz", sqz.encode(old))
    repeat[3] = "old.sqz"
    assert main([*repeat, "--data", str(tmp_path / "moved")]) == 0
    assert "old.sqz was made by squeezenet 0.0.1 and was made from other images" in capsys.readouterr().err
    assert 'data = "moved"' in sqz.read("b.sqz").provenance[KEY]


def test_a_file_without_a_recipe_is_refused(tiny_model, tmp_path, capsys):
    sqz.write(tiny_model, tmp_path / "model.sqz")
    for where, why in ((tmp_path / "model.sqz", "holds no recipe"), ("nowhere.toml", "no such recipe")):
        command = ["compress", str(tmp_path / "model.sqz"), "--recipe", str(where), "--out", str(tmp_path / "o.sqz")]
        assert main(command) == 2
        assert why in capsys.readouterr().err


# Recipes of the models that ship


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_model_that_ships_has_its_recipe(path):
    recipe = from_toml(path.read_text(), str(path))
    assert path.read_text().startswith(f"# Makes {path.stem}.sqz. ")
    assert f"recipes/compression/{path.name}" in zoo.card(path.stem)
    provenance = sqz.read(zoo.find(path.stem)).provenance
    if KEY in provenance:
        assert replace(from_toml(provenance[KEY]), images=None) == recipe


def test_the_demo_compresses_by_the_recipe_of_digits():
    from squeezenet.cli.demo_run import COMPRESSION

    assert {path.stem for path in RECIPES} == set(zoo.SHIPPED)
    assert from_toml((RECIPES[0].parent / "digits.toml").read_text()) == COMPRESSION
