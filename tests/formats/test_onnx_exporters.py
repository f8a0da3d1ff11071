"""What exporters write, as models: ONNX's own networks, PyTorch, Keras, functions in many spellings."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip("onnx", reason="the extra [onnx] is not installed")
pytest.importorskip("onnx_ir", reason="the extra [onnx] is not installed")

from onnx import helper, numpy_helper

from squeezenet.formats import About, from_onnx
from squeezenet.graph import Activation, Conv, MaxPool, ReLU, Select
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import runner
from support.onnx_files import SMALL, X, answers_are_the_same, head, logits_of_onnx, saved

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))
LARGE = ("light_inception_v2", "light_vgg19")  # their operators are those of resnet50, inception_v1 and alexnet


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [pytest.param(path, marks=[pytest.mark.long] * (path.stem in LARGE), id=path.stem) for path in LIGHT]
)
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
