"""Squeezing a model: every stage a function that works alone, and the pipelines that put them in order.

>>> from squeezenet.compression import prune, share                      # doctest: +SKIP
>>> prune(network, {"conv1": 0.5}); share(network, {"conv1": 6})         # doctest: +SKIP
"""

from squeezenet.compression.deep_compression.codebook import share
from squeezenet.compression.deep_compression.compensate import share_compensated
from squeezenet.compression.deep_compression.prune import magnitude_mask, prune
from squeezenet.compression.finetune import Teaching, Tuning, fine_tune
from squeezenet.compression.low_rank import choose_ranks, factor
from squeezenet.compression.pipeline import Bits, Settings, compress, deep_compression

__all__ = [
    "Bits",
    "Settings",
    "Teaching",
    "Tuning",
    "choose_ranks",
    "compress",
    "deep_compression",
    "factor",
    "fine_tune",
    "magnitude_mask",
    "prune",
    "share",
    "share_compensated",
]
