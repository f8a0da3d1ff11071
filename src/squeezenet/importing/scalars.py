"""Recognises functions of one number by their values, whatever operations an exporter wrote.

    >>> steps = recognise(lambda x: x * np.clip(x + 3, 0, 6) / 6)
    >>> steps[0].function, round(steps[0].a, 4), steps[0].b
    ('hard_swish', 0.1667, 0.5)

A GELU may be one operation, or five operations around `Erf`, with its factors in any order. The composition is
evaluated at some points and compared with each function of `graph.Activation`. The parameters of this function are
computed from the values at a few points. So no pattern of operations has to be matched.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from squeezenet.graph import Activation, Function, ReLU
from squeezenet.importing.builder import SMALLEST, Value
from squeezenet.scalar_functions import evaluate

Reals = NDArray[np.float64]

MOST_PARTS = 64
"""Operations in an expression. A longer expression is cut into several."""

_FAR = np.geomspace(50, 1e6, 12)
POINTS = np.unique(np.concatenate([np.linspace(-8, 8, 257), np.linspace(-40, 40, 81), _FAR, -_FAR, [-1e-3, 1e-3]]))
"""Where functions are compared: closely around zero, and as far out as any value of a network."""

CLOSE = 2e-6
"""Relative and absolute difference of two functions that count as equal: constants in files are float32."""


@dataclass(frozen=True, eq=False)
class Scalar:
    """An expression of one value, for each element: `function` of `parts`, or the value itself without a function."""

    base: Value
    function: Callable[..., Any] | None = None
    parts: "tuple[Scalar | float, ...]" = ()
    name: str = ""
    label: str = ""
    count: int = 1

    def at(self, known: "dict[Scalar, Any]") -> Any:
        """The values of the expression, from those of the parts in `known`. Raises `KeyError` if one is missing."""
        if self not in known:
            if self.function is None:
                raise KeyError
            arguments = [part.at(known) if isinstance(part, Scalar) else part for part in self.parts]
            known[self] = self.function(*arguments)
        return known[self]

    def below(self) -> "Iterator[Scalar]":
        """All parts of the expression, each after its own parts; without the expression itself."""
        seen: dict[Scalar, None] = {}
        for part in self.parts:
            if isinstance(part, Scalar):
                seen |= dict.fromkeys((*part.below(), part))
        yield from seen


@dataclass(frozen=True)
class Affine:
    """`scale * x + shift`."""

    scale: float
    shift: float


Step = Activation | ReLU | Affine


def recognise(function: Callable[[Any], Any]) -> list[Step] | None:
    """Operations with `inputs` (0,) that compute `function`, or None if no functions of the graph compute it."""
    with np.errstate(all="ignore"):
        y = np.broadcast_to(np.asarray(function(POINTS), np.float64), POINTS.shape)
        for steps in _candidates(POINTS, y):
            if _equal(_apply(steps, POINTS), y):
                return steps
    return None


def _apply(steps: list[Step], x: Reals) -> Reals:
    for step in steps:
        if isinstance(step, Affine):
            x = step.scale * x + step.shift
        elif isinstance(step, ReLU):
            x = np.clip(x, 0, step.cap or None)
        else:
            x = evaluate(step, x)
    return x


def _equal(found: Reals, wanted: Reals) -> bool:
    """Whether both are equal, where `wanted` is a number: the root of a variance is never that of a negative number.

    Exporters write softplus as log(1 + exp(x)): infinities at large |x| are not compared.
    """
    compared = np.isfinite(wanted) | (~np.isnan(wanted) & (np.abs(POINTS) < 80) & (POINTS != 0))
    return bool(np.allclose(found[compared], wanted[compared], CLOSE, CLOSE))


def _candidates(x: Reals, y: Reals) -> Iterator[list[Step]]:
    def at(point: float) -> float:
        return float(np.interp(point, x, y))

    def scaled(scale: float, function: Function, a: float = 0.0, b: float = 0.0) -> list[Step]:
        op = Activation((0,), function, a, b)
        return [op] if abs(scale - 1) < CLOSE else [op, Affine(scale, 0.0)]

    zero, far = at(0.0), 40.0
    slope = at(1.0) - zero
    yield [] if abs(slope - 1) < CLOSE and abs(zero) < CLOSE else [Affine(slope, zero)]
    low, high = float(y.min()), float(y.max())
    if low < high:
        if low == 0 and at(far) > 0:
            yield [ReLU((0,), 0.0 if high >= x[-1] else high)]
        biggest = float(np.finfo(np.float32).max)
        yield [Activation((0,), "clamp", -biggest if low <= x[0] else low, biggest if high >= x[-1] else high)]
    scale = at(far) / far
    if scale > 0:
        yield scaled(scale, "leaky_relu", at(-far) / -far / scale)
        yield scaled(scale, "gelu")
        yield scaled(scale, "gelu_tanh")
        yield scaled(scale, "mish")
        if abs(zero) < CLOSE and 0 < at(1.0) < scale:
            yield scaled(scale, "silu", _tidy(-np.log(scale / at(1.0) - 1)))
        if abs(zero) < CLOSE and at(-far) < 0:
            a = -at(-far) / scale
            if at(-1.0) / scale > -a:
                yield scaled(scale, "elu", _tidy(a), _tidy(-np.log1p(at(-1.0) / scale / a)))
        top = at(1e6) / 1e6
        h = [at(point) / point / top for point in (-1e-3, 1e-3)]
        if 0 < h[0] < 1 and 0 < h[1] < 1:
            yield scaled(top, "hard_swish", _tidy((h[1] - h[0]) / 2e-3), _tidy((h[0] + h[1]) / 2))
        if zero > 0:
            yield scaled(scale, "softplus", _tidy(np.log(2) / zero * scale))
    for power in (0.5, -0.5):
        b, above = np.array([zero, at(1.0)]) ** (1 / power)  # the power of a * x + b, at 0 and at 1
        if b >= 0 and (a := above - b) > 0 and np.isfinite(above):
            yield scaled(float(a**power), "power", power, _tidy(b / a) or (SMALLEST if power < 0 else 0.0))
    yield scaled(1.0, "sigmoid")
    yield scaled(1.0, "tanh")
    if 0 < zero < 1:
        yield [Activation((0,), "hard_sigmoid", _tidy((at(1e-3) - at(-1e-3)) / 2e-3), _tidy(zero))]


def _tidy(number: float) -> float:
    """The number, rounded to seven digits; the points do not determine more."""
    return float(f"{number:.7g}")
