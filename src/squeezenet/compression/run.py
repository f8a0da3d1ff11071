"""`compress` carries out a recipe, from a model to the bytes of the compressed file.

>>> compressed = compress(model, pixels, CompressionRecipe(max_bytes=300_000))           # doctest: +SKIP
>>> write_atomically("birds.sqz", compressed.data)                                       # doctest: +SKIP

It prints nothing. To see how far it is, which may take minutes, give it a function of (done, expected, doing):

>>> compress(model, pixels, recipe, listener=Listener(progress=print))                   # doctest: +SKIP
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from squeezenet.compression.deep_compression.stages import factor_prune_share
from squeezenet.compression.outcome import NOBODY, Compressed, Judge, Listener, encoded
from squeezenet.compression.recipe import CompressionRecipe, fingerprint, record
from squeezenet.compression.squeeze.goals import squeeze
from squeezenet.data import Pixels
from squeezenet.data.pixels import checked
from squeezenet.errors import UsageError
from squeezenet.model import Model
from squeezenet.training.surroundings import computing_threads, usual_device


def compress(
    model: Model,
    pixels: Pixels | NDArray[np.uint8] | None,
    recipe: CompressionRecipe,
    *,
    judge: Judge | None = None,
    listener: Listener = NOBODY,
    work: Path | None = None,
    device: torch.device | None = None,
) -> Compressed:
    """What `recipe` makes of `model`, with its file; the model given is not changed.

    Networks are calibrated and retrained on `pixels` (or an array of uint8 (N, C, height, width)), on `device` (None:
    the usual one). `recipe.max_loss` needs a `judge`. A run that was stopped goes on from what it left in `work`. The
    provenance of the model that is returned holds the recipe, with the fingerprint of `pixels`. Raises `UsageError` for
    a recipe that does not fit the network, `DataError` for pixels that do not, `BadGraph` for an operation without an
    integer form, `TrainingError` if retraining diverges.
    """
    device = device or usual_device()
    pixels = None if pixels is None else checked(pixels, model.preparation)
    if pixels is None and recipe.learning.epochs:
        raise UsageError("learning.epochs: there is nothing to learn from; name the images with --data")
    if judge is None and recipe.max_loss is not None:
        raise UsageError("max_loss needs labelled images to judge by; name them with --data, or ask for max_bytes")
    recipe = replace(recipe, images=None if pixels is None else fingerprint(pixels))
    model = replace(model, provenance=record(model.provenance, recipe))
    with computing_threads(recipe.threads):
        model = factor_prune_share(model, pixels, recipe, device, listener, work)
        if "squeeze" in recipe.methods:
            return squeeze(model, pixels, recipe, device, judge, listener, work)
    return encoded(model)
