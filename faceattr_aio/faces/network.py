"""Nets read in the same way on OpenCV 4 and 5, and run from pixels to numbers. Knows nothing of what they compute."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from faceattr_aio.errors import StartError
from faceattr_aio.imaging import Floats, Pixels

WITHOUT_CAFFE: Final = int(cv2.__version__.partition(".")[0]) > 4  # noqa: PLR2004  # since OpenCV 5
_CLASSIC: dict[str, Any] = {"engine": cv2.dnn.ENGINE_CLASSIC} if WITHOUT_CAFFE else {}
"""OpenCV 5: its new engine gives one of BlazeFace's two outputs only; one engine for all gives the same everywhere."""


def read_tflite(path: Path) -> cv2.dnn.Net:
    return cv2.dnn.readNetFromTFLite(str(path), **_CLASSIC)


def read_onnx(path: Path) -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(str(path), **_CLASSIC)


def read_caffe(layers: Path, weights: Path) -> cv2.dnn.Net:
    """Raises StartError on OpenCV 5, which has no reader for Caffe files, and for files that are none."""
    if WITHOUT_CAFFE:
        raise StartError(
            "OpenCV 5 cannot read Caffe nets: install 'opencv-python-headless<5', "
            "or choose another detector and classifier."
        )
    try:
        net: cv2.dnn.Net = cv2.dnn.readNetFromCaffe(str(layers), str(weights))  # type: ignore[attr-defined]  # OpenCV 4
    except cv2.error as error:
        raise StartError(f"{weights.name} and {layers.name} cannot be read as a Caffe net.") from error
    return net


class SoftmaxNet:
    """A net that ends in a softmax. Its input is square, (x - mean) x scale; the mean is in the order of its channels.

    Runs once as it is made, so that the first picture does not pay for what is set up late.
    """

    def __init__(self, net: cv2.dnn.Net, side: int, scale: float, mean: Sequence[float], *, rgb: bool) -> None:
        self._net = net
        self._size = (side, side)
        self._scale, self._mean, self._rgb = scale, tuple(mean), rgb
        self.probabilities(np.zeros((side, side, 3), np.uint8))

    def probabilities(self, chip: Pixels) -> Floats:
        """One probability for each class."""
        self._net.setInput(cv2.dnn.blobFromImage(chip, self._scale, self._size, self._mean, swapRB=self._rgb))
        return np.asarray(self._net.forward(), np.float64).ravel()
