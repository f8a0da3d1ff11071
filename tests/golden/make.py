"""Makes the golden files of a new version of the format: run once, when it is released, and never again.

    python tests/golden/make.py

The tiny files hold every operation and every coding there was at first; the files of levels the codings that came
later: level streams, and both forms for lists of floats. The files of integers are integer networks, with 9-bit and
wide values. The files of operations hold the operations from 13 on, with floats and with integers. Each output of the
labels files is a yes or no. The images of the oblong files are not square. The .json beside each says what any reader
must get from it. All numbers come from integer arithmetic, so they are the same on every machine. A file that exists
is left alone.
"""

import json
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from squeezenet import sqz
from squeezenet.fixed_point import Scale
from squeezenet.graph import (
    LRN,
    Activation,
    AdaptivePool,
    Add,
    AvgPool,
    Concat,
    Conv,
    Flatten,
    GlobalAvgPool,
    Graph,
    LayerNorm,
    Linear,
    MaxPool,
    Multiply,
    Op,
    ReLU,
    Select,
    Upsample,
)
from squeezenet.model import Grid, IntegerWeights, Model, Plain, Shared, Tensor, Weights
from squeezenet.preparation import Preparation
from squeezenet.runtime.run import NUMPY, runner
from squeezenet.sqz import delta

HERE = Path(__file__).parent
GRAPH = Graph(
    (3, 13, 13),
    (
        Conv((0,), "conv1", 8, (3, 3), (2, 2), (1, 1)),  # 1: (8, 7, 7)
        ReLU((1,)),
        LRN((2,), 5, 0.25, 0.5, 1.5),
        MaxPool((3,), (2, 2), (2, 2), ceil=True),  # 4: (8, 4, 4)
        Conv((4,), "fire2/squeeze1x1", 4, (1, 1)),
        ReLU((5,), 6.0),
        Conv((6,), "fire2/expand1x1", 8, (1, 1)),
        Conv((6,), "fire2/expand3x3", 8, (3, 3), padding=(1, 1), groups=2),
        Concat((7, 8)),  # 9: (16, 4, 4)
        AvgPool((9,), (2, 2), (1, 2), (1, 0)),  # 10: (16, 5, 2)
        MaxPool((10,), (3, 1), (1, 1), (1, 0)),
        Add((10, 11)),
        GlobalAvgPool((12,)),
        Flatten((13,)),
        Linear((14,), "fc", 10),
    ),
)


def numbers(count: int, seed: int) -> np.ndarray:
    """Integers from -512 to 511 that look random."""
    values = []
    for _ in range(count):
        seed = (seed * 1103515245 + 12345) % 2**31
        values.append((seed >> 16) % 1024 - 512)
    return np.array(values)


def dense(shape: tuple[int, ...], seed: int) -> Plain:
    return Plain((numbers(prod(shape), seed) / 1024).astype(np.float32).reshape(shape))


def sparse(shape: tuple[int, ...], seed: int) -> Plain:
    kept = numbers(prod(shape), seed + 1).reshape(shape) > 350
    return Plain(np.where(kept, dense(shape, seed).data, np.float32(0)))


def shared(shape: tuple[int, ...], seed: int, density: float) -> Shared:
    drawn = numbers(2 * prod(shape), seed)
    indices = np.where(drawn[::2] + 512 < 1024 * density, drawn[1::2] % 6 + 1, 0).astype(np.uint16)
    return Shared(indices.reshape(shape), np.array([-0.75, -0.375, -0.0, 0.125, 0.5, 1.0], np.float32))


def model() -> Model:
    shapes = GRAPH.weight_shapes()
    weights: dict[str, Tensor] = {
        "conv1": dense(shapes["conv1"], 1),
        "fire2/squeeze1x1": shared(shapes["fire2/squeeze1x1"], 2, 1.0),
        "fire2/expand1x1": sparse(shapes["fire2/expand1x1"], 3),
        "fire2/expand3x3": shared(shapes["fire2/expand3x3"], 4, 0.1),
        "fc": sparse(shapes["fc"], 5),
    }
    return Model(
        GRAPH,
        {n: Weights(w, (numbers(shapes[n][0], 9) / 256).astype(np.float32)) for n, w in weights.items()},
        Preparation(16, 13, "shorter", "BGR", (104.0, 117.0, 123.0), (1.0, 2.0, 58.5)),
        tuple(f"cat {i}, Katze {i}, кошка {i}" for i in range(10)),
        {"name": "tiny", "made by": "tests/golden/make.py"},
    )


