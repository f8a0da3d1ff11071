"""Compressing a model by a recipe. Every stage is also a function that works alone.

>>> compress(model, pixels, CompressionRecipe("deep-compression", seed=1)).data          # doctest: +SKIP
"""

from squeezenet.compression.outcome import Compressed, Listener, Tried
from squeezenet.compression.recipe import CompressionRecipe, Learning, LowRank, Pruning, Sharing
from squeezenet.compression.run import compress

__all__ = [
    "Compressed",
    "CompressionRecipe",
    "Learning",
    "Listener",
    "LowRank",
    "Pruning",
    "Sharing",
    "Tried",
    "compress",
]
