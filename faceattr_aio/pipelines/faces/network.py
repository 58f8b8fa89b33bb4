"""What the nets have in common: pixels made ready go in, arrays come out. Knows neither what runs a net (`cv2_network`,
`openvino_network`) nor what its numbers mean.
"""

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from faceattr_aio.pipelines.imaging import Floats, Pixels


class Network(Protocol):
    """A loaded net. Not safe for threads."""

    def run(self, blob: Floats) -> tuple[Floats, ...]:
        """All outputs, the smallest first, for 1 x channels x height x width numbers of 32 bits."""


def make_blob(pixels: Pixels, side: int, scale: float, mean: Sequence[float], *, rgb: bool) -> Floats:
    """The picture as side x side numbers (x - mean) x scale for each channel; the mean is in the order of the net's."""
    blob = cv2.dnn.blobFromImage(pixels, scale, (side, side), tuple(mean), swapRB=rgb)
    return np.asarray(blob, np.float32)


class SoftmaxNet:
    """A net that ends in a softmax; its input is what `make_blob` says."""

    def __init__(self, network: Network, side: int, scale: float, mean: Sequence[float], *, rgb: bool) -> None:
        self._network = network
        self._side, self._scale, self._mean, self._rgb = side, scale, mean, rgb

    def probabilities(self, chip: Pixels) -> Floats:
        """One probability for each class."""
        (output,) = self._network.run(make_blob(chip, self._side, self._scale, self._mean, rgb=self._rgb))
        return np.asarray(output, np.float64).ravel()
