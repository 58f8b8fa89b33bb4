"""The pose: the person is found, and then 33 landmarks of it. Knows nothing of hands and faces."""

import numpy as np

from faceattr_aio.pipelines.holistic.network import Network
from faceattr_aio.pipelines.holistic.roi import Roi, spanned, whole
from faceattr_aio.pipelines.holistic.ssd import Detector, Layers, sigmoid
from faceattr_aio.pipelines.imaging import Floats, Pixels

LAYERS: Layers = ((28, 2), (14, 2), (7, 6))
"""Of the detector: strides of 8, 16 and three times 32 pixels of 224."""
COUNT = 33
_ALL = 39
"""Six more are for following a person through a film."""
_SURE = 0.5
_UP = 90.0
_MARGIN = 1.25
_REACH = 4
"""Cells of the heatmap to each side of a landmark that are looked at."""


class PoseFinder:
    """Finds the most visible person. `landmarks` gives landmarks, presence and perhaps heatmaps."""

    def __init__(self, detector: Detector, landmarks: Network) -> None:
        self._detector, self._landmarks = detector, landmarks

    def find(self, pixels: Pixels) -> Floats | None:
        """33 rows of x, y, z in pixels of the picture, and visibility (0 to 1); None when there is nobody.

        The detector's first two points are the middle of the hips and the edge of a circle around the person.
        """
        points = self._detector.best(pixels, whole(pixels))
        if points is None:
            return None
        return self._look(pixels, spanned(points[0], points[1], _UP).grown(_MARGIN))

    def _look(self, pixels: Pixels, roi: Roi) -> Floats | None:
        numbers, presence, *heatmaps = self._landmarks.run(roi.cut(pixels, self._landmarks.side))
        if presence[0] <= _SURE:
            return None
        rows = numbers.reshape(_ALL, 5)[:COUNT].astype(np.float64)
        points = rows[:, :3] / self._landmarks.side
        for heatmap in heatmaps:
            points[:, :2] = refine(points[:, :2], heatmap)
        return np.column_stack([roi.place(points), sigmoid(rows[:, 3])])


def refine(points: Floats, heatmaps: Floats) -> Floats:
    """The points, as shares of the sides, each moved to the middle of what its heatmap shows around it; those stay of
    which it shows nothing. Heatmaps are height x width x points, logits.
    """
    return np.array([_refine(point, heatmaps[..., i]) for i, point in enumerate(points)])


def _refine(point: Floats, heatmap: Floats) -> Floats:
    sides = np.array(heatmap.shape[::-1])
    column, row = np.trunc(point * sides).astype(int)
    if not (0 <= column < sides[0] and 0 <= row < sides[1]):
        return point
    left, top = max(0, column - _REACH), max(0, row - _REACH)
    near = sigmoid(heatmap[top : row + _REACH + 1, left : column + _REACH + 1])
    if near.max() < _SURE:
        return point
    rows, columns = np.indices(near.shape)
    middle = np.array([((left + columns) * near).sum(), ((top + rows) * near).sum()]) / near.sum()
    return np.asarray(middle / sides)
