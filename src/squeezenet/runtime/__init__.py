"""Load a `.sqz` file, prepare images, predict. Needs NumPy and Pillow, never PyTorch."""

from squeezenet.runtime.classifier import Classifier, Prediction, load

__all__ = ["Classifier", "Prediction", "load"]
