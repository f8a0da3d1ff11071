"""The images with which an exported folder tests itself.

>>> drawing((1, 16, 16)).shape
(16, 16, 1)
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from squeezenet.graph import Shape
from squeezenet.preparation import Preparation
from squeezenet.runtime.image import cut, normalise, open_image


def picture(preparation: Preparation, shape: Shape, image: Path | None) -> NDArray[np.uint8]:
    """The test image, resized and cropped, (height, width, channels) in the order R G B: from a file, or a drawing."""
    if image is None:
        return drawing(shape)
    channels, height, width = shape
    return np.asarray(cut(open_image(image), preparation)).reshape(height, width, channels)


def drawing(shape: Shape) -> NDArray[np.uint8]:
    """A disc on a background that becomes lighter from one side to the other."""
    channels, height, width = shape
    y, x = np.mgrid[0:1:height * 1j, 0:1:width * 1j]  # fmt: skip
    disc = np.hypot(x - 0.4, y - 0.5) < 0.3
    planes = [x, y, 1 - x][:channels]
    drawn = [255 * np.where(disc, 1 - plane, 0.2 + 0.6 * plane) for plane in planes]
    return np.stack(drawn, -1).astype(np.uint8)


def prepared(pixels: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.float32]:
    """The input of the network: (channels, height, width), in the order of the model's channels."""
    order = pixels[:, :, ::-1] if preparation.channels == "BGR" else pixels
    return normalise(np.ascontiguousarray(order.transpose(2, 0, 1)), preparation)
