"""A hand: where the pose says it is, then its exact square, then 21 landmarks and which hand it looks like.
Knows nothing of faces.
"""

from dataclasses import dataclass

import numpy as np

from faceattr_aio.pipelines.holistic.network import Network
from faceattr_aio.pipelines.holistic.roi import Roi, spanned, whole
from faceattr_aio.pipelines.imaging import Floats, Pixels

COUNT = 21
_VISIBLE, _SURE = 0.1, 0.5
_DOWN = -90.0
_DEPTH = 0.4
"""What the net calls 1, as a share of the square's side."""
_MARGIN, _TOWARDS_FINGERS = 2.7, -0.1


@dataclass(frozen=True)
class Hand:
    """21 rows of x, y, z in pixels of the picture; `left` is the probability that it is a left hand."""

    points: Floats
    left: float


class HandFinder:
    """Finds the landmarks of a hand near the wrist, little finger and index finger of a pose."""

    def __init__(self, recrop: Network, landmarks: Network) -> None:
        self._recrop, self._landmarks = recrop, landmarks
        black = np.zeros((64, 64, 3), np.uint8)
        self._look(black, self._closer(black, whole(black)))

    def find(self, pixels: Pixels, arm: Floats) -> Hand | None:
        """The hand at three rows of the pose (wrist, little finger, index finger), unless it is hidden."""
        if arm[0, 3] <= _VISIBLE:
            return None
        return self._look(pixels, self._closer(pixels, guess(arm[:, :2])))

    def _closer(self, pixels: Pixels, roi: Roi) -> Roi:
        """The net tells the hand's middle and the edge of a circle around it."""
        (numbers,) = self._recrop.run(roi.cut(pixels, self._recrop.side))
        centre, edge = roi.place(numbers.reshape(2, 2) / self._recrop.side)
        return spanned(centre, edge, _DOWN).grown(1.0, _TOWARDS_FINGERS)

    def _look(self, pixels: Pixels, roi: Roi) -> Hand | None:
        """The net tells which hand it would be in a mirror."""
        numbers, presence, mirrored = self._landmarks.run(roi.cut(pixels, self._landmarks.side))
        if presence[0] <= _SURE:
            return None
        points = numbers.reshape(COUNT, 3) / self._landmarks.side / (1, 1, _DEPTH)
        return Hand(roi.place(points), 1 - float(mirrored[0]))


def guess(arm: Floats) -> Roi:
    """The square around a hand of which wrist, little finger and index finger are known (x, y each)."""
    wrist, little, index = arm
    return spanned((2 * index + little) / 3, wrist, _DOWN).grown(_MARGIN, _TOWARDS_FINGERS)
