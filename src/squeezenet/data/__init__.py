"""Data sets: from a name, a folder, Parquet files or a hub id to examples, and from examples to pixels.

>>> load_data("digits").train.classes[:3]
('0', '1', '2')
"""

from squeezenet.data.examples import Data, Examples, HeldOut, split
from squeezenet.data.load import load_data, load_evaluation
from squeezenet.data.pixels import Pixels, default_preparation, load_pixels
from squeezenet.data.score import Score

__all__ = [
    "Data",
    "Examples",
    "HeldOut",
    "Pixels",
    "Score",
    "default_preparation",
    "load_data",
    "load_evaluation",
    "load_pixels",
    "split",
]
