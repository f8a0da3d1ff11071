"""From end to end: factor layers, prune, share weights, and retrain after each (SqueezeNet, table 2).

    >>> squeezed = deep_compression(model, pixels, Settings(bits=Bits(6, 6)))           # doctest: +SKIP
    >>> thin = compress(model, pixels, Settings(rank="ratio=5", density=None, bits=None))     # doctest: +SKIP
    >>> sqz.write(squeezed, "squeezed.sqz")       # codes positions and indices               # doctest: +SKIP

Every stage is a function that can be used alone (`factor`, `prune`, `share`, `fine_tune`); this module only puts them
in order. Pruning and sharing together are Deep Compression (1510.00149).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from squeezenet.compression import finetune, low_rank
from squeezenet.compression.deep_compression import prune, sensitivity
from squeezenet.compression.deep_compression.codebook import Initialisation, share
from squeezenet.compression.deep_compression.compensate import share_compensated
from squeezenet.compression.finetune import Objective, Teaching, Tuning
from squeezenet.data import Pixels
from squeezenet.data.augment import Augmentation
from squeezenet.errors import UsageError
from squeezenet.factors import joined
from squeezenet.fire import fire_modules
from squeezenet.graph import Graph, Linear
from squeezenet.model import Model
from squeezenet.models.network import Network, SharedWeight, from_model, to_weights
from squeezenet.training.surroundings import usual_device
from squeezenet.version import __version__

OnStage = Callable[[str, Model], object]

FACTORING_IMAGES = 256  # a fully connected layer sees each but once
SENSITIVITY_IMAGES = 64
SHARING_IMAGES = 96  # more do not help: a layer sees thousands of positions of each


@dataclass(frozen=True)
class Bits:
    """Width of an index into the codebook, for convolutions and for fully connected layers."""

    conv: int = 8
    fc: int = 5

    def of(self, graph: Graph) -> dict[str, int]:
        """Layer name -> bits."""
        return {op.name: self.fc if isinstance(op, Linear) else self.conv for op in graph.layers}


@dataclass(frozen=True)
class Settings:
    """What is asked for. A stage whose `rank`, `density` or `bits` is None is left out.

    `rank` is a share of the full rank, or one of `low_rank.RANK_WORDS`; `density` is a number, or one of the words of
    `DENSITY_WORDS`. `objective` "auto" fine-tunes on labels where there are enough of them, else by distillation.
    `augmentation` None mirrors photographs while distilling: the teacher answers whatever it is shown. `float_bits` is
    what is kept of each centroid and bias in the end, of the 32 bits of a float.
    """

    rank: str | float | None = None
    density: str | float | None = "auto"
    bits: Bits | None = field(default_factory=Bits)
    initialisation: Initialisation = "linear"
    objective: Objective | Literal["auto"] = "auto"
    prune_steps: int = 4
    factor: Tuning = field(default_factory=lambda: Tuning(epochs=2.0))
    prune: Tuning = field(default_factory=lambda: Tuning(epochs=4.0))
    share: Tuning = field(default_factory=lambda: Tuning(epochs=2.0))
    augmentation: Augmentation | None = None
    float_bits: int = 20
    seed: int = 0
    device: torch.device = field(default_factory=usual_device)  # that retraining is done on


DENSITY_WORDS = (
    "auto: what the model already has if it is pruned, else paper, else sensitivity=0.33",
    "keep: prune nothing more",
    "paper: the papers' densities for SqueezeNet and AlexNet",
    "sensitivity=X: X of all weights, each layer by how little it minds",
)


def compress(
    model: Model, pixels: Pixels | None, settings: Settings, on_stage: OnStage = lambda name, model: None
) -> Model:
    """Compress `model`, fine-tuning on `pixels` where there are some; the model given is not changed.

    `on_stage` is called with ("factored", model), ("pruned", model) and ("shared", model) as they come about. Raises
    `UsageError` for settings that do not fit the network, `TrainingError` if fine-tuning diverges.
    """
    network = from_model(model).eval()
    teaching = None
    if pixels is not None:
        teaching = finetune.teaching_for(
            model, network, pixels, settings.objective, settings.augmentation, device=settings.device
        )
    if settings.rank is not None:
        model, network = _factor(model, network, teaching, settings)
        on_stage("factored", _snapshot(model, network, settings))
    if settings.density is not None:
        densities = resolve_densities(network, teaching, settings.density)
        before = prune.current_densities(network)
        if any(densities[name] < before[name] for name in densities):
            _prune(network, before, densities, teaching, settings)
            on_stage("pruned", _snapshot(model, network, settings))
        elif settings.bits is None:
            raise UsageError(f"density {settings.density}: no layer has more left than that; give less")
    if settings.bits is not None:
        _share(network, settings.bits, teaching, settings)
        round_floats(network, settings.float_bits)
        on_stage("shared", _snapshot(model, network, settings))
    return _snapshot(model, network, settings)


def deep_compression(
    model: Model, pixels: Pixels | None, settings: Settings, on_stage: OnStage = lambda name, model: None
) -> Model:
    """`compress` as that paper does: no layer is factored."""
    return compress(model, pixels, replace(settings, rank=None), on_stage)


def resolve_densities(network: Network, teaching: Teaching | None, density: str | float) -> dict[str, float]:
    """Layer name -> kept share of its weights, for any value of `Settings.density`."""
    current = prune.current_densities(network)
    graph = network.graph
    if density == "auto":
        if min(current.values()) < 0.9:
            density = "keep"
        elif len(fire_modules(joined(graph))) == 8:
            density = "paper"
        else:
            density = "sensitivity=0.33"
    if density == "keep":
        return current
    if density == "paper":
        return prune.paper_densities(graph)
    if isinstance(density, str) and density.startswith("sensitivity="):
        if teaching is None:
            raise UsageError("a sensitivity sweep needs images; pass --data, or one density such as --density 0.3")
        return _sweep(network, teaching, _share_of(density.removeprefix("sensitivity=")))
    return prune.uniform_densities(graph, _share_of(density))


def round_floats(network: Network, bits: int) -> None:
    """Round centroids and biases to the upper `bits` of their 32, to nearest; the file then stores only those."""
    with torch.no_grad():
        for op in network.graph.layers:
            values: list[Tensor] = [network.bias(op.name)]
            weight = network.weight(op.name)
            if isinstance(weight, SharedWeight):
                values.append(weight.codebook)
            for value in values:
                value.copy_(rounded(value, bits))


def rounded(values: Tensor, bits: int) -> Tensor:
    """float32 `values` with all but their upper `bits` bits (sign, exponent, start of the mantissa) set to zero."""
    drop = 32 - bits
    if drop == 0:
        return values
    whole = values.detach().contiguous().view(torch.int32)
    return ((whole + (1 << (drop - 1)) >> drop) << drop).view(torch.float32)


def _factor(model: Model, network: Network, teaching: Teaching | None, settings: Settings) -> tuple[Model, Network]:
    """The model in factors, and its network, retrained."""
    assert settings.rank is not None
    images = None if teaching is None else finetune.some(teaching.pixels, teaching.preparation, FACTORING_IMAGES)
    with tqdm(desc="low rank", unit="layer", leave=False, disable=None) as bar:
        spectra = low_rank.measure(network, images, bar.update)
    model = low_rank.factor(model, low_rank.choose_ranks(model.graph, spectra, settings.rank), spectra)
    network = from_model(model).eval()
    if teaching is not None:
        _fine_tune(network, teaching, replace(settings.factor, seed=settings.seed), "low rank")
    return model, network


def _prune(
    network: Network,
    before: dict[str, float],
    after: dict[str, float],
    teaching: Teaching | None,
    settings: Settings,
) -> None:
    """Prune a little, retrain, prune more: large steps first, small ones at the end (Zhu and Gupta 2017)."""
    steps = settings.prune_steps if teaching is not None else 1
    for step in range(1, steps + 1):
        left = (1 - step / steps) ** 3
        prune.prune(network, {name: after[name] + (before[name] - after[name]) * left for name in after})
        if teaching is not None:
            tuning = replace(settings.prune, epochs=settings.prune.epochs / steps, seed=settings.seed + step)
            _fine_tune(network, teaching, tuning, f"pruning {step}/{steps}")


def _share(network: Network, wanted: Bits, teaching: Teaching | None, settings: Settings) -> None:
    bits = wanted.of(network.graph)
    if teaching is None:
        share(network, bits, settings.initialisation, settings.seed)
        return
    images = finetune.some(teaching.pixels, teaching.preparation, SHARING_IMAGES)
    with tqdm(total=len(bits), desc="weight sharing", unit="layer", leave=False, disable=None) as bar:
        share_compensated(network, images, bits, settings.initialisation, settings.seed, bar.update)
    _fine_tune(network, teaching, settings.share, "trained quantization")


def _fine_tune(network: Network, teaching: Teaching, tuning: Tuning, what: str) -> None:
    steps = finetune.steps_of(tuning.epochs, tuning.batch_size, len(teaching.pixels))
    with tqdm(total=steps, desc=what, unit="step", leave=False, disable=None) as bar:

        def tick(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()

        finetune.fine_tune(network, teaching, tuning, tick)


def _sweep(network: Network, teaching: Teaching, target: float) -> dict[str, float]:
    with tqdm(total=len(network.graph.layers), desc="sensitivity", unit="layer", leave=False, disable=None) as bar:
        curves = sensitivity.measure(
            network, finetune.some(teaching.pixels, teaching.preparation, SENSITIVITY_IMAGES), bar.update
        )
    return sensitivity.choose(curves, network.graph, target)


def _share_of(density: str | float) -> float:
    try:
        share_kept = float(density)
    except ValueError:
        raise UsageError(f"density {density!r}: give a number, or {'; '.join(DENSITY_WORDS)}") from None
    if not 0 < share_kept <= 1:
        raise UsageError(f"density {density}: must be above 0 and at most 1")
    return share_kept


def _snapshot(model: Model, network: Network, settings: Settings) -> Model:
    stages = [] if settings.rank is None else [f"svd {settings.rank}"]
    if settings.bits is not None:
        stages.append(f"deep-compression, {settings.bits.conv}/{settings.bits.fc} bits")
    elif settings.density is not None:
        stages.append("prune")
    provenance = {
        **model.provenance,
        "method": f"{' + '.join(stages)}, seed {settings.seed}",
        "made by": f"squeezenet {__version__}",
    }
    return replace(model, weights=to_weights(network), provenance=provenance)