def levels_model() -> Model:
    """Two layers with most weights pruned, the rest near zero: what level streams are for."""
    graph = Graph(
        (3, 13, 13),
        (
            Conv((0,), "conv1", 24, (3, 3), (2, 2)),
            ReLU((1,)),
            GlobalAvgPool((2,)),
            Flatten((3,)),
            Linear((4,), "fc", 40),
        ),
    )
    weights = {}
    for seed, (name, shape) in enumerate(graph.weight_shapes().items()):
        drawn = numbers(2 * prod(shape), seed)
        ranks = (drawn[::2] + drawn[1::2]) // 2 // 40  # -13 to 12, the middle most often
        ranks[abs(ranks) < 5] = 0
        indices = np.where(ranks == 0, 0, np.where(ranks < 0, ranks + 14, ranks + 5)).astype(np.uint16)
        codebook = np.array([i / 7 for i in (*range(-13, -4), *range(5, 13))], np.float32)
        weights[name] = Weights(
            Shared(indices.reshape(shape), codebook), (numbers(shape[0], seed + 5) / 77).astype(np.float32)
        )
    preparation = Preparation(16, 13, "stretch", "RGB", (128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
    return Model(graph, weights, preparation, (), {"name": "levels", "made by": "tests/golden/make.py"})


def integer_model() -> Model:
    """A Fire module with a bypass: scales of every kind, moved between and joined in every way there is."""
    graph = Graph(
        (3, 13, 13),
        (
            Conv((0,), "conv1", 12, (3, 3), (2, 2), (1, 1)),  # 1: (12, 7, 7), 9 bits
            ReLU((1,)),
            MaxPool((2,), (3, 3), (2, 2)),  # 3: (12, 3, 3)
            Conv((3,), "fire2/squeeze1x1", 6, (1, 1)),
            ReLU((4,)),  # 5, 9 bits
            Conv((5,), "fire2/expand1x1", 8, (1, 1)),
            Conv((5,), "fire2/expand3x3", 8, (3, 3), padding=(1, 1)),
            Concat((6, 7)),  # 8: (16, 3, 3)
            Conv((3,), "bypass", 16, (1, 1)),
            Add((8, 9)),
            ReLU((10,), 2.0),
            AvgPool((11,), (2, 2), (1, 1)),
            Conv((12,), "conv10", 10, (1, 1)),
            GlobalAvgPool((13,)),
            Flatten((14,)),
        ),
    )
    weights = {}
    for seed, (name, shape) in enumerate(graph.weight_shapes().items()):
        levels = (numbers(prod(shape), seed) // 10).reshape(shape).astype(np.int16)
        exponents = (numbers(shape[0], seed + 50) // 100 - 60).astype(np.int16)
        weights[name] = IntegerWeights(Grid(levels, exponents), numbers(shape[0], seed + 70).astype(np.int32))
    deep1, deep2, signed, summed = Scale(-64, nine_bit=True), Scale(-72, nine_bit=True), Scale(-44, 100), Scale(-36, 90)
    scales = (Scale(-48, 128), *[deep1] * 3, *[deep2] * 2, *[signed] * 3, Scale(-34, 140), *[summed] * 3)
    preparation = Preparation(16, 13, "stretch", "RGB", (128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
    wide = Scale(-74, wide=True)
    return Model(graph, weights, preparation, (), {"name": "integers"}, (*scales, Scale(-10, 130), wide, wide))


def labels_model() -> Model:
    """Three outputs, each of them a yes or no."""
    graph = Graph((3, 13, 13), (Conv((0,), "conv1", 3, (3, 3), (2, 2)), GlobalAvgPool((1,)), Flatten((2,))))
    weights = {"conv1": Weights(dense((3, 3, 3, 3), 6), (numbers(3, 8) / 256).astype(np.float32))}
    preparation = Preparation(13, 13, "stretch", "RGB", (128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
    names = ("beach", "night", "people")
    return Model(graph, weights, preparation, names, {"name": "labels"}, outputs="labels")


def operations(last: tuple[Op, ...]) -> Graph:
    """The operations from 13 on, but layer normalisation; `last` follows value 20, of the shape (12, 2, 2)."""
    return Graph(
        (3, 13, 13),
        (
            Conv((0,), "conv1", 12, (3, 3), (2, 2), (0, 1, 1, 0)),  # 1: (12, 6, 6)
            Activation((1,), "hard_swish", 0.25, 0.5),
            Select((2,), 0, (1, 6)),
            Select((2,), 6, (1, 6)),
            Conv((4,), "branch", 6, (3, 3), padding=(2, 2), groups=6, dilation=(2, 2)),
            Activation((5,), "silu", 1.0),
            Concat((3, 6)),
            Select((7,), 11, (6, 2), (-1, -5)),  # 8: (12, 6, 6), mixed
            GlobalAvgPool((8,)),
            Conv((9,), "fc1", 4, (1, 1)),
            Activation((10,), "leaky_relu", 0.125),
            Conv((11,), "fc2", 12, (1, 1)),
            Activation((12,), "hard_sigmoid", 0.25, 0.5),
            Multiply((8, 13)),
            MaxPool((14,), (2, 2), (1, 1), (0, 0, 1, 1)),  # 15: (12, 6, 6)
            AvgPool((15,), (3, 3), (2, 2), (1, 1), True, False),  # 16: (12, 4, 4)
            Upsample((16,), (2, 1)),
            AdaptivePool((17,), (3, 3)),
            AdaptivePool((18,), (2, 2), True),
            Add((19, 13)),  # 20: (12, 2, 2)
            *last,
        ),
    )


ENDS = (Activation((20,), "clamp", -0.5, 2.0), Flatten((21,)), Linear((22,), "fc", 10))


def operations_model() -> Model:
    graph = operations((*ENDS[:1], LayerNorm((21,), 0.125), Flatten((22,)), Linear((23,), "fc", 10)))
    weights = {
        name: Weights(dense(shape, seed), (numbers(shape[0], seed + 20) / 512).astype(np.float32))
        for seed, (name, shape) in enumerate(graph.weight_shapes().items())
    }
    preparation = Preparation(16, 13, "stretch", "RGB", (128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
    return Model(graph, weights, preparation, (), {"name": "operations"})


def operations_integer_model() -> Model:
    graph = operations(ENDS)
    weights = {}
    for seed, (name, shape) in enumerate(graph.weight_shapes().items()):
        levels = (numbers(prod(shape), seed) // 10).reshape(shape).astype(np.int16)
        exponents = (numbers(shape[0], seed + 50) // 200 - 52).astype(np.int16)
        weights[name] = IntegerWeights(Grid(levels, exponents), numbers(shape[0], seed + 70).astype(np.int32))
    made, joined, product = Scale(-42, 120), Scale(-44, 30), Scale(-40, 20)
    scales = [Scale(-48, 128), made, *[joined] * 3, made, *[joined] * 4, made, Scale(-40, 30), made, Scale(-60)]
    scales += [*[product] * 6, Scale(-38, 50), *[Scale(-40, 60)] * 2, Scale(-74, wide=True)]
    preparation = Preparation(16, 13, "stretch", "RGB", (128.0, 128.0, 128.0), (64.0, 64.0, 64.0))
    return Model(graph, weights, preparation, (), {"name": "operations of integers"}, tuple(scales))


def oblong_model() -> Model:
    """Images of 9 x 21 pixels, cut out of 12 x 22."""
    graph = Graph((1, 9, 21), (Conv((0,), "conv1", 3, (3, 5), (2, 2)), GlobalAvgPool((1,)), Flatten((2,))))
    weights = {"conv1": Weights(dense((3, 1, 3, 5), 6), (numbers(3, 8) / 256).astype(np.float32))}
    preparation = Preparation((12, 22), (9, 21), "shorter", "L", (128.0,), (64.0,))
    return Model(graph, weights, preparation, ("a", "b", "c"), {"name": "oblong"})


FUNCTIONS = (
    ("clamp", -0.5, 0.75), ("leaky_relu", 0.125), ("elu", 0.5, 2.0), ("hard_sigmoid", 0.25, 0.5),
    ("hard_swish", 0.25, 0.5), ("sigmoid",), ("silu", 1.5), ("tanh",), ("gelu",), ("gelu_tanh",), ("mish",),
    ("softplus", 2.0), ("power", 0.5), ("power", -0.5, 0.125),
)  # fmt: skip
"""Every scalar function with its parameters."""


def functions_model() -> Model:
    """All scalar functions of the same value, joined."""
    activations = [Activation((1,), *function) for function in FUNCTIONS]
    joined = len(FUNCTIONS) + 2
    ops = (
        Conv((0,), "conv1", 2, (3, 3)), *activations, Concat(tuple(range(2, joined))), GlobalAvgPool((joined,)),
        Flatten((joined + 1,)), Linear((joined + 2,), "fc", 10),
    )  # fmt: skip
    graph = Graph((1, 7, 7), ops)
    weights = {
        name: Weights(dense(shape, seed), (numbers(shape[0], seed + 20) / 512).astype(np.float32))
        for seed, (name, shape) in enumerate(graph.weight_shapes().items())
    }
    return Model(graph, weights, Preparation(7, 7, "stretch", "L", (128.0,), (64.0,)), (), {"name": "functions"})


def image(shape: tuple[int, ...] = GRAPH.input_shape) -> np.ndarray:
    """The prepared image whose logits are recorded."""
    return (numbers(prod(shape), 7) / 512).astype(np.float32).reshape(1, *shape)


def facts(found: Model) -> dict[str, object]:
    """What a reader must get."""
    return {
        "labels": list(found.labels),
        "provenance": dict(found.provenance),
        "preparation": found.preparation.to_dict(),
        "operations": [described(op) for op in found.graph.ops],
        "weights": {name: held.weight.values().ravel().tolist() for name, held in found.weights.items()},
        "biases": {name: held.bias.tolist() for name, held in found.weights.items()},
        "logits": runner(found, path=NUMPY)(image(found.graph.input_shape))[0].tolist(),
        **({"outputs": found.outputs} if found.outputs != "classes" else {}),
    } | ({"scales": [str(scale).replace("nine_bit", "deep") for scale in found.scales]} if found.scales else {})


def described(op: Op) -> str:
    """The operation in words; fields that are younger than the first files are left out where they are not used."""
    return str(op).replace(", dilation=(1, 1)", "").replace(", ceil=False, counted=True", "")


def release(name: str, made: Model) -> None:
    """Write the golden file and its facts, once."""
    path = HERE / f"{name}.sqz"
    if not path.exists():
        sqz.write(made, path)
        path.with_suffix(".json").write_text(json.dumps(facts(made), indent=1, ensure_ascii=False) + "\n")


def changed_model(made: Model) -> Model:
    """An integer network of which some levels, steps and biases are others."""
    weights = {}
    for seed, (name, held) in enumerate(made.weights.items()):
        assert isinstance(held, IntegerWeights)
        levels, bias, step = held.weight.levels, held.bias, np.int16(seed % 2)
        moved = (numbers(levels.size, seed + 90) % 8 == 0).reshape(levels.shape)
        other = (numbers(bias.size, seed + 91) % 4 == 0) * np.int32(3)
        grid = Grid(np.clip(levels + moved, -100, 100).astype(np.int16), held.weight.exponents + step)
        weights[name] = IntegerWeights(grid, (bias + other).astype(np.int32))
    return replace(made, weights=weights, provenance={**made.provenance, "note": "changed"})


def release_delta(name: str, old: str, new: str) -> None:
    """Write a delta between two golden files, and the file `new` from the file `old`, once."""
    path, after = HERE / f"{name}.sqzd", HERE / f"{new}.sqz"
    before = (HERE / f"{old}.sqz").read_bytes()
    if not after.exists():
        after.write_bytes(sqz.encode(changed_model(sqz.decode(before))))
    if not path.exists():
        path.write_bytes(delta.make(before, after.read_bytes()))


if __name__ == "__main__":
    release("tiny_v1", model())
    release("levels_v1", levels_model())
    release("integers_v1", integer_model())
    release("tiny_v2", model())
    release("levels_v2", levels_model())
    release("integers_v2", integer_model())
    release("labels_v2", labels_model())

    release("operations_v2", operations_model())
    release("operations_integers_v2", operations_integer_model())
    release("oblong_v2", oblong_model())
    release("functions_v2", functions_model())
    release_delta("delta_v2", "operations_integers_v2", "delta_v1")
