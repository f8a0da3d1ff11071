"""Method `squeeze`: integer networks of a wanted file size. Rounding and training count the bits of the weights.

>>> squeeze(model, pixels, CompressionRecipe(max_bytes=300_000), CPU).data               # doctest: +SKIP
"""

from squeezenet.compression.squeeze.curves import Curves, Point, measure
from squeezenet.compression.squeeze.goals import refuse_impossible, squeeze

__all__ = ["Curves", "Point", "measure", "refuse_impossible", "squeeze"]
