"""Detectors of MediaPipe's kind: boxes and keypoints at anchors, of which the best detection is used.

Thresholds and anchors are those of MediaPipe's graphs pose_detection_cpu.pbtxt and face_detection_short_range.pbtxt.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from faceattr_aio.pipelines.holistic.roi import Roi
from faceattr_aio.pipelines.imaging import Floats, Pixels
from faceattr_aio.pipelines.nets import Network, decode_boxes, sigmoid

_MIN_SCORE = 0.5
_MIN_OVERLAP = 0.3
"""`min_suppression_threshold` of the weighted non-maximum suppression."""


@dataclass(frozen=True)
class SsdDetector:
    """A network with 4 + 2k numbers and a logit for each anchor. Not thread-safe.

    Its input is `side` x `side` pixels; the `anchors` are n x 2 shares of the side.
    """

    network: Network
    side: int
    anchors: Floats

    def best(self, pixels: Pixels, roi: Roi) -> Floats | None:
        """Return the k keypoints of the best detection in the square, in pixels of the picture (k x 2, float64)."""
        numbers, logits = self.network.run(roi.cut(pixels, self.side, cv2.BORDER_CONSTANT))
        scores = sigmoid(logits.ravel().astype(np.float64))
        sure = scores >= _MIN_SCORE
        if not sure.any():
            return None
        size, points = decode_boxes(numbers[sure].astype(np.float64) / self.side, self.anchors[sure])
        boxes = np.concatenate([points[:, 0] - size / 2, points[:, 0] + size / 2], axis=1)
        return roi.place(blend(boxes, points[:, 1:], scores[sure]))


def blend(boxes: Floats, points: Floats, scores: Floats) -> Floats:
    """Return the points of the best box and of those that overlap it by more than 0.3, averaged by their scores.

    Boxes are n x 4: left, top, right, bottom.
    """
    same = overlaps(boxes, boxes[scores.argmax()]) > _MIN_OVERLAP
    return np.asarray(np.average(points[same], axis=0, weights=scores[same]))


def overlaps(boxes: Floats, box: Floats) -> Floats:
    """Return the intersection over union of each of the boxes with `box`."""
    common = np.prod(np.clip(np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2]), 0, None), axis=1)
    areas, area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.prod(box[2:] - box[:2])
    return np.asarray(common / np.maximum(areas + area - common, np.finfo(np.float64).tiny))
