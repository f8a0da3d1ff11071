"""How many bytes a compressed model would take without entropy coding, counted as the papers count.

>>> fixed_width_bytes(model) > len(sqz.encode(model))                   # doctest: +SKIP
True
"""

from math import prod

import numpy as np

from squeezenet.model import Model, Shared
from squeezenet.sqz.positions import to_symbols

GAP_BITS = 4  # the authors' file for SqueezeNet


def fixed_width_bytes(model: Model) -> int:
    """Bytes of indices and 4-bit gaps of fixed width (fillers counted), float32 codebooks and biases."""
    total = 0
    for held in model.weights.values():
        total += 4 * held.bias.size
        if not isinstance(held.weight, Shared):
            total += 4 * prod(held.weight.shape)
            continue
        where = np.flatnonzero(held.weight.indices)
        stored = to_symbols(where, (1 << GAP_BITS) - 1).size
        total += 4 * held.weight.codebook.size + -(-stored * (held.weight.bits + GAP_BITS) // 8)
    return total
