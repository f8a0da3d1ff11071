"""ONNX files as models: what exporters write, what the user says about it, what strangers may not cost."""

import contextlib
import io
import resource
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnx_ir", reason="the extra [onnx] is not installed")

from onnx import TensorProto, helper, numpy_helper

from squeezenet.cli.main import main
from squeezenet.errors import LimitExceeded, ModelError, UnsupportedOperation
from squeezenet.formats import About, from_onnx, load_model
from squeezenet.graph import Activation, Conv, MaxPool, ReLU, Select
from squeezenet.importing.onnx.wire import count_parts
from squeezenet.limits import MAX_ONNX_PARTS
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))
MEMORY = 200 << 20  # bytes that a refusal may take
SECONDS = 2.0  # of CPU time, likewise
SMALL = About(Preparation(16, 16, channels="RGB", mean=(127.5,) * 3, std=(127.5,) * 3))


@contextlib.contextmanager
def cheaply():
    """Neither memory nor time."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    assert time.process_time() - start < SECONDS
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MEMORY


def saved(path, nodes, weights=(), image=(1, 3, 16, 16), opset=17, outputs=("y",), kind=TensorProto.FLOAT, **metadata):
    """A file with these nodes, whose input is "x"."""
    graph = helper.make_graph(
        nodes, "network", [helper.make_tensor_value_info("x", kind, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(weights).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def head(source, channels=3, opset=17, classes=5):
    """Nodes and weights of a global pool and a fully connected layer behind `source`."""
    nodes = [
        helper.make_node("GlobalAveragePool", [source], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["y"], transB=1, name="fc"),
    ]
    numbers = np.random.default_rng(3)
    weight = numbers.standard_normal((classes, channels)).astype(np.float32)
    return nodes, {"fc.weight": weight, "fc.bias": numbers.standard_normal(classes).astype(np.float32)}


def logits_of_onnx(path, images):
    from onnx.reference import ReferenceEvaluator

    found = ReferenceEvaluator(str(path)).run(None, {"x": images})[0]
    return found.reshape(len(found), -1)


def answers_are_the_same(path, about=SMALL):
    """The model that a file becomes, after its logits were compared with the file on another image."""
    model = from_onnx(path, about)
    images = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(runner(model)(images), logits_of_onnx(path, images), 1e-4, 1e-4)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_the_networks_of_onnx_are_read(path):
    model = from_onnx(path, About(Preparation.imagenet_torchvision()))
    expected = numpy_helper.to_array(onnx.load_tensor(str(path).replace(".onnx", "_output_0.pb"))).reshape(1, -1)
    found = runner(model)(np.random.default_rng(0).random((1, 3, 224, 224), np.float32))
    if abs(expected.sum() - 1) < 1e-3:  # a softmax, which the model leaves out
        found = np.exp(found - found.max())
        found /= found.sum()
    np.testing.assert_allclose(found, expected, 1e-3)


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x):
        weight = nn.functional.hardsigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))
        return x * weight[:, :, None, None]


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        left, right = x.chunk(2, 1)
        x = torch.cat((left, right.relu()), 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.norm(self.conv(x))


class Block(nn.Module):
    """ConvNeXt's: layer normalisation over channels that come last."""

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.rand(8))

    def forward(self, x):
        y = self.down(nn.functional.gelu(self.up(self.norm(x.permute(0, 2, 3, 1)))))
        return x + (self.scale * y).permute(0, 3, 1, 2)


BODIES = {
    "mobilenet": lambda: nn.Sequential(nn.BatchNorm2d(8), nn.Hardswish(), Gate(8), nn.Conv2d(8, 8, 1), nn.SiLU()),
    "shuffle": Shuffle,
    "convnext": Block,
    "functions": lambda: nn.Sequential(nn.Mish(), nn.PReLU(8), nn.ELU(), nn.LeakyReLU(0.1), nn.ReLU6(), nn.Tanh()),
    "pools": lambda: nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.MaxPool2d(2, ceil_mode=True)
    ),
    "upsampled": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.Softplus()),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("opset", [13, 17])
def test_what_pytorch_exports_is_read(name, opset, tmp_path):
    torch.manual_seed(0)
    tail = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5)]
    module = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), BODIES[name](), *tail).eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, torch.zeros(1, 3, 16, 16), buffer, input_names=["x"], opset_version=opset, dynamo=False,
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    path = tmp_path / "network.onnx"
    path.write_bytes(buffer.getvalue())
    model = from_onnx(path, SMALL)
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        expected = module(images).numpy()
    np.testing.assert_allclose(runner(model)(images.numpy()), expected, 1e-4, 1e-4)
    assert "5" in model.weights  # layers keep the names of their modules


