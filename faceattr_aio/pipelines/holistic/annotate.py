"""Draws what was found on the picture: a line along every limb and finger, a point for each landmark. Finds nothing
itself.
"""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from faceattr_aio.pipelines.holistic import Part
from faceattr_aio.pipelines.holistic.skeleton import LINES
from faceattr_aio.pipelines.imaging import Floats, Pixels

_COLOURS: dict[Part, tuple[int, int, int]] = {
    "pose": (90, 160, 60),
    "face": (200, 200, 200),
    "left_hand": (40, 140, 220),
    "right_hand": (220, 140, 40),
}
_VISIBLE = 0.5
"""Of the pose: what is less visible is not drawn."""
_FINE, _COARSE, _KNOT = 100, 256, 1.2
"""How many lines side by side are as wide as the part, and at most as the picture; and a point's radius in lines."""
_FAR = 10
_SHIFT = 4
"""Binary digits behind the point in the coordinates that OpenCV draws at."""


def draw(pixels: Pixels, landmarks: dict[Part, list[dict[str, Any]]]) -> Pixels:
    """A copy of the pixels with every part on it."""
    canvas = pixels.copy()
    for part, points in landmarks.items():
        if points:
            _draw_part(canvas, part, points)
    return canvas


def _draw_part(canvas: Pixels, part: Part, points: list[dict[str, Any]]) -> None:
    places, colour = _places(canvas, points), _COLOURS[part]
    width = min(float(np.ptp(places, axis=0).max()) / _FINE, max(canvas.shape) / _COARSE)
    stroke, radius = max(1, round(width)), round(max(1.0, _KNOT * width) * (1 << _SHIFT))
    ends = [(x, y) for x, y in (places * (1 << _SHIFT)).round().astype(int).tolist()]
    seen = {number for number, point in enumerate(points) if point.get("visibility", 1.0) >= _VISIBLE}
    for start, end in (pair for line in LINES[part] for pair in pairwise(line)):
        if {start, end} <= seen:
            cv2.line(canvas, ends[start], ends[end], colour, stroke, cv2.LINE_AA, _SHIFT)
    for number in seen:
        cv2.circle(canvas, ends[number], radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _places(canvas: Pixels, points: list[dict[str, Any]]) -> Floats:
    """X and y in pixels, no further away than OpenCV can count."""
    shares = np.array([(point["x"], point["y"]) for point in points])
    return np.asarray(shares.clip(-_FAR, _FAR) * canvas.shape[1::-1])
