"""Method `squeeze`: integer networks, rounded and trained against the coder's own costs, to a wanted size.

>>> squeezed = squeeze(model, pixels, Squeezing(max_bytes=300_000))                 # doctest: +SKIP
"""

from squeezenet.compression.squeeze.curves import Curves, Point, measure
from squeezenet.compression.squeeze.learning import Learning
from squeezenet.compression.squeeze.pipeline import Listener, Squeezing, Tried, refuse_impossible, squeeze

__all__ = ["Curves", "Learning", "Listener", "Point", "Squeezing", "Tried", "measure", "refuse_impossible", "squeeze"]
