"""The translation of PyTorch's operations: a table of functions by the names of the operations."""

from collections.abc import Callable

from squeezenet.errors import UnsupportedOperation
from squeezenet.importing.builder import Value
from squeezenet.importing.pytorch import arithmetic, functions, layers, moves, windows
from squeezenet.importing.recording import Call, Recording

HARD = (1 / 6, 0.5)
"""PyTorch's hardsigmoid(x) is min(max(x / 6 + 0.5, 0), 1)."""


def translate(recording: Recording, call: Call) -> Value:
    """The value that an operation computes. Raises `UnsupportedOperation`."""
    if "attention" in call.name:
        raise UnsupportedOperation("attention cannot be expressed in a .sqz file")
    if call.name not in OPERATIONS:
        raise UnsupportedOperation(f"{call.name} cannot be expressed in a .sqz file; replace or remove it")
    return OPERATIONS[call.name](recording, call)


MOVING = (
    "channel_shuffle", "flip", "gather", "index", "index_select", "native_channel_shuffle", "pixel_shuffle",
    "pixel_unshuffle", "repeat", "roll",
)  # fmt: skip

OPERATIONS: dict[str, Callable[[Recording, Call], Value]] = {
    **dict.fromkeys(MOVING, moves.moved),
    **dict.fromkeys(("clone", "contiguous", "alias", "detach", "lift_fresh", "dropout", "native_dropout"), moves.same),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax"), functions.softmax),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6"), functions.clamp),
    **dict.fromkeys(("mean", "sum", "amax", "max"), windows.mean),
    **dict.fromkeys(("add", "sub", "rsub"), arithmetic.sum_of_two),
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update"), layers.batch_norm
    ),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"), windows.adaptive),
    **dict.fromkeys(("addmm", "mm"), layers.linear),
    **dict.fromkeys(("maximum", "minimum"), arithmetic.larger),
    **dict.fromkeys(("cat", "stack"), moves.concat),
    **dict.fromkeys(("_prelu_kernel", "prelu"), functions.prelu),
    **dict.fromkeys(("upsample_nearest2d", "_upsample_nearest_exact2d"), windows.upsample),
    "_to_copy": moves.converted,
    "abs": functions.activation("leaky_relu", -1.0),
    "addcmul": arithmetic.weighted_product,
    "avg_pool2d": windows.average_pool,
    "bmm": layers.batched,
    "celu": functions.celu,
    "constant_pad_nd": windows.pad,
    "convolution": layers.convolution,
    "copy": moves.copy,
    "div": arithmetic.quotient,
    "elu": functions.elu,
    "erf": functions.erf,
    "gelu": functions.gelu,
    "glu": arithmetic.gated,
    "hardsigmoid": functions.activation("hard_sigmoid", *HARD),
    "hardswish": functions.activation("hard_swish", *HARD),
    "leaky_relu": functions.activation("leaky_relu", named=("negative_slope",)),
    "local_response_norm": layers.response_norm,
    "max_pool2d_with_indices": windows.max_pool,
    "mish": functions.activation("mish"),
    "linalg_vector_norm": arithmetic.norm,
    "mul": arithmetic.product,
    "native_group_norm": layers.group_norm,
    "native_layer_norm": layers.layer_norm,
    "neg": arithmetic.negative,
    "pow": arithmetic.power,
    "reciprocal": arithmetic.root(-1.0),
    "relu": functions.relu,
    "rsqrt": arithmetic.root(-0.5),
    "selu": functions.selu,
    "sigmoid": functions.activation("sigmoid"),
    "silu": functions.activation("silu", 1.0),
    "softplus": functions.softplus,
    "sqrt": arithmetic.root(0.5),
    "square": lambda recording, call: recording.builder.multiply(call["self"], call["self"]),
    "std": arithmetic.variance,
    "tanh": functions.activation("tanh"),
    "var": arithmetic.variance,
}
