"""Load a `.sqz` file, prepare images, predict. Needs Pillow, and the C engine or NumPy; never PyTorch."""

from squeezenet.runtime.classifier import Classifier, Prediction, load

__all__ = ["Classifier", "Prediction", "load"]
