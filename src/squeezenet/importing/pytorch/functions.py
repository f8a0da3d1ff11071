"""PyTorch's functions of one number: activations, limits, softmax."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from squeezenet.errors import UnsupportedOperation
from squeezenet.graph import Activation, ReLU
from squeezenet.importing.builder import FLOAT32_MAX, Value
from squeezenet.importing.draft import Erf
from squeezenet.importing.pytorch.constants import array, weight_of
from squeezenet.importing.recording import Call, Recording

SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)
"""The scale and the alpha of SELU (Klambauer et al. 2017)."""


def activation(
    function: Any, *fixed: float, named: tuple[str, ...] = (), where: str = "self"
) -> Callable[[Recording, Call], Value]:
    """An `Activation` with fixed parameters, or with those arguments of the call."""

    def build(recording: Recording, call: Call) -> Value:
        parameters = [float(call[name]) for name in named] or list(fixed)
        return recording.builder.elementwise(call[where], Activation((0,), function, *parameters))

    return build


def relu(recording: Recording, call: Call) -> Value:
    """relu."""
    return recording.builder.elementwise(call["self"], ReLU((0,)))


def clamp(recording: Recording, call: Call) -> Value:
    """clamp, clamp_min, clamp_max and hardtanh."""
    low, high = (
        next((call[name] for name in names if call.arguments.get(name) is not None), None)
        for names in (("min", "min_val"), ("max", "max_val"))
    )
    if isinstance(low, Value | Tensor) or isinstance(high, Value | Tensor):
        raise UnsupportedOperation("limits that are no numbers cannot be expressed")
    x = call["self"]
    if low == 0 and (high is None or high > 0):
        return recording.builder.elementwise(x, ReLU((0,), 0.0 if high is None else float(high)))
    low, high = -FLOAT32_MAX if low is None else float(low), FLOAT32_MAX if high is None else float(high)
    return recording.builder.elementwise(x, Activation((0,), "clamp", low, high))


def elu(recording: Recording, call: Call) -> Value:
    """scale * (x if x > 0, else alpha * (exp(input_scale * x) - 1)): ELU, SELU and CELU."""
    alpha, scale, inside = (float(call.arguments.get(name, 1)) for name in ("alpha", "scale", "input_scale"))
    result = recording.builder.elementwise(call["self"], Activation((0,), "elu", alpha, inside))
    return recording.builder.affine(result, "scale", scale, 0.0)


def selu(recording: Recording, call: Call) -> Value:
    """The SELU, with the constants of its paper."""
    result = recording.builder.elementwise(call["self"], Activation((0,), "elu", SELU[1], 1.0))
    return recording.builder.affine(result, "scale", SELU[0], 0.0)


def celu(recording: Recording, call: Call) -> Value:
    """celu: alpha * (exp(x / alpha) - 1) below 0."""
    alpha = float(call["alpha"])
    return recording.builder.elementwise(call["self"], Activation((0,), "elu", alpha, 1 / alpha))


def gelu(recording: Recording, call: Call) -> Value:
    """gelu, exact or approximated by tanh."""
    function: Any = "gelu_tanh" if call["approximate"] == "tanh" else "gelu"
    return recording.builder.elementwise(call["self"], Activation((0,), function))


def softplus(recording: Recording, call: Call) -> Value:
    """softplus."""
    return recording.builder.elementwise(call["self"], Activation((0,), "softplus", float(call["beta"])))


def erf(recording: Recording, call: Call) -> Value:
    """The error function, of which GELUs are made."""
    return recording.builder.elementwise(call["self"], Erf((0,)))


def prelu(recording: Recording, call: Call) -> Value:
    """prelu: a slope for each channel below 0."""
    slope = weight_of(call["weight"])
    x = call["self"]
    values = array(slope)
    if slope.ndim == 1 and len(x.shape) > 1:
        values = values.reshape(-1, *[1] * (len(x.shape) - 2))
    return recording.builder.prelu(x, recording.name(slope, call), values)


def softmax(recording: Recording, call: Call) -> Value:
    """softmax and log_softmax."""
    return recording.builder.softmax(call["self"], call["dim"], "log" in call.name)
