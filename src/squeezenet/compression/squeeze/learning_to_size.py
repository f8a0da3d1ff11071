"""From a float network to an integer network whose file has a wanted size, by rounding and then by learning.

>>> learned = learn_to_size(model, known, 300_000, teaching, learning, round_to_size)    # doctest: +SKIP
>>> learned.after <= learned.before  # the loss on held-out images                       # doctest: +SKIP
True
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from squeezenet.compression.finetune import Teaching
from squeezenet.compression.outcome import quiet
from squeezenet.compression.recipe import Learning
from squeezenet.compression.squeeze.as_floats import Learned, hold_out, learn_as_floats, loss_on
from squeezenet.compression.squeeze.gptaq import compensate
from squeezenet.compression.squeeze.learning import learn
from squeezenet.compression.squeeze.network import IntegerNetwork, from_integer_model
from squeezenet.compression.squeeze.prepared import FileSize, Prepared, Tick, as_model
from squeezenet.compression.squeeze.rate import level_bits, total_bits
from squeezenet.compression.squeeze.rounding import round_network
from squeezenet.compression.squeeze.to_size import Rounding
from squeezenet.compression.squeeze.trimming import trimmed
from squeezenet.model import Model
from squeezenet.models.network import Network

HEADROOM = 1.02  # file size at which levels begin to learn, as a multiple of the goal (docs/experiments.md)
STEEPNESS = 4  # learning begins with the multiplier times (bits / wanted bits) ^ STEEPNESS


def learn_to_size(
    model: Model,
    known: Prepared,
    max_bytes: int,
    teaching: Teaching,
    learning: Learning,
    rounding: Rounding,
    tick: Tick = quiet,
    work: Path | None = None,
    told: Callable[[float, str], object] = quiet,
    seed: int = 0,
) -> Learned:
    """The network of at most `max_bytes` that has the least loss on held-out images: learned, or rounded alone.

    `tick` is for `rounding`. `told` gets the share of the learning that is done, and the loss in words.
    """
    teaching, held = hold_out(teaching)
    rounded, multiplier = rounding(model, known, max_bytes, tick)

    def fitting(network: IntegerNetwork) -> IntegerNetwork:
        return from_integer_model(trimmed(model, network, known, max_bytes)[0])

    def again(floats: Network) -> IntegerNetwork:
        network = round_network(floats, known.scales, known.hessians, multiplier, grain=known.grain)
        compensate(network, floats, known.images, known.hessians, multiplier, grain=known.grain)
        return fitting(network)

    rounded = fitting(rounded)
    if teaching.objective == "distill":
        return learn_as_floats(model, rounded, again, held, teaching, learning, told, work, seed)
    larger, multiplier = rounding(model, known, HEADROOM * max_bytes, tick)
    learn_levels(model, known, larger, teaching, learning, max_bytes, multiplier, work, told, seed)
    learned = fitting(larger)
    before, after = loss_on(rounded, held), loss_on(learned, held)
    return Learned(learned, before, after) if after < before else Learned(rounded, before, before)


def learn_levels(
    model: Model,
    known: Prepared,
    network: IntegerNetwork,
    teaching: Teaching,
    learning: Learning,
    max_bytes: int,
    multiplier: float,
    work: Path | None = None,
    told: Callable[[float, str], object] = quiet,
    seed: int = 0,
) -> None:
    """Train the levels of `network` in place until its file has about `max_bytes`.

    `multiplier` is the one that it was rounded with. `told` gets the share of the work that is done, and the loss and
    the size in words.
    """
    shipped = as_model(model, network)
    size = FileSize.like(shipped).of(shipped.weights)
    bits = sum(total_bits(level, level_bits(level)) for level in _levels(network))
    others = size - bits / 8  # bytes of all but levels, less what the coder saves against the estimated bits
    # If `others` is negative, it is mostly that saving, which is in proportion to the size.
    goal = 8 * max(1.0, max_bytes - others * (max_bytes / size if others < 0 else 1.0))
    multiplier *= max(1.0, bits / goal) ** STEEPNESS

    def tick(done: float, loss: float, bits: float) -> None:
        told(done, f"loss {loss:.3f}, {bits / 8 + others:,.0f} bytes")

    importance = {name: hessian.importance for name, hessian in known.hessians.items()}
    learn(network, teaching, learning, goal, multiplier, tick, work, importance, seed)


def _levels(network: IntegerNetwork) -> list[Tensor]:
    return [network.weight(op.name).levels() for op in network.graph.layers]
