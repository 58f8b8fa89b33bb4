"""The face: looked for where the pose has a head, then 468 landmarks. Knows nothing of hands."""

from faceattr_aio.pipelines.holistic.network import Network
from faceattr_aio.pipelines.holistic.roi import Roi, around, direction
from faceattr_aio.pipelines.holistic.ssd import Detector, Layers, sigmoid
from faceattr_aio.pipelines.imaging import Floats, Pixels

LAYERS: Layers = ((16, 2), (8, 6))
"""Of the detector: strides of 8 and three times 16 pixels of 128."""
COUNT = 468
_SURE = 0.5
_LEVEL = 0.0
_RIGHT_EYE, _LEFT_EYE = 5, 2
"""Of the pose's rows."""
_HEAD_MARGIN = 3.0
_FACE_MARGIN, _TOWARDS_HAIR = 2.0, -0.1


class FaceFinder:
    """Finds the landmarks of the face that belongs to a pose."""

    def __init__(self, detector: Detector, landmarks: Network) -> None:
        self._detector, self._landmarks = detector, landmarks

    def find(self, pixels: Pixels, head: Floats) -> Floats | None:
        """468 rows of x, y, z in pixels of the picture, for the first 11 rows of a pose; None when no face is seen.

        The detector's first two points are the eyes, that on the left of the picture first.
        """
        tilt = direction(head[_RIGHT_EYE, :2], head[_LEFT_EYE, :2], _LEVEL)
        points = self._detector.best(pixels, around(head[:, :2], tilt, _HEAD_MARGIN))
        if points is None:
            return None
        return self._look(pixels, around(points, direction(points[0], points[1], _LEVEL), _FACE_MARGIN, _TOWARDS_HAIR))

    def _look(self, pixels: Pixels, roi: Roi) -> Floats | None:
        numbers, presence = self._landmarks.run(roi.cut(pixels, self._landmarks.side))
        if sigmoid(presence).item() <= _SURE:
            return None
        return roi.place(numbers.reshape(COUNT, 3) / self._landmarks.side)
