"""Regions of interest: rotated squares of a picture, the pixels in them, and the mapping of points back to the picture.

The rules that make a square from points are those of MediaPipe's calculators AlignmentPointsRects, DetectionsToRects
and RectTransformation.
"""

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin

import cv2
import numpy as np

from faceattr_aio.pipelines.imaging import Floats, Pixels, warp


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

    def place(self, points: Floats) -> Floats:
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


def whole(pixels: Pixels) -> Roi:
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
