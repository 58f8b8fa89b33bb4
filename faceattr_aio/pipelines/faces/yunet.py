"""YuNet (OpenCV Zoo, MIT): a detector for many small faces; its input side is a setting."""

from pathlib import Path

import cv2
import numpy as np

from faceattr_aio.pipelines.faces.detector import Detection
from faceattr_aio.pipelines.imaging import Floats, Pixels, shrink

_NMS, _TOP = 0.3, 5000
"""Overlap above which the surer box wins, and boxes looked at: the values of OpenCV Zoo's demo."""


class YuNet:
    """Finds faces from about 10 pixels of its input, whose longest side is `side` pixels."""

    name = "yunet"

    def __init__(self, path: Path, side: int) -> None:
        self._side = side
        self._net = cv2.FaceDetectorYN.create(str(path), "", (side, side), 0.5, _NMS, _TOP)
        self.detect(np.zeros((side, side, 3), np.uint8), 0.5)

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """The faces in the picture, the surest first."""
        small = shrink(pixels, self._side)
        height, width = small.shape[:2]
        self._net.setInputSize((width, height))
        self._net.setScoreThreshold(min_confidence)
        _, rows = self._net.detect(small)
        found = [] if rows is None else [_detection(row, width / pixels.shape[1]) for row in rows]
        return sorted(found, key=lambda face: -face.confidence)


def _detection(row: Floats, scale: float) -> Detection:
    """A row is the box, five points, the score. The first point is the eye on the left of the picture, which YuNet,
    speaking of the person, calls the right one; then the other eye, the nose, and two corners of the mouth.
    """
    points = row[4:14].reshape(5, 2) / scale
    mouth = points[3:5].mean(axis=0)
    return Detection(row[:4] / scale, float(row[14]), np.vstack([points[:3], mouth]))
