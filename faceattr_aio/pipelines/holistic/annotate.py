"""Draw the landmarks on the picture: a line along every limb and finger, a dot for each landmark."""

from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from faceattr_aio.pipelines.holistic import Part
from faceattr_aio.pipelines.holistic.skeleton import LINES
from faceattr_aio.pipelines.imaging import Pixels

_COLOURS: dict[Part, tuple[int, int, int]] = {
    "pose": (90, 160, 60),
    "face": (200, 200, 200),
    "left_hand": (40, 140, 220),
    "right_hand": (220, 140, 40),
}
_VISIBLE = 0.5
"""Landmarks of the pose with less visibility are not drawn."""
_PART_LINES, _PICTURE_LINES, _DOT = 100, 256, 1.2
"""A line is as wide as the part's size divided by the first number, and at most as the picture's divided by the second.
The radius of a dot is 1.2 times that width."""
_FAR = 10
"""Points further outside than this, in sides of the picture, are drawn there: OpenCV counts in 32 bits."""
_SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws at."""


def draw(pixels: Pixels, landmarks: dict[Part, list[dict[str, Any]]]) -> Pixels:
    """Return a copy of the pixels with every part drawn on it."""
    canvas = pixels.copy()
    for part, points in landmarks.items():
        if points:
            _draw_part(canvas, part, points)
    return canvas


def _draw_part(canvas: Pixels, part: Part, points: list[dict[str, Any]]) -> None:
    shares = np.array([(point["x"], point["y"]) for point in points])
    places, colour = shares.clip(-_FAR, _FAR) * canvas.shape[1::-1], _COLOURS[part]
    width = min(float(np.ptp(places, axis=0).max()) / _PART_LINES, max(canvas.shape) / _PICTURE_LINES)
    stroke, radius = max(1, round(width)), round(max(1.0, _DOT * width) * (1 << _SHIFT))
    ends = [(x, y) for x, y in (places * (1 << _SHIFT)).round().astype(int).tolist()]
    visible = {number for number, point in enumerate(points) if point.get("visibility", 1.0) >= _VISIBLE}
    for start, end in (pair for line in LINES[part] for pair in pairwise(line)):
        if {start, end} <= visible:
            cv2.line(canvas, ends[start], ends[end], colour, stroke, cv2.LINE_AA, _SHIFT)
    for number in visible:
        cv2.circle(canvas, ends[number], radius, colour, cv2.FILLED, cv2.LINE_AA, _SHIFT)
