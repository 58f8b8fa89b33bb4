"""Where faces are: the interface of every detector, what they find, and a second look for small faces.
Knows nothing of gender and age.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np

from faceattr_aio.pipelines.imaging import Floats, Picture, Pixels

Detect = Callable[[Pixels, float], list["Detection"]]

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth")
_OVERLAP = 0.3
_TILE = 0.6
"""Share of each side that one of the 2x2 tiles covers: faces up to a fifth of the side are whole in one of them."""


@dataclass(frozen=True)
class Detection:
    """A face in pixels of the picture that was searched: `box` is x, y, width, height; `landmarks` are 4 x 2
    (LANDMARKS, left and right as seen in the picture), or None when the detector has none.
    """

    box: Floats
    confidence: float
    landmarks: Floats | None

    def moved(self, x: float, y: float) -> "Detection":
        """The same face in a picture of which the searched one is the part that begins at x, y."""
        landmarks = None if self.landmarks is None else self.landmarks + np.array([x, y])
        return replace(self, box=self.box + np.array([x, y, 0, 0]), landmarks=landmarks)

    def is_within(self, pixels: Pixels) -> bool:
        """Whether the middle of the box is in the picture."""
        middle = self.box[:2] + self.box[2:] / 2
        return bool(((middle >= 0) & (middle < pixels.shape[1::-1])).all())

    def shown_in(self, picture: Picture) -> dict[str, Any]:
        """The face as plain data, in pixels of the whole picture, the box clipped to it."""
        size = picture.width, picture.height
        corner = np.clip(self.box[:2] / picture.scale, 0, size).round().astype(int)
        far = np.clip((self.box[:2] + self.box[2:]) / picture.scale, 0, size).round().astype(int)
        (x, y), (width, height) = corner.tolist(), (far - corner).tolist()
        points = None if self.landmarks is None else (self.landmarks / picture.scale).round().astype(int).tolist()
        return {
            "box": {"x": x, "y": y, "width": width, "height": height},
            "confidence": round(self.confidence, 3),
            "landmarks": points and dict(zip(LANDMARKS, points, strict=True)),
        }


class Detector(Protocol):
    """Finds faces. Not safe for threads."""

    name: str

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """The faces in the picture, the surest first."""


def keep_best(detections: Sequence[Detection]) -> list[Detection]:
    """Non-maximum suppression: of boxes that overlap by more than 0.3 only the surest, the surest first."""
    boxes = [detection.box.tolist() for detection in detections]
    confidences = [detection.confidence for detection in detections]
    kept = cv2.dnn.NMSBoxes(boxes, confidences, 0.0, _OVERLAP)
    return sorted((detections[int(i)] for i in np.ravel(kept)), key=lambda face: -face.confidence)


def detect_small(detector: Detector) -> Detect:
    """A search of the whole picture and then of four overlapping parts of it, where small faces are larger."""

    def detect(pixels: Pixels, min_confidence: float) -> list[Detection]:
        found = detector.detect(pixels, min_confidence)
        for x, y, tile in _tiles(pixels):
            seen = detector.detect(tile, min_confidence)
            found += [face.moved(x, y) for face in seen if not _cut(face, tile, pixels, x, y)]
        return keep_best(found)

    return detect


def _tiles(pixels: Pixels) -> list[tuple[int, int, Pixels]]:
    height, width = pixels.shape[:2]
    tall, wide = round(height * _TILE), round(width * _TILE)
    corners = [(x, y) for y in (0, height - tall) for x in (0, width - wide)]
    return [(x, y, pixels[y : y + tall, x : x + wide]) for x, y in corners if min(tall, wide) > 0]


def _cut(face: Detection, tile: Pixels, pixels: Pixels, x: int, y: int) -> bool:
    """Whether the box touches a border of the tile that is none of the picture: such a face is whole elsewhere."""
    left, top, wide, tall = face.box
    right, bottom = left + wide, top + tall
    inner_right = x + tile.shape[1] < pixels.shape[1]
    inner_bottom = y + tile.shape[0] < pixels.shape[0]
    return bool(
        (x > 0 and left <= 0)
        or (y > 0 and top <= 0)
        or (inner_right and right >= tile.shape[1])
        or (inner_bottom and bottom >= tile.shape[0])
    )
