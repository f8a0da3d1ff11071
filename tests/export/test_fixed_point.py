"""Networks whose steps are powers of two: as fixed-point numbers, as QONNX, and as projects of hls4ml."""

import json
import shutil
import subprocess
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from squeezenet import sqz
from squeezenet.cli.main import main
from squeezenet.errors import MissingDependency, UnsupportedOperation
from squeezenet.export.fixed import SIGNED, Convolution, Join, Network, Pool, Value, fixed
from squeezenet.export.hls4ml.write import export
from squeezenet.export.targets import targets
from squeezenet.fixed_point import EIGHTHS, Integers, Scale
from squeezenet.graph import Add, AvgPool, Concat, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, ReLU
from squeezenet.model import FloatArray, Grid, IntegerWeights, Model, Plain, Weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.integers import IntegerRunner
from squeezenet.runtime.reference import convolve, offsets
from support.engine_networks import Builder, fire, vgg
from support.onnx_runtime import exported


def binary(model: Model) -> Model:
    """The model with the nearest steps that are powers of two, and with signed or unsigned bytes."""

    def near(exponents: Integers) -> Integers:
        return (np.rint(exponents / EIGHTHS) * EIGHTHS).astype(np.int64)

    scales = tuple(
        replace(s, exponent=int(near(np.array(s.exponent))), zero=SIGNED if s.zero else 0) for s in model.scales
    )
    weights = {}
    for name, held in model.weights.items():
        assert isinstance(held.weight, Grid)
        grid = Grid(held.weight.levels, near(held.weight.exponents.astype(np.int64)).astype(np.int16))
        weights[name] = IntegerWeights(grid, held.bias)
    return replace(model, scales=scales, weights=weights)


def mixed() -> Model:
    """9-bit values, groups, a mean of windows, a pool with padding, and logits of 24 bits from a linear layer."""
    b = Builder(5, side=12)
    x = b.put(ReLU((b.layer(Conv((0,), "a", 6, (3, 3), padding=(1, 0)), b.scale(nine_bit=True)),)))
    x = b.put(MaxPool((x,), (3, 3), (2, 2), (1, 1)))
    x = b.put(ReLU((b.layer(Conv((x,), "b", 8, (1, 1)), b.scale(nine_bit=True)),)))
    x = b.layer(Conv((x,), "c", 8, (2, 2)), b.scale(90))
    x = b.put(AvgPool((b.layer(Conv((x,), "d", 12, (2, 3), groups=4), b.scale(70)),), (2, 1), (1, 1)))
    return b.finish(b.layer(Linear((b.put(Flatten((x,))),), "e", 7), b.scale(wide=True)))


NETWORKS = {"fire": lambda: binary(fire()), "mixed": lambda: binary(mixed())}


def limited(integers: Integers, value: Value) -> Integers:
    bits = value.bits - value.signed
    low = value.narrow - (1 << bits) if value.signed else 0
    found: Integers = np.clip(integers, low, (1 << bits) - 1)
    return found


