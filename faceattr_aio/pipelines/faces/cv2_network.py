"""Nets on OpenCV, read in the same way by 4 and 5. Knows nothing of what they compute."""

from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from faceattr_aio.errors import StartError
from faceattr_aio.pipelines.imaging import Floats

WITHOUT_CAFFE: Final = int(cv2.__version__.partition(".")[0]) > 4  # noqa: PLR2004  # since OpenCV 5
_CLASSIC: dict[str, Any] = {"engine": cv2.dnn.ENGINE_CLASSIC} if WITHOUT_CAFFE else {}
"""OpenCV 5: its new engine gives one of BlazeFace's two outputs only; one engine for all gives the same everywhere."""


class Cv2Network:
    """A net that `cv2.dnn` runs."""

    def __init__(self, net: cv2.dnn.Net) -> None:
        self._net = net
        self._outputs = net.getUnconnectedOutLayersNames()

    def run(self, blob: Floats) -> tuple[Floats, ...]:
        """All outputs, the smallest first."""
        self._net.setInput(blob)
        outputs = (np.asarray(output, np.float32) for output in self._net.forward(self._outputs))
        return tuple(sorted(outputs, key=np.size))


def read(path: Path) -> Cv2Network:
    """The net in a file of the type .tflite or .onnx."""
    read_file = cv2.dnn.readNetFromTFLite if path.suffix == ".tflite" else cv2.dnn.readNetFromONNX
    return Cv2Network(read_file(str(path), **_CLASSIC))


def read_caffe(layers: Path, weights: Path) -> Cv2Network:
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
    return Cv2Network(net)
