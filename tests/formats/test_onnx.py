"""ONNX files as models: ranges, outputs and metadata, and what is refused by name."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnx_ir", reason="the extra [onnx] is not installed")

from onnx import TensorProto, helper

from squeezenet.cli.main import main
from squeezenet.errors import UnsupportedOperation
from squeezenet.formats import from_onnx, load_model
from squeezenet.graph import Activation, Conv, ReLU
from squeezenet.preparation import Preparation
from support.onnx_files import NODE, SMALL, X, head, refused, saved


def test_quantised_weights_are_read_as_floats_and_a_quantiser_from_zero_is_a_relu(tmp_path):
    last, weights = head("z")
    levels = np.random.default_rng(0).integers(-127, 128, (3, 3, 1, 1)).astype(np.int8)
    weights |= {"q": levels, "s": np.array([0.1, 0.2, 0.3], np.float32), "t": np.float32(0.05), "u": np.uint8(0),
                "i": np.zeros(3, np.int8)}  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "i"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "t", "u"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "t", "u"], ["z"]),
    ]
    model = from_onnx(saved(tmp_path / "n.onnx", nodes + last, weights), SMALL)
    assert isinstance(model.graph.ops[1], ReLU)
    (name,) = (name for name in model.weights if name != "fc")
    expected = levels * np.array([0.1, 0.2, 0.3]).reshape(3, 1, 1, 1)
    np.testing.assert_allclose(model.weights[name].weight.values(), expected, 1e-6)


def choices(kind: str, limit: float, otherwise: str) -> tuple[list[object], dict[str, object]]:
    """x or another function of x, whichever a comparison with a number chooses."""
    nodes = [
        helper.make_node(kind, ["x", "limit"], ["c"]),
        helper.make_node(otherwise, ["x"], ["o"]),
        helper.make_node("Not", ["c"], ["n"]),
        helper.make_node("Where", ["n", "o", "x"], ["z"]),
    ]
    return nodes, {"limit": np.float32(limit)}


@pytest.mark.parametrize(
    ("kind", "limit", "otherwise", "function"),
    [("Greater", 20, "Softplus", "softplus"), ("GreaterOrEqual", 0, "LeakyRelu", "leaky_relu")],
)
def test_a_function_of_two_parts_is_recognised(kind, limit, otherwise, function, tmp_path):
    nodes, held = choices(kind, limit, otherwise)
    last, weights = head("z")
    model = from_onnx(saved(tmp_path / "n.onnx", nodes + last, weights | held), SMALL)
    assert isinstance(first := model.graph.ops[0], Activation)
    assert first.function == function


def test_a_choice_that_is_no_known_function_is_refused_by_name(tmp_path):
    nodes, held = choices("Less", 0.5, "Sigmoid")
    last, weights = head("z")
    with pytest.raises(UnsupportedOperation, match="the result of Where 'z' cannot be expressed"):
        from_onnx(saved(tmp_path / "n.onnx", nodes + last, weights | held), SMALL)


def test_quantisers_tell_the_ranges_of_values(tmp_path):
    last, weights = head("z")
    weights |= {"s": np.float32(0.05), "u": np.uint8(60), "zero": np.uint8(0), "t": np.float32(1 / 255),
                "w": np.ones((3, 3, 1, 1), np.float32), "b": np.ones(3, np.float32)}  # fmt: skip

    def rounded(name: str, *scale: str) -> list[object]:
        return [
            helper.make_node("QuantizeLinear", [name, *scale], [f"{name}q"]),
            helper.make_node("DequantizeLinear", [f"{name}q", *scale], [f"{name}d"]),
        ]

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"]), *rounded("c", "s", "u"),
        helper.make_node("Sigmoid", ["cd"], ["g"]), *rounded("g", "t", "zero"),
        helper.make_node("Mul", ["cd", "gd"], ["m"]), *rounded("m", "s", "zero"),
        helper.make_node("Identity", ["md"], ["z"]),
    ]  # fmt: skip
    model = from_onnx(saved(tmp_path / "n.onnx", nodes + last, weights), SMALL)
    conv, silu, relu = model.graph.ops[:3]
    assert (type(conv), type(silu), type(relu)) == (Conv, Activation, ReLU)
    assert model.ranges == {1: pytest.approx((-3, 9.75)), 3: pytest.approx((0, 12.75))}


def test_a_sigmoid_at_the_end_makes_labels(tmp_path):
    last, weights = head("x")
    last[-1].output[0] = "logits"
    path = saved(tmp_path / "n.onnx", [*last, helper.make_node("Sigmoid", ["logits"], ["y"])], weights)
    model = from_onnx(path, SMALL)
    assert model.outputs == "labels"
    assert model.graph.classes == 5


def test_metadata_tell_the_preparation_and_the_labels(tmp_path):
    nodes, weights = head("x")
    told = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1"}
    names = "{0: 'cat', 1: 'dog', 2: 'cow', 3: 'hen', 4: 'pig'}"
    model = load_model(saved(tmp_path / "n.onnx", nodes, weights, **told, names=names))
    assert model.preparation == Preparation(16, 16, "stretch", "BGR", (0.0,) * 3, (255.0,) * 3)
    assert model.labels == ("cat", "dog", "cow", "hen", "pig")


def test_a_file_is_converted_and_compressed_by_the_command_line(tmp_path, capsys):
    nodes, weights = head("x")
    path = saved(tmp_path / "n.onnx", nodes, weights)
    (tmp_path / "names.txt").write_text("cat\ndog\ncow\nhen\npig\n")
    how = ["--resize", "16", "--channels", "RGB", "--mean", "0,0,0", "--std", "255,255,255"]
    named = [*how, "--labels", str(tmp_path / "names.txt")]
    assert main(["convert", str(path), str(tmp_path / "n.sqz"), *named]) == 0
    assert load_model(tmp_path / "n.sqz").labels == ("cat", "dog", "cow", "hen", "pig")
    assert main(["convert", str(path), str(tmp_path / "m.sqz")]) == 1
    assert "does not say how images are prepared" in capsys.readouterr().err
    prune = ["--method", "prune", "--density", "0.5", "--out", str(tmp_path / "small.sqz")]
    assert main(["compress", str(path), *named, *prune]) == 0


UNKNOWN = {
    "If": NODE("If", ["c"], ["z"], name="choice"),
    "Loop": NODE("Loop", ["", "c", "x"], ["z"], name="choice"),
    "QLinearConv": NODE("QLinearConv", ["x", "c", "c", "c", "c", "c", "c", "c"], ["z"], name="choice"),
    "ConvTranspose": NODE("ConvTranspose", ["x", "c"], ["z"], name="choice"),
    "InstanceNormalization": NODE("InstanceNormalization", ["x", "c", "c"], ["z"], name="choice"),
    "GRU": NODE("GRU", ["x", "c", "c"], ["z"], name="choice"),
    "MatMul": NODE("MatMul", ["x", "x"], ["z"], name="choice"),
    "FusedConv": NODE("FusedConv", ["x", "c"], ["z"], name="choice", domain="com.microsoft"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_operations_that_cannot_be_expressed_are_refused_by_name(kind, tmp_path):
    nodes, weights = head("z")
    path = saved(tmp_path / "n.onnx", [UNKNOWN[kind], *nodes], {**weights, "c": np.zeros(1, np.float32)})
    refused(path, kind, "choice", kind=UnsupportedOperation)


def test_several_inputs_or_outputs_are_refused_by_name(tmp_path):
    nodes, weights = head("x")
    refused(saved(tmp_path / "n.onnx", nodes, weights, outputs=("y", "flat")), "y, flat")
    path = saved(tmp_path / "m.onnx", [NODE("Add", ["x", "other"], ["z"]), *head("z")[0]], weights)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, (1, 3, 16, 16)))
    path.write_bytes(model.SerializeToString())
    refused(path, "x, other")


def test_what_nothing_reads_is_left_out(tmp_path):
    nodes, weights = head("x")
    unused = [NODE("GRU", ["x", "fc.weight", "fc.bias"], ["unused"])]
    path = saved(tmp_path / "n.onnx", unused + nodes, weights)
    assert len(from_onnx(path, SMALL).graph.ops) == 3


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(number, tmp_path):
    nodes, weights = head("x")
    weights["fc.weight"][0, 0] = number
    refused(saved(tmp_path / "n.onnx", nodes, weights), "fc", "finite")


def test_a_graph_that_differs_names_the_first_node(tmp_path, monkeypatch):
    from squeezenet.importing.onnx import operators

    nodes, weights = head("z")
    monkeypatch.setitem(operators.OPERATORS, "MaxPool", operators.OPERATORS["Identity"])
    pool = NODE("MaxPool", X, ["z"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], name="the pool")
    with pytest.raises(UnsupportedOperation, match="the pool"):
        from_onnx(saved(tmp_path / "n.onnx", [pool, *nodes], weights), SMALL)