def computed(network: Network, image: FloatArray) -> Integers:
    """The logits, stage by stage, in integers."""
    values = [limited(np.rint(image * np.float32(2.0**-network.image.point)).astype(np.int64), network.image)]
    for stage in network.stages:
        result = stage.result
        match stage:
            case Convolution():
                kernel = (stage.weights.shape[2], stage.weights.shape[3])
                op = Conv((0,), "", result.shape[0], kernel, stage.stride, stage.padding, stage.groups)
                matrix = stage.weights.astype(np.float64).reshape(stage.groups, op.out // stage.groups, -1)
                size = (result.shape[1], result.shape[2])
                sums = convolve(op, values[stage.source].astype(np.float64), matrix, size).astype(np.int64)
                sums = sums.reshape(result.shape)
                left = stage.points + network.values[stage.source].point - stage.bias_points
                y = (sums << left[:, None, None]) + stage.biases[:, None, None]
                right = (stage.bias_points - result.point)[:, None, None]
                y = (y << np.maximum(right, 0)) >> np.maximum(-right, 0)
            case Pool():
                window = MaxPool((0,), stage.kernel, stage.stride, stage.padding)
                views = offsets(values[stage.source].astype(np.float64), window, result.shape[1:], -np.inf)  # type: ignore[arg-type]
                y = reduce(np.maximum, views).astype(np.int64)
            case Join():
                y = np.concatenate([values[i] for i in stage.sources])
            case _:
                total = sum(values[i] * 2.0 ** (network.values[i].point - result.point) for i in stage.sources)
                y = np.floor(np.asarray(total) + 0.5).astype(np.int64)
        values.append(limited(y, result))
    return values[network.output].ravel()


def images(model: Model, count: int = 3) -> FloatArray:
    return np.random.default_rng(0).normal(0, 14, (count, *model.graph.input_shape)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_fixed_point_numbers_give_the_same_logits(name: str) -> None:
    model = NETWORKS[name]()
    wanted = IntegerRunner(model)(images(model))
    assert len(np.unique(wanted)) > 6
    for image, logits in zip(images(model), wanted, strict=True):
        assert np.array_equal(computed(fixed(model), image) * model.scales[-1].step, logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_qonnx_computes_the_same_logits(name: str, tmp_path: Path) -> None:
    pytest.importorskip("qonnx", reason="qonnx is not installed: pip install qonnx")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = NETWORKS[name]()
    (tmp_path / "model.onnx").write_bytes(exported(model, "qonnx"))
    wrapper = ModelWrapper(str(tmp_path / "model.onnx"))
    wrapper.set_tensor_shape("image", [1, *model.graph.input_shape])
    wrapper = wrapper.transform(InferShapes())
    for image, logits in zip(images(model), IntegerRunner(model)(images(model)), strict=True):
        assert np.array_equal(execute_onnx(wrapper, {"image": image[None]})["logits"][0], logits)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_c_simulation_of_hls4ml_gives_the_same_logits(name: str, tmp_path: Path) -> None:
    pytest.importorskip("hls4ml", reason="hls4ml is not installed: pip install 'sqznet[hls]'")
    if missing := [tool for tool in ("make", "g++") if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    model = NETWORKS[name]()
    found = export(model, "a network", tmp_path / "hls", images=images(model))
    (tmp_path / "hls" / "mine").write_text("mine")
    export(model, "a network", tmp_path / "hls", images=images(model))  # over an earlier one
    assert (tmp_path / "hls" / "mine").read_text() == "mine"
    command = ["make", "-C", str(tmp_path / "hls"), "test"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert f"\n0 of {3 * model.graph.classes} logits differ, in 3 images" in done.stdout, done.stdout + done.stderr
    assert found["tested"] == 3
    readme = (tmp_path / "hls" / "README.md").read_text()
    assert "a network" in readme
    assert "@" not in readme


def test_a_project_of_hls4ml_is_written_twice_with_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("hls4ml", reason="hls4ml is not installed: pip install 'sqznet[hls]'")
    model = next(iter(NETWORKS.values()))()
    for folder in ("a", "b"):
        export(model, "a network", tmp_path / folder, images=images(model))
    first, second = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*.*")}
        for folder in ("a", "b")
    )
    assert first == second


def test_refusals_name_what_does_not_fit() -> None:
    model = binary(mixed())
    assert targets(model)["qonnx"] is targets(model)["hls4ml"] is None
    scales = [*model.scales]
    scales[-1] = replace(scales[-1], exponent=scales[-1].exponent + 1)
    assert targets(replace(model, scales=tuple(scales)))["hls4ml"].startswith("e: its step 2^(")  # type: ignore[union-attr]
    scales = [Scale(-24, 3), *model.scales[1:]]
    with pytest.raises(UnsupportedOperation, match="the image: has the zero point 3"):
        fixed(replace(model, scales=tuple(scales)))
    with pytest.raises(UnsupportedOperation, match="ReLU 2: a ReLU that is capped"):
        fixed(binary(vgg()))
    assert "squeeze it first" in str(targets(floats())["qonnx"])
    b = Builder(0, side=3)
    b.layer(Conv((0,), "wide", 4, (1, 1)))
    b.put(Concat((1, 1, 1)))
    joined = binary(b.finish(b.put(GlobalAvgPool((2,)))))
    assert targets(joined)["hls4ml"] == "Concat 2: joins 3 values; hls4ml joins two"
    b = Builder(0, side=3)
    x = b.put(Add((b.layer(Conv((0,), "one", 4, (1, 1))), b.put(GlobalAvgPool((1,))))), b.scale(0))
    assert "a sum of a value and of one number" in str(targets(binary(b.finish(b.put(GlobalAvgPool((x,))))))["qonnx"])


def floats() -> Model:
    graph = Graph((1, 2, 2), (Conv((0,), "a", 2, (2, 2)), Flatten((1,))))
    weights = Weights(Plain(np.ones((2, 1, 2, 2), np.float32)), np.zeros(2, np.float32))
    return Model(graph, {"a": weights}, Preparation(2, 2, channels="L", mean=(0.0,), std=(1.0,)))


def test_sums_that_float32_cannot_hold_are_refused() -> None:
    model = binary(mixed())
    held = model.weights["b"]
    assert isinstance(held.weight, Grid)
    fine = Grid(held.weight.levels, (held.weight.exponents - 8 * 5).astype(np.int16))
    heavy = {**model.weights, "b": IntegerWeights(fine, np.full_like(held.bias, 1 << 21))}
    assert "b: its sums may need" in str(targets(replace(model, weights=heavy))["qonnx"])


def test_without_hls4ml_one_line_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "hls4ml", None)
    with pytest.raises(MissingDependency, match="pip install 'sqznet\\[hls\\]'"):
        export(binary(fire()), "fire", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_others_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    sqz.write(binary(fire()), tmp_path / "fire.sqz")
    command = ["export", str(tmp_path / "fire.sqz"), "--to", "hls4ml", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "squeezenet did not write it" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine").read_text() == "mine"


def test_inspect_says_which_targets_take_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sqz.write(binary(fire()), tmp_path / "fire.sqz")
    assert main(["inspect", str(tmp_path / "fire.sqz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "hls4ml" in json.dumps(found)