def keras_nodes():
    """What tf2onnx writes of a network that has channels last: asymmetric padding, transposes around layers."""
    numbers = np.random.default_rng(2)
    weights = {
        "w": numbers.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "scale": numbers.random(8).astype(np.float32),
        "shift": numbers.standard_normal(8).astype(np.float32),
        "pads": np.array([0, 0, 0, 0, 0, 1, 1, 0]),
        "dense": numbers.standard_normal((8 * 8 * 8, 5)).astype(np.float32),
        "row": np.array([-1, 512]),
        "three": np.float32(3),
        "zero": np.float32(0),
        "six": np.float32(6),
        "sixth": np.float32(1 / 6),
    }
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"]),
        helper.make_node("Transpose", ["padded"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "w"], ["conv"], strides=[2, 2]),
        helper.make_node("Transpose", ["conv"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Mul", ["last", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["normal"]),
        helper.make_node("Add", ["normal", "three"], ["moved"]),
        helper.make_node("Clip", ["moved", "zero", "six"], ["capped"]),
        helper.make_node("Mul", ["capped", "sixth"], ["gate"]),
        helper.make_node("Mul", ["normal", "gate"], ["swish"]),
        helper.make_node("Reshape", ["swish", "row"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"]),
    ]
    return nodes, weights


def test_a_network_with_channels_last_becomes_four_operations(tmp_path):
    path = saved(tmp_path / "keras.onnx", *keras_nodes(), image=("batch", 16, 16, 3))
    model = from_onnx(path, SMALL)
    assert [type(op).__name__ for op in model.graph.ops] == ["Conv", "Activation", "Flatten", "Linear"]
    images = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    found = runner(model)(images)
    expected = logits_of_onnx(path, images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(np.exp(found) / np.exp(found).sum(), expected, 1e-4, 1e-5)


X = ["x"]
FORMS = {
    "erf": ([("Div", ["x", "root"], "a"), ("Erf", ["a"], "b"), ("Add", ["b", "one"], "c"), ("Mul", ["x", "c"], "d"),
             ("Mul", ["d", "half"], "z")], "gelu"),
    "half first": ([("Mul", ["x", "half"], "h"), ("Div", ["x", "root"], "a"), ("Erf", ["a"], "b"),
                    ("Add", ["one", "b"], "c"), ("Mul", ["h", "c"], "z")], "gelu"),
    "exponential": ([("Neg", X, "a"), ("Exp", ["a"], "b"), ("Add", ["b", "one"], "c"), ("Div", ["x", "c"], "z")],
                    "silu"),
    "sigmoid": ([("Sigmoid", X, "a"), ("Mul", ["a", "x"], "z")], "silu"),
    "quick": ([("Mul", ["x", "root"], "m"), ("Sigmoid", ["m"], "a"), ("Mul", ["a", "x"], "z")], "silu"),
    "mish": ([("Softplus", X, "a"), ("Tanh", ["a"], "b"), ("Mul", ["x", "b"], "z")], "mish"),
    "logarithm": ([("Exp", X, "a"), ("Add", ["a", "one"], "b"), ("Log", ["b"], "c"), ("Tanh", ["c"], "d"),
                   ("Mul", ["x", "d"], "z")], "mish"),
    "hard": ([("HardSigmoid", X, "a"), ("Mul", ["x", "a"], "z")], "hard_swish"),
    "absolute": ([("Abs", X, "z")], "leaky_relu"),
    "minimum": ([("Max", ["x", "zero"], "a"), ("Min", ["a", "six"], "z")], "relu6"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_functions_are_recognised_however_they_are_spelled(name, tmp_path):
    nodes, function = FORMS[name]
    last, weights = head("z")
    made = [helper.make_node(kind, inputs, [output]) for kind, inputs, output in nodes]
    numbers = {"one": 1.0, "half": 0.5, "root": 2**0.5, "zero": 0.0, "six": 6.0}
    weights |= {key: np.float32(value) for key, value in numbers.items()}
    model = answers_are_the_same(saved(tmp_path / "n.onnx", made + last, weights))
    first = model.graph.ops[0]
    if function == "relu6":
        assert first == ReLU((0,), 6.0)
    else:
        assert isinstance(first, Activation)
        assert first.function == function
    assert len(model.graph.ops) == 4


def test_layer_normalisation_that_is_written_out_is_recognised(tmp_path):
    last, weights = head("back")
    nodes = [
        helper.make_node("Transpose", X, ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["t"], ["mean"], axes=[-1]),
        helper.make_node("Sub", ["t", "mean"], ["centred"]),
        helper.make_node("Pow", ["centred", "two"], ["squares"]),
        helper.make_node("ReduceMean", ["squares"], ["variance"], axes=[-1]),
        helper.make_node("Add", ["variance", "epsilon"], ["safe"]),
        helper.make_node("Sqrt", ["safe"], ["deviation"]),
        helper.make_node("Div", ["centred", "deviation"], ["normal"]),
        helper.make_node("Transpose", ["normal"], ["back"], perm=[0, 3, 1, 2]),
    ]
    weights |= {"two": np.float32(2), "epsilon": np.float32(1e-3)}
    model = answers_are_the_same(saved(tmp_path / "n.onnx", nodes + last, weights, opset=13))
    assert type(model.graph.ops[0]).__name__ == "LayerNorm"


def test_shapes_are_computed_and_channels_shuffled_without_a_copy(tmp_path):
    """The shape arithmetic of PyTorch's exporter: Shape, Gather, Unsqueeze, Concat, Reshape."""
    last, weights = head("z", 6)
    weights |= {"w": np.random.default_rng(0).standard_normal((6, 3, 1, 1)).astype(np.float32), "i": np.array(1),
                "two": np.array(2), "axis": np.array([0]), "n": np.array([-1]), "g": np.array([2]),
                "hw": np.array([16, 16])}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Shape", ["c"], ["s"]),
        helper.make_node("Gather", ["s", "i"], ["channels"]),
        helper.make_node("Div", ["channels", "two"], ["each"]),
        helper.make_node("Unsqueeze", ["each", "axis"], ["e"]),
        helper.make_node("Concat", ["n", "g", "e", "hw"], ["split"], axis=0),
        helper.make_node("Reshape", ["c", "split"], ["five"]),
        helper.make_node("Transpose", ["five"], ["turned"], perm=[0, 2, 1, 3, 4]),
        helper.make_node("Reshape", ["turned", "s"], ["shuffled"]),
        helper.make_node("MaxPool", ["shuffled"], ["z"], kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    ]
    model = answers_are_the_same(saved(tmp_path / "n.onnx", nodes + last, weights))
    assert [type(op) for op in model.graph.ops[:3]] == [Conv, Select, MaxPool]
    nodes[-1].attribute[0].s = b"SAME_LOWER"
    lower = from_onnx(saved(tmp_path / "n.onnx", nodes + last, weights), SMALL)
    assert isinstance(pool := lower.graph.ops[2], MaxPool)
    assert pool.padding == (1, 1, 0, 0)


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


def refused(path, *words, kind=ModelError, about=SMALL):
    """The file is refused by a message with these words, for next to nothing."""
    with cheaply(), pytest.raises(kind) as caught:
        from_onnx(path, about)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words), message


NODE = helper.make_node
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


def test_external_data_are_read_from_the_folder_of_the_model_only(tmp_path):
    nodes, weights = head("x")
    folder = tmp_path / "models"
    folder.mkdir()
    path = saved(folder / "n.onnx", nodes, weights)
    plain = answers_are_the_same(path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="data.bin", size_threshold=0)
    assert np.array_equal(from_onnx(path, SMALL).weights["fc"].weight.values(), plain.weights["fc"].weight.values())
    (folder / "data.bin").rename(tmp_path / "data.bin")
    refused(path, "data.bin")
    for location in ("../data.bin", str(tmp_path / "data.bin"), "link"):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = location if entry.key == "location" else entry.value
        path.write_bytes(model.SerializeToString())
        if location == "link":
            (folder / "link").symlink_to(tmp_path / "data.bin")
        refused(path, "outside of the model's folder")


def many_parts():
    return b"\x3a" + _length(bytes([0x0A, 0x00]) * (1 << 24))  # a graph of empty nodes


def deep():
    """Graphs in attributes of nodes of graphs."""
    inner = b""
    for _ in range(200):
        attribute = b"\x32" + _length(inner)
        node = b"\x2a" + _length(attribute)
        inner = b"\x0a" + _length(node)
    return b"\x3a" + _length(inner)


def _length(data):
    size, count = b"", len(data)
    while count >= 128:
        size, count = size + bytes([count % 128 + 128]), count // 128
    return size + bytes([count]) + data


DAMAGE = {
    "many parts": many_parts,
    "deep": deep,
    "not ONNX": lambda: b"hello, this is no network",
    "empty": lambda: b"",
    "cut off": lambda: b"\x3a\xff\xff\xff\x0f" + b"\x0a\x02\x08\x01",
    "group": lambda: b"\x3b" * 1000,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_refused_cheaply(kind, tmp_path):
    path = tmp_path / "n.onnx"
    path.write_bytes(DAMAGE[kind]())
    refused(path)


def test_a_huge_initialiser_that_has_no_bytes_is_refused(tmp_path):
    nodes, weights = head("x")
    path = saved(tmp_path / "n.onnx", nodes, weights)
    model = onnx.load(path)
    model.graph.initializer[0].dims[:] = [5, 1 << 40]
    path.write_bytes(model.SerializeToString())
    refused(path)


def bombs():
    """Name -> nodes before `z` and weights."""
    many = np.array([1 << 14, 1 << 13])
    doubled = [NODE("ConstantOfShape", ["many"], ["a0"])]
    doubled += [NODE("Add", [f"a{i}", f"a{i}"], [f"a{i + 1}"]) for i in range(30)]
    yield "computed", [*doubled, NODE("Mul", ["x", "a30"], ["z"])], {"many": many}
    yield "filled", [NODE("ConstantOfShape", ["many"], ["a"]), NODE("Mul", ["x", "a"], ["z"])], {"many": many * 100}
    yield "range", [NODE("Range", ["a", "b", "c"], ["r"]), NODE("Mul", ["x", "r"], ["z"])], {
        "a": np.array(0), "b": np.array(1 << 40), "c": np.array(1)}  # fmt: skip
    yield "expanded", [NODE("Expand", ["x", "many"], ["z"])], {"many": np.array([1, 3, 1 << 15, 1 << 15])}
    yield "enlarged", [NODE("Resize", ["x", "", "s"], ["z"])], {"s": np.array([1, 1, 4096, 4096], np.float32)}
    grown = [NODE("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=1) for i in range(40)]
    yield "doubled", [NODE("Relu", X, ["c0"]), *grown, NODE("Identity", ["c40"], ["z"])], {}
    padded = NODE("Pad", ["x", "p"], ["z"])
    yield "padded", [padded], {"p": np.array([0, 0, 1 << 20, 1 << 20, 0, 0, 0, 0])}
    kernel = NODE("ConstantOfShape", ["k"], ["w"])
    yield "kernels", [kernel, NODE("Conv", ["x", "w"], ["z"], pads=[8, 8, 8, 8])], {"k": np.array([1 << 20, 3, 9, 9])}
    chain = [NODE("Add", [f"r{i}", f"r{i}"], [f"r{i + 1}"]) for i in range(3000)]
    yield "chain", [NODE("Sigmoid", X, ["r0"]), *chain, NODE("Erf", ["r3000"], ["z"])], {}


@pytest.mark.parametrize("bomb", list(bombs()), ids=lambda bomb: bomb[0])
def test_networks_that_ask_for_too_much_are_refused(bomb, tmp_path):
    _, nodes, extra = bomb
    last, weights = head("z")
    refused(saved(tmp_path / "n.onnx", nodes + last, {**weights, **extra}))


def test_a_huge_image_is_refused(tmp_path):
    nodes, weights = head("x")
    refused(saved(tmp_path / "n.onnx", nodes, weights, image=(1, 3, 1 << 20, 1 << 20)), kind=LimitExceeded)


def test_a_cycle_is_refused(tmp_path):
    last, weights = head("z")
    nodes = [NODE("Add", ["x", "b"], ["a"]), NODE("Relu", ["a"], ["b"]), NODE("Relu", ["b"], ["z"])]
    refused(saved(tmp_path / "n.onnx", nodes + last, weights), "computed later or nowhere")


def test_operators_of_other_versions_are_refused(tmp_path):
    nodes, weights = head("x")
    refused(saved(tmp_path / "n.onnx", nodes, weights, opset=6), "opset 6")
    refused(saved(tmp_path / "m.onnx", nodes, weights, opset=99), "opset 99")


def test_images_of_another_size_are_refused(tmp_path):
    nodes, weights = head("x")
    path = saved(tmp_path / "n.onnx", nodes, weights, image=(1, 3, 24, 24))
    refused(path, "24 x 24", "16 x 16")
    about = About(Preparation(16, 16))
    assert from_onnx(saved(path, nodes, weights, image=("n", 3, "h", "w")), about).graph.input_shape == (3, 16, 16)


def test_fields_are_counted():
    assert count_parts(b"") == 0
    with pytest.raises(ModelError, match=f"{MAX_ONNX_PARTS:,}"):
        count_parts(many_parts())
