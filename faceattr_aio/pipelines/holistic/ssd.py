"""Detectors of MediaPipe's kind: boxes and points at anchors. Only the surest thing in the picture is looked for.
Knows not what is detected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from faceattr_aio.pipelines.holistic.network import Network
from faceattr_aio.pipelines.holistic.roi import Roi
from faceattr_aio.pipelines.imaging import Floats, Pixels

Layers = Sequence[tuple[int, int]]
"""Cells a side and anchors a cell, layer by layer."""

_SURE = 0.5
_OVERLAP = 0.3


@dataclass(frozen=True)
class Detector:
    """A net with 4 + 2n numbers for each anchor: centre, size and n points, in pixels of its input."""

    network: Network
    anchors: Floats

    def best(self, pixels: Pixels, roi: Roi) -> Floats | None:
        """The n points of the surest thing in the square, in pixels of the picture: n x 2."""
        crop = roi.cut(pixels, self.network.side, cv2.BORDER_CONSTANT)
        regressors, logits = self.network.run(crop)
        scores = sigmoid(logits.ravel())
        sure = scores >= _SURE
        if not sure.any():
            return None
        numbers = regressors[sure].reshape(sure.sum(), -1, 2).astype(np.float64) / self.network.side
        size, points = numbers[:, 1], np.delete(numbers, 1, axis=1) + self.anchors[sure, None]
        boxes = np.concatenate([points[:, 0] - size / 2, points[:, 0] + size / 2], axis=1)
        return roi.place(blend(boxes, points[:, 1:], scores[sure]))


def blend(boxes: Floats, points: Floats, scores: Floats) -> Floats:
    """The points of the surest box and of those that overlap it by more than 0.3, averaged by their scores. A box is
    left, top, right, bottom.
    """
    same = overlaps(boxes, boxes[scores.argmax()]) > _OVERLAP
    return np.asarray(np.average(points[same], axis=0, weights=scores[same]))


def overlaps(boxes: Floats, box: Floats) -> Floats:
    """Intersection over union of each with the one."""
    common = np.prod(np.clip(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0, None), axis=1)
    areas, area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.prod(box[2:] - box[:2])
    return np.asarray(common / np.maximum(areas + area - common, np.finfo(np.float64).tiny))


def make_anchors(layers: Layers) -> Floats:
    """The centres of the cells as shares of the side: layer by layer, row by row, each as often as it has anchors."""
    return np.concatenate([np.repeat(_centres(cells), anchors, axis=0) for cells, anchors in layers])


def _centres(cells: int) -> Floats:
    x, y = np.meshgrid(*[(np.arange(cells) + 0.5) / cells] * 2)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def sigmoid(logits: Floats) -> Floats:
    """Probabilities, of 64 bits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -100, 100))))
