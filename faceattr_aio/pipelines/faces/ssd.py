"""The res10 SSD face detector (OpenCV, Apache-2.0), a Caffe net: 300x300 in, no landmarks, OpenCV 4 only."""

import numpy as np

from faceattr_aio.pipelines.faces.detector import Detection, keep_best
from faceattr_aio.pipelines.faces.network import Network, make_blob
from faceattr_aio.pipelines.imaging import Floats, Pixels

_SIDE = 300
_MEAN = (104.0, 177.0, 123.0)
"""Blue, green, red; from the net's deploy.prototxt documentation in OpenCV's samples."""


class Ssd:
    """Finds faces that are about a tenth of the side, or larger. It repeats those that fill more than half the picture,
    also beyond its borders, where it has anchors.
    """

    name = "res10-ssd"

    def __init__(self, network: Network) -> None:
        self._network = network
        self.detect(np.zeros((_SIDE, _SIDE, 3), np.uint8), 0.5)

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """The faces in the picture, the surest first."""
        (output,) = self._network.run(make_blob(pixels, _SIDE, 1.0, _MEAN, rgb=False))
        rows = output.reshape(-1, 7)
        size = np.array(pixels.shape[1::-1], np.float32)
        return keep_best([_detection(row, size) for row in rows if row[2] >= min_confidence])


def _detection(row: Floats, size: Floats) -> Detection:
    """A row is picture, class, score, then the two corners as shares of the sides."""
    near, far = row[3:5] * size, row[5:7] * size
    return Detection(np.concatenate([near, far - near]), float(row[2]), None)
