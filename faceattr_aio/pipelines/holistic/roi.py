"""The turned square of a picture that a net looks at: where it is, its pixels, and the way back from what the net says.
Knows no net.
"""

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin

import cv2
import numpy as np

from faceattr_aio.pipelines.imaging import Floats, Pixels


@dataclass(frozen=True)
class Roi:
    """A square around x, y (pixels of the picture), `side` pixels long, turned clockwise by `angle` (radians)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def cut(self, pixels: Pixels, side: int, border: int = cv2.BORDER_REPLICATE) -> Pixels:
        """The square, upright, as side x side pixels; `border` tells OpenCV what lies outside the picture."""
        scale = side / max(self.side, 1.0)
        turn = self._turn().T * scale
        move = side / 2 - turn @ (self.x, self.y)
        matrix = np.column_stack([turn, move])
        return np.asarray(
            cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8
        )

    def place(self, points: Floats) -> Floats:
        """In pixels of the picture: x, y and whatever follows of points in shares of the square, z in shares of its
        side.
        """
        placed = np.array(points, np.float64)
        placed[:, :2] = (placed[:, :2] - 0.5) @ self._turn().T * self.side + (self.x, self.y)
        placed[:, 2:3] *= self.side
        return placed

    def grown(self, scale: float, down: float = 0.0) -> "Roi":
        """The square moved by a share of its side along its own vertical, then scaled."""
        return _grown(self, self.side, scale, down)

    def _turn(self) -> Floats:
        return np.array([[cos(self.angle), -sin(self.angle)], [sin(self.angle), cos(self.angle)]])


def whole(pixels: Pixels) -> Roi:
    """The picture in the middle of a square."""
    height, width = pixels.shape[:2]
    return Roi(width / 2, height / 2, max(height, width))


def spanned(centre: Floats, edge: Floats, upright: float) -> Roi:
    """Around the first point as far as to the second, turned so that `upright` (degrees, counter-clockwise from the
    right) becomes the direction from one to the other.
    """
    return Roi(float(centre[0]), float(centre[1]), 2 * hypot(*(edge - centre)), direction(centre, edge, upright))


def around(points: Floats, angle: float, scale: float, down: float = 0.0) -> Roi:
    """Around the box of the points: its longer side scaled, moved down by a share of the box's height."""
    low, high = points.min(axis=0), points.max(axis=0)
    (x, y), (width, height) = (low + high) / 2, high - low
    return _grown(Roi(float(x), float(y), float(max(width, height)), angle), float(height), scale, down)


def direction(start: Floats, end: Floats, upright: float) -> float:
    """By how much a square is turned, in radians from -pi to pi, when `upright` is its direction from start to end."""
    x, y = end - start
    angle = np.radians(upright) - atan2(-y, x)
    return float((angle + pi) % (2 * pi) - pi)


def _grown(roi: Roi, height: float, scale: float, down: float) -> Roi:
    far = height * down
    return Roi(roi.x - far * sin(roi.angle), roi.y + far * cos(roi.angle), roi.side * scale, roi.angle)
