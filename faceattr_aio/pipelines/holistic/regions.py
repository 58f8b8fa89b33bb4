"""Regions of interest: rotated squares of a picture, the pixels in them, and the mapping of points back to the picture.

The rules that make a square from points are those of MediaPipe's calculators AlignmentPointsRects, DetectionsToRects
and RectTransformation.
"""

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin

import cv2
import numpy as np

from faceattr_aio.pipelines.imaging import Floats, Pixels, warp
from faceattr_aio.pipelines.nets import Network, decode_boxes, sigmoid


@dataclass(frozen=True)
class Roi:
    """A square around x, y (pixels of the picture), `side` pixels long, rotated clockwise by `angle` (radians)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def cut(self, pixels: Pixels, side: int, border: int = cv2.BORDER_REPLICATE) -> Pixels:
        """Return the square, upright, as side x side pixels; `border` is OpenCV's mode outside the picture."""
        turn = self._rotation().T * (side / max(self.side, 1.0))
        matrix = np.column_stack([turn, side / 2 - turn @ (self.x, self.y)])
        return warp(pixels, matrix, side, border)

    def to_picture(self, points: Floats) -> Floats:
        """Return the points in pixels of the picture: n x 2 or more, x, y and z being shares of the square's side.

        Columns after z are copied.
        """
        placed = np.array(points, np.float64)
        placed[:, :2] = (placed[:, :2] - 0.5) @ self._rotation().T * self.side + (self.x, self.y)
        placed[:, 2:3] *= self.side
        return placed

    def grown(self, scale: float, down: float = 0.0, height: float | None = None) -> "Roi":
        """Return the square moved `down` by a share of `height` (its side) along its own vertical, and scaled."""
        far = (self.side if height is None else height) * down
        return Roi(self.x - far * sin(self.angle), self.y + far * cos(self.angle), self.side * scale, self.angle)

    def _rotation(self) -> Floats:
        return np.array([[cos(self.angle), -sin(self.angle)], [sin(self.angle), cos(self.angle)]])


def full_region(pixels: Pixels) -> Roi:
    """Return the square with the picture in its centre."""
    height, width = pixels.shape[:2]
    return Roi(width / 2, height / 2, max(height, width))


def spanned(centre: Floats, edge: Floats, upright: float) -> Roi:
    """Return the square around `centre` that reaches to `edge`.

    In the upright square the direction from one to the other is `upright` (degrees, counter-clockwise from the right).
    """
    return Roi(float(centre[0]), float(centre[1]), 2 * hypot(*(edge - centre)), direction(centre, edge, upright))


def around(points: Floats, angle: float, scale: float, down: float = 0.0) -> Roi:
    """Return the square around the points' box: its longer side scaled, moved `down` by a share of its height."""
    low, high = points.min(axis=0), points.max(axis=0)
    (x, y), (width, height) = (low + high) / 2, high - low
    return Roi(float(x), float(y), float(max(width, height)), angle).grown(scale, down, float(height))


def direction(start: Floats, end: Floats, upright: float) -> float:
    """Return the rotation (radians, -pi to pi) of a square in which the direction from start to end is `upright`."""
    x, y = end - start
    angle = np.radians(upright) - atan2(-y, x)
    return float((angle + pi) % (2 * pi) - pi)


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
        return roi.to_picture(blend(boxes, points[:, 1:], scores[sure]))


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
