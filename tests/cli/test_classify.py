"""The verb `classify`: any image, any folder of images, any number of threads; and what is refused."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenet import zoo
from squeezenet.cli import classify
from squeezenet.cli.cores import available_cores
from squeezenet.cli.main import main
from squeezenet.runtime import load
from squeezenet.sqz import ahead
from support.commands import picture, python
from support.damage import repaired

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
        2, "squeezenet classify: -: images are not read from standard input; save the image to a file first"
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


@pytest.mark.parametrize("images", [["gone.png"], ["gone.png", "gone.jpg"], ["."]])
def test_a_damaged_text_is_told_before_images_that_cannot_be_read(refused, tmp_path, monkeypatch, images):
    """Also if the file is decoded ahead, as the process does."""
    data = bytearray(zoo.find("digits").read_bytes())
    graph, text = (int.from_bytes(data[at : at + 4], "little") for at in (16, 20))
    data[24 + graph + text - 3] ^= 255
    model = tmp_path / "damaged.sqz"
    model.write_bytes(repaired(data))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    ahead.begin(str(model), 1)
    code, line = refused("classify", "--model", model, *images)
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
