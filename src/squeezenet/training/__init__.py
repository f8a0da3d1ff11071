"""Training: a recipe, one readable loop, checkpoints that resume exactly, evaluation.

>>> PAPER.lr, PAPER.batch_size
(0.04, 512)
"""

from squeezenet.training.epochs import Setup, TrainResult
from squeezenet.training.evaluate import evaluate
from squeezenet.training.recipe import FINETUNE, MODERN, PAPER, RECIPES, Recipe
from squeezenet.training.run import train
from squeezenet.training.start import fresh_model

__all__ = [
    "FINETUNE",
    "MODERN",
    "PAPER",
    "RECIPES",
    "Recipe",
    "Setup",
    "TrainResult",
    "evaluate",
    "fresh_model",
    "train",
]
