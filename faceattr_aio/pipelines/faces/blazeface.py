"""BlazeFace full range (Google, Apache-2.0): the detector by default. 192x192 in, 48x48 anchors out."""

import cv2
import numpy as np

from faceattr_aio.pipelines.faces.detector import Detection, keep_best
from faceattr_aio.pipelines.faces.network import Network, make_blob
from faceattr_aio.pipelines.imaging import Floats, Pixels, shrink

_SIDE = 192
_GRID = 48
_SIZE_FIRST = [1, 0, *range(2, 8)]
"""A regressor is the centre, the size, then six points: the eye on the left of the picture, the eye on its right, nose,
mouth, two ears."""
_LANDMARKS = slice(1, 5)


class BlazeFace:
    """Finds faces that are about a twentieth of the longest side, or larger."""

    name = "blazeface-full-range"

    def __init__(self, network: Network) -> None:
        self._network = network
        self._anchors = _anchors()
        self.detect(np.zeros((_SIDE, _SIDE, 3), np.uint8), 0.5)

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """The faces in the picture, the surest first."""
        square, scale, offset = _letterbox(pixels)
        scores, regressors = self._network.run(make_blob(square, _SIDE, 1 / 127.5, (127.5,) * 3, rgb=True))
        confidences = 1 / (1 + np.exp(-np.clip(scores.ravel(), -80, 80)))
        (sure,) = np.nonzero(confidences >= min_confidence)
        sizes, points = np.split(regressors.reshape(-1, 8, 2)[sure][:, _SIZE_FIRST], [1], axis=1)
        placed = (points + self._anchors[sure, None] - offset) / scale
        found = zip(placed, sizes[:, 0] / scale, confidences[sure], strict=True)
        return keep_best([_detection(*face) for face in found])


def _letterbox(pixels: Pixels) -> tuple[Pixels, float, Floats]:
    """The picture in the middle of a black square of 192 pixels, its scale, and where it begins there."""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    if scale > 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale), np.uint8)
    small = shrink(pixels, _SIDE)
    tall, wide = small.shape[:2]
    top, left = (_SIDE - tall) // 2, (_SIDE - wide) // 2
    square = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    square[top : top + tall, left : left + wide] = small
    return square, scale, np.array([left, top], np.float32)


def _anchors() -> Floats:
    """The centres of the cells, row by row, in input pixels: 2304 x 2."""
    centres = (np.arange(_GRID) + 0.5) * (_SIDE / _GRID)
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


def _detection(points: Floats, size: Floats, confidence: float) -> Detection:
    box = np.concatenate([points[0] - size / 2, size])
    return Detection(box, float(confidence), points[_LANDMARKS])
