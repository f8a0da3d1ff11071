"""Low rank, pruning and weight sharing in this order, each followed by retraining (SqueezeNet, table 2).

>>> thin = factor_prune_share(model, pixels, CompressionRecipe("svd"), CPU, NOBODY)      # doctest: +SKIP

Each stage is a function that can be used alone (`factor`, `prune`, `share`, `fine_tune`). Pruning and sharing together
are Deep Compression (1510.00149).
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from squeezenet.compression import finetune, low_rank
from squeezenet.compression.deep_compression import prune, sensitivity
from squeezenet.compression.deep_compression.codebook import share
from squeezenet.compression.deep_compression.gptq_sharing import share_by_gptq
from squeezenet.compression.finetune import Retraining, Teaching
from squeezenet.compression.outcome import Listener
from squeezenet.compression.recipe import DENSITY_WORDS, CompressionRecipe
from squeezenet.data import Pixels
from squeezenet.errors import UsageError
from squeezenet.factors import joined
from squeezenet.fire import fire_modules
from squeezenet.model import Model
from squeezenet.models.network import Network, SharedWeight, from_model, to_weights

FACTORING_IMAGES = 256  # more than below: a fully connected layer has only one input per image
SENSITIVITY_IMAGES = 64
SHARING_IMAGES = 96  # more do not help: a layer sees thousands of positions of each


def factor_prune_share(
    model: Model,
    pixels: Pixels | None,
    recipe: CompressionRecipe,
    device: torch.device,
    listener: Listener,
    work: Path | None = None,
) -> Model:
    """The model after the stages that the recipe names; if it names none, the model itself.

    Retraining that was stopped goes on from what it left in the folder `work`.
    Raises `UsageError` for a recipe that does not fit the network, `TrainingError` if retraining diverges.
    """
    methods = recipe.methods & {"svd", "prune", "deep-compression"}
    if not methods:
        return model
    model = model.dequantised()
    network, teaching = from_model(model).eval(), None
    if pixels is not None:
        images = (pixels, recipe.objective, recipe.augmentation)
        teaching = finetune.teaching_for(model, network, *images, device=device)
    if "svd" in methods:
        model, network = _factor(model, network, teaching, recipe, work)
        listener.stage("factored", replace(model, weights=to_weights(network)))
    if methods != {"svd"}:
        densities = resolve_densities(network, teaching, recipe.pruning.density)
        before = prune.current_densities(network)
        if any(densities[name] < before[name] for name in densities):
            _prune(network, before, densities, teaching, recipe, work)
            listener.stage("pruned", replace(model, weights=to_weights(network)))
        elif "deep-compression" not in methods:
            raise UsageError(f"density {recipe.pruning.density}: no layer has more left than that; give less")
    if "deep-compression" in methods:
        _share(network, teaching, recipe, work)
        round_floats(network, recipe.sharing.float_bits)
        listener.stage("shared", replace(model, weights=to_weights(network)))
    return replace(model, weights=to_weights(network))


def resolve_densities(network: Network, teaching: Teaching | None, density: str | float) -> dict[str, float]:
    """Layer name -> kept share of its weights, for any value of `Pruning.density`."""
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
        target = _share_of(density.removeprefix("sensitivity="))
        images = finetune.some(teaching.pixels, teaching.preparation, SENSITIVITY_IMAGES)
        with tqdm(total=len(graph.layers), desc="sensitivity", unit="layer", leave=False, disable=None) as bar:
            curves = sensitivity.measure(network, images, bar.update, teaching.outputs)
            return sensitivity.choose(curves, graph, target)
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


def _factor(
    model: Model, network: Network, teaching: Teaching | None, recipe: CompressionRecipe, work: Path | None
) -> tuple[Model, Network]:
    """The model in factors, and its network, retrained."""
    images = None if teaching is None else finetune.some(teaching.pixels, teaching.preparation, FACTORING_IMAGES)
    with tqdm(desc="low rank", unit="layer", leave=False, disable=None) as bar:
        spectra = low_rank.measure(network, images, bar.update)
    model = low_rank.factor(model, low_rank.choose_ranks(model.graph, spectra, recipe.low_rank.rank), spectra)
    network = from_model(model).eval()
    if teaching is not None:
        _fine_tune(network, teaching, recipe.low_rank, recipe.seed, "low rank", work)
    return model, network


def _prune(
    network: Network,
    before: dict[str, float],
    after: dict[str, float],
    teaching: Teaching | None,
    recipe: CompressionRecipe,
    work: Path | None,
) -> None:
    """Prune a little, retrain, prune more: large steps first, small ones at the end (Zhu and Gupta 2017)."""
    steps = recipe.pruning.steps if teaching is not None else 1
    for step in range(1, steps + 1):
        left = (1 - step / steps) ** 3
        prune.prune(network, {name: after[name] + (before[name] - after[name]) * left for name in after})
        if teaching is not None:
            how = replace(recipe.pruning, epochs=recipe.pruning.epochs / steps)
            _fine_tune(network, teaching, how, recipe.seed + step, f"pruning {step} of {steps}", work)


def _share(network: Network, teaching: Teaching | None, recipe: CompressionRecipe, work: Path | None) -> None:
    bits, how = recipe.sharing.bits(network.graph), (recipe.sharing.initialisation, recipe.seed)
    if teaching is None:
        share(network, bits, *how)
        return
    images = finetune.some(teaching.pixels, teaching.preparation, SHARING_IMAGES)
    with tqdm(total=len(bits), desc="weight sharing", unit="layer", leave=False, disable=None) as bar:
        share_by_gptq(network, images, bits, *how, bar.update)
    _fine_tune(network, teaching, recipe.sharing, 0, "trained quantization", work)


def _fine_tune(network: Network, teaching: Teaching, how: Retraining, seed: int, what: str, work: Path | None) -> None:
    steps = finetune.steps_of(how, len(teaching.pixels))
    with tqdm(total=steps, desc=what, unit="step", leave=False, disable=None) as bar:

        def tick(loss: float) -> None:
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            bar.update()

        finetune.fine_tune(network, teaching, how, seed, tick, work / what.replace(" ", "-") if work else None)


def _share_of(density: str | float) -> float:
    try:
        share_kept = float(density)
    except ValueError:
        raise UsageError(f"density {density!r}: give a number, or {'; '.join(DENSITY_WORDS)}") from None
    if not 0 < share_kept <= 1:
        raise UsageError(f"density {density}: must be above 0 and at most 1")
    return share_kept
