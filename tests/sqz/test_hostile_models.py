"""Models from strangers: what they say is told in one line, and what they cost follows from the bytes they hold."""

import io
import platform
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezenet import limits
from squeezenet import sqz as product
from squeezenet.cli.main import main
from squeezenet.errors import BadStream, LimitExceeded, ModelError
from squeezenet.graph import LRN, Add, Conv, Flatten, GlobalAvgPool, Graph, Linear, MaxPool, Op, ReLU
from squeezenet.runtime import Classifier, reference
from squeezenet.runtime.engine import PATHS, EngineRunner
from squeezenet.sqz import costs
from support import ROOT
from support.hostile import (
    ADD,
    AVGPOOL,
    CAPPED,
    CONV,
    FLATTEN,
    GLOBAL,
    LINEAR,
    RELU,
    ZEROS,
    conv,
    image,
    op,
    operations,
    plain,
    sqz,
    text,
)
from support.hostile import (
    LRN as NORMALISE,
)

TWO_LAYERS = image(4) + operations(conv(2), conv(2), op(GLOBAL), op(FLATTEN))


def test_inspect_takes_any_name_of_a_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Python refuses to make a number of more than 4,300 digits."""
    path = tmp_path / "digits.sqz"
    path.write_bytes(sqz(TWO_LAYERS, text(["1" * 5000, "layer 12"]), ZEROS * 2))
    assert main(["inspect", str(path)]) == 0
    assert "1" * 90 in capsys.readouterr().out


def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = image(4, std=1e-38) + operations(conv(2), conv(2), op(GLOBAL), op(FLATTEN))
    weights = plain([3e38] * 2, [0.0] * 2) + plain([3e38, -3e38, -3e38, 3e38], [0.0] * 2)
    data = sqz(graph, text(["a", "b"]), weights)
    Image.new("L", (4, 4), 200).save(tmp_path / "grey.png")
    with pytest.raises(ModelError, match="values that are not numbers"):
        Classifier(data).classify(tmp_path / "grey.png")
    (tmp_path / "nan.sqz").write_bytes(data)
    command = ["classify", "--model", str(tmp_path / "nan.sqz"), str(tmp_path / "grey.png"), "--json"]
    assert main(command) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "values that are not numbers" in told.err


def test_figures_show_names_letter_for_letter() -> None:
    figures = pytest.importorskip("squeezenet.report.figures")
    names = ["a$\\foo$b", "$$", "\\$x", "line\nend\x1b[2J", "long" * 5000, "conv1"]
    for figure in (
        figures.layers(names, [1] * 6, [50.0] * 6, "kept (%)", 100.0),
        figures.layers(names, [1] * 6, [0.5] * 6, "divergence"),
        figures.stages(names, [1, 2, 3, 4, 5, 6]),
        figures.sweep(names, {n: ([1.0] * 6, [0.0] * 6) for n in names[:3]}, "x", "y", title=names[0]),
    ):
        figure.savefig(io.BytesIO(), format="svg")


def test_python_and_the_engine_have_the_same_limits() -> None:
    header = (ROOT / "engine" / "src" / "budget.h").read_text()
    defined = re.findall(r"#define SQZ_((?:MAX|FREE)_\w+|\w+_A_BYTE) (?:\()?UINT\d+_C\((\d+)\)(?: << (\d+)\))?", header)
    assert len(defined) == header.count("#define") - 1 == 19
    for name, number, shift in defined:
        assert getattr(limits, name) == int(number) << int(shift or 0), name


def vgg16(size: int = 224) -> Graph:
    ops: list[Op] = []
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            ops += [Conv((len(ops),), f"conv{len(ops)}", width, (3, 3), padding=(1, 1)), ReLU((len(ops) + 1,))]
        ops.append(MaxPool((len(ops),), (2, 2), (2, 2)))
    ops.append(Flatten((len(ops),)))
    for width in (4096, 4096, 1000):
        ops += [Linear((len(ops),), f"fc{len(ops)}", width), ReLU((len(ops) + 1,))]
    return Graph((3, size, size), tuple(ops[:-1]))


def resnet50(size: int = 224) -> Graph:
    ops: list[Op] = [Conv((0,), "conv1", 64, (7, 7), (2, 2), (3, 3)), ReLU((1,)), MaxPool((2,), (3, 3), (2, 2), (1, 1))]

    def layer(source: int, width: int, kernel: int = 1, stride: int = 1) -> int:
        ops.append(Conv((source,), f"layer{len(ops)}", width, (kernel,) * 2, (stride,) * 2, (kernel // 2,) * 2))
        return len(ops)

    def relu(source: int) -> int:
        ops.append(ReLU((source,)))
        return len(ops)

    x = 3
    for stage, (width, count) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(count):
            stride = 2 if stage and not block else 1
            y = layer(relu(layer(relu(layer(x, width)), width, 3, stride)), 4 * width)
            ops.append(Add((y, x if block else layer(x, 4 * width, 1, stride))))
            x = relu(len(ops))
    ops += [GlobalAvgPool((x,)), Flatten((x + 1,)), Linear((x + 2,), "fc", 1000)]
    return Graph((3, size, size), tuple(ops))


def mobilenet(size: int = 224) -> Graph:
    ops: list[Op] = [Conv((0,), "first", 32, (3, 3), (2, 2), (1, 1)), ReLU((1,), 6.0)]
    inside = 32
    for out, stride in (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ):
        at = len(ops)
        ops += [Conv((at,), f"a{at}", inside, (3, 3), (stride,) * 2, (1, 1), inside), ReLU((at + 1,), 6.0)]
        ops += [Conv((at + 2,), f"b{at}", out, (1, 1)), ReLU((at + 3,), 6.0)]
        inside = out
    at = len(ops)
    ops += [GlobalAvgPool((at,)), Flatten((at + 1,)), Linear((at + 2,), "fc", 1000)]
    return Graph((3, size, size), tuple(ops))


def alexnet() -> Graph:
    ops = (
        Conv((0,), "conv1", 96, (11, 11), (4, 4)), ReLU((1,)), LRN((2,)), MaxPool((3,), (3, 3), (2, 2)),
        Conv((4,), "conv2", 256, (5, 5), (1, 1), (2, 2), 2), ReLU((5,)), LRN((6,)), MaxPool((7,), (3, 3), (2, 2)),
        Conv((8,), "conv3", 384, (3, 3), (1, 1), (1, 1)), ReLU((9,)),
        Conv((10,), "conv4", 384, (3, 3), (1, 1), (1, 1), 2), ReLU((11,)),
        Conv((12,), "conv5", 256, (3, 3), (1, 1), (1, 1), 2), ReLU((13,)), MaxPool((14,), (3, 3), (2, 2)),
        Flatten((15,)), Linear((16,), "fc6", 4096), ReLU((17,)), Linear((18,), "fc7", 4096), ReLU((19,)),
        Linear((20,), "fc8", 1000),
    )  # fmt: skip
    return Graph((3, 227, 227), ops)


# Bytes of a file in which 2% of the weights are left, each at 11 bits: its position takes 7, its value 4. The layers of
# ResNet-50 and MobileNet cannot be so empty; at half a bit a weight they are far below what anybody has shipped.
@pytest.mark.parametrize(
    ("graph", "size"),
    [
        pytest.param(vgg16(), 0.02 * 11 / 8 * 138.3e6, id="VGG-16"),
        pytest.param(alexnet(), 0.02 * 11 / 8 * 60.9e6, id="AlexNet"),
        pytest.param(Graph((256, 6, 6), (Flatten((0,)), Linear((1,), "fc6", 4096))), 0.02 * 11 / 8 * 37.7e6, id="fc6"),
        pytest.param(resnet50(), 25.5e6 / 16, id="ResNet-50"),
        pytest.param(resnet50(512), 25.5e6 / 8, id="ResNet-50 at 512"),
        pytest.param(mobilenet(), 4.2e6 / 16, id="MobileNet"),
    ],
)
def test_real_networks_are_within_the_limits_however_small_their_file(graph: Graph, size: float) -> None:
    resize = graph.input_shape[1] * 8 // 7
    costs.check_limits(graph, resize, int(size))
    assert costs.least_bytes(graph, resize) <= size


def chained(count: int, *ops: bytes, side: int = 1000, std: float = 1.0) -> bytes:
    return sqz(image(side, std=std) + operations(*ops * count, op(GLOBAL), op(FLATTEN)), text([]))


EXPENSIVE = {
    "means of an image, each of which reads all of it": sqz(
        image(5000) + operations(*(op(GLOBAL, back=i + 1) for i in range(500)), op(FLATTEN)), text([])
    ),
    "activations": chained(4000, op(RELU)),
    "capped activations": chained(4000, op(CAPPED, reals=[1.0])),
    "sums": chained(4000, op(ADD, 1)),
    "pools": chained(4000, op(AVGPOOL, 1, 1, 1, 1, 0, 0)),
    "powers": chained(500, op(NORMALISE, 1, reals=[0.0, 37.3, 1e-3])),
    "convolutions": sqz(
        image(1000) + operations(*[conv(1)] * 500, op(GLOBAL), op(FLATTEN)),
        text([str(i) for i in range(500)]),
        ZEROS * 500,
    ),
    "padded rows of a tall kernel": sqz(
        image(1) + operations(op(CONV, 64, 1025, 1, 1, 1, 512, 130943, 1), op(GLOBAL), op(FLATTEN)), text(["c"]), ZEROS
    ),
    "an image": sqz(image(8190) + operations(op(GLOBAL), conv(10), op(FLATTEN)), text(["c"]), ZEROS),
    "an image before it is cut": sqz(image(1, resize=8192) + operations(op(FLATTEN)), text([])),
    "weights": sqz(
        image(64) + operations(op(FLATTEN), op(LINEAR, 32768)), text(["fc", "k", "x" * 1_200_000], 0, 1), ZEROS
    ),
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_what_costs_much_is_refused_before_it_is_begun(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(LimitExceeded):
        product.decode(EXPENSIVE[name])
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()
    if PATHS:
        with pytest.raises(LimitExceeded):
            Classifier(EXPENSIVE[name])


def test_strings_are_counted_before_they_are_made() -> None:
    graph = image(1) + operations(op(FLATTEN))
    many = text([""] * 60_000)
    tracemalloc.start()
    with pytest.raises(BadStream, match="more or fewer strings"):
        product.decode(sqz(graph, many))
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


@pytest.mark.skipif(not PATHS, reason="the C engine was not built here")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"), reason="no such mode is known")
@pytest.mark.parametrize("outputs", [2, 16])
def test_subnormal_floats_count_as_zero(outputs: int) -> None:
    """They could take a hundred times longer; 1e-40 would be one."""
    graph = image(1) + operations(conv(outputs), op(FLATTEN))
    data = sqz(graph, text(["a"]), plain([1e-20] * outputs, [0.0] * outputs))
    for path in PATHS:
        run = EngineRunner(data, path=path)
        assert run(np.full((1, 1, 1, 1), 1e-20, np.float32)).tolist() == [[0.0] * outputs]
        assert run(np.full((1, 1, 1, 1), 1e-10, np.float32)).min() > 0


def test_a_convolution_in_strips_is_the_same() -> None:
    random = np.random.default_rng(0)
    op_, x = Conv((0,), "a", 6, (3, 2), (2, 1), (1, 1), 2), random.integers(-9, 9, (4, 11, 7)).astype(np.float32)
    weight = random.integers(-9, 9, (2, 3, 12)).astype(np.float32)
    whole = reference.convolve(op_, x, weight, (6, 8))
    for most in (1, 500, 600):
        assert np.array_equal(reference.convolve(op_, x, weight, (6, 8), most), whole)
