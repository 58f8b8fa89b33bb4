"""Face detectors: BlazeFace, YuNet and the res10 SSD, and a search in tiles for small faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from faceattr_aio.pipeline import ModelFile
from faceattr_aio.pipelines import nets
from faceattr_aio.pipelines.faces import FaceSettings
from faceattr_aio.pipelines.imaging import Floats, Picture, Pixels, shrink

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth")
_MAX_OVERLAP = 0.3
_TILE = 0.6
"""Share of each side that one of the 2 x 2 tiles covers: a face up to a fifth of the side is whole in one of them."""

_BLAZEFACE_SIDE, _BLAZEFACE_GRID = 192, 48
_BLAZEFACE_LANDMARKS = slice(1, 5)
"""After the centre come the eye on the left of the picture, the eye on its right, nose, mouth and two ears."""
_YUNET_OVERLAP, _YUNET_TOP = 0.3, 5000
"""Overlap for the suppression, and the number of boxes considered: the values of OpenCV Zoo's demo."""
_RES10_SIDE, _RES10_MEAN = 300, (104.0, 177.0, 123.0)
"""The mean is blue, green, red; both are from the documentation of deploy.prototxt in OpenCV's samples."""


@dataclass(frozen=True)
class Detection:
    """A face in pixels of the searched picture.

    `box` is x, y, width, height; `confidence` 0 to 1; `landmarks` are 4 x 2 (LANDMARKS, left and right as seen in the
    picture), or None when the detector has none.
    """

    box: Floats
    confidence: float
    landmarks: Floats | None

    def moved(self, x: float, y: float) -> "Detection":
        """Return the same face in a picture in which the searched one begins at x, y."""
        landmarks = None if self.landmarks is None else self.landmarks + np.array([x, y])
        return replace(self, box=self.box + np.array([x, y, 0, 0]), landmarks=landmarks)

    def is_within(self, pixels: Pixels) -> bool:
        """Return True if the centre of the box is in the picture."""
        centre = self.box[:2] + self.box[2:] / 2
        return bool(((centre >= 0) & (centre < pixels.shape[1::-1])).all())

    def describe(self, image: Picture) -> dict[str, Any]:
        """Return the face as plain data, in pixels of the whole picture, the box clipped to it."""
        size = image.width, image.height
        corner = np.clip(self.box[:2] / image.scale, 0, size).round().astype(int)
        far = np.clip((self.box[:2] + self.box[2:]) / image.scale, 0, size).round().astype(int)
        (x, y), (width, height) = corner.tolist(), (far - corner).tolist()
        points = None if self.landmarks is None else (self.landmarks / image.scale).round().astype(int).tolist()
        return {
            "box": {"x": x, "y": y, "width": width, "height": height},
            "confidence": round(self.confidence, 3),
            "landmarks": points and dict(zip(LANDMARKS, points, strict=True)),
        }


class FaceDetector(Protocol):
    """A loaded detector. Not thread-safe."""

    name: str

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """Return the faces in the picture, the highest confidence first."""


def load_detector(settings: FaceSettings, files: Mapping[str, ModelFile]) -> FaceDetector:
    """Load the detector that the settings name. Raises StartError when it cannot run here."""
    match settings.detector:
        case "blazeface":
            return BlazeFace(nets.read_network(files["blazeface-full-range"].path, settings.backend))
        case "yunet":
            return YuNet(files["yunet"].path, settings.yunet_side)
        case "ssd":
            return Res10Ssd(nets.read_caffe(files["res10-ssd-layers"].path, files["res10-ssd"].path))


class BlazeFace:
    """BlazeFace full range (Google, Apache-2.0), the default: 192 x 192 pixels, 48 x 48 anchors.

    Finds faces from about a twentieth of the longest side.
    """

    name = "blazeface-full-range"

    def __init__(self, network: nets.Network) -> None:
        self._network = network
        self._anchors = (nets.make_anchors([(_BLAZEFACE_GRID, 1)]) * _BLAZEFACE_SIDE).astype(np.float32)

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """Return the faces in the picture, the highest confidence first."""
        square, scale, offset = _letterbox(pixels, _BLAZEFACE_SIDE)
        blob = nets.make_blob(square, _BLAZEFACE_SIDE, 1 / 127.5, (127.5,) * 3, rgb=True)
        scores, numbers = sorted(self._network.run(blob), key=np.size)  # backends differ in the order of outputs
        confidences = nets.sigmoid(scores.ravel())
        sure = confidences >= min_confidence
        sizes, points = nets.decode_boxes(numbers.reshape(len(sure), -1)[sure], self._anchors[sure])
        sizes, points = sizes / scale, (points - offset) / scale
        boxes = np.concatenate([points[:, 0] - sizes / 2, sizes], axis=1)
        rows = zip(boxes, confidences[sure], points[:, _BLAZEFACE_LANDMARKS], strict=True)
        return keep_best([Detection(box, float(confidence), landmarks) for box, confidence, landmarks in rows])


class YuNet:
    """YuNet (OpenCV Zoo, MIT): finds faces from about 10 pixels, with the picture's longest side scaled to `side`."""

    name = "yunet"

    def __init__(self, path: Path, side: int) -> None:
        """Load the network and run it once at its largest size, so that its memory is allocated."""
        self._side = side
        self._net = cv2.FaceDetectorYN.create(str(path), "", (side, side), 0.5, _YUNET_OVERLAP, _YUNET_TOP)
        self.detect(np.zeros((side, side, 3), np.uint8), 0.5)

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """Return the faces in the picture, the highest confidence first."""
        small = shrink(pixels, self._side)
        height, width = small.shape[:2]
        self._net.setInputSize((width, height))
        self._net.setScoreThreshold(min_confidence)
        _, rows = self._net.detect(small)
        found = [] if rows is None else [_read_yunet_row(row, width / pixels.shape[1]) for row in rows]
        return sorted(found, key=lambda face: -face.confidence)


def _read_yunet_row(row: Floats, scale: float) -> Detection:
    """Read the box, five points and the score.

    The points are the eye on the left of the picture (the person's right eye, as YuNet names it), the other eye, the
    nose, and two corners of the mouth.
    """
    points = row[4:14].reshape(5, 2) / scale
    mouth = points[3:5].mean(axis=0)
    return Detection(row[:4] / scale, float(row[14]), np.vstack([points[:3], mouth]))


class Res10Ssd:
    """The res10 SSD face detector (OpenCV, Apache-2.0): a Caffe network, 300 x 300 pixels, no landmarks, OpenCV 4 only.

    Finds faces from about a tenth of the side. A face that fills more than half of the picture is found repeatedly,
    also at anchors outside the picture.
    """

    name = "res10-ssd"

    def __init__(self, network: nets.Network) -> None:
        self._network = network

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:
        """Return the faces in the picture, the highest confidence first."""
        (output,) = self._network.run(nets.make_blob(pixels, _RES10_SIDE, 1.0, _RES10_MEAN, rgb=False))
        rows = output.reshape(-1, 7)  # picture, class, score, and two corners as shares of the sides
        rows = rows[rows[:, 2] >= min_confidence]
        near, far = np.split(rows[:, 3:] * np.array([*pixels.shape[1::-1]] * 2, np.float32), 2, axis=1)
        boxes = np.concatenate([near, far - near], axis=1)
        return keep_best([Detection(box, float(score), None) for box, score in zip(boxes, rows[:, 2], strict=True)])


def _letterbox(pixels: Pixels, side: int) -> tuple[Pixels, float, Floats]:
    """Centre the picture in a black square; return the square, the scale and the x, y of the picture in it."""
    scale = side / max(pixels.shape[:2])
    if scale > 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale), np.uint8)
    small = shrink(pixels, side)
    height, width = small.shape[:2]
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = small
    return square, scale, np.array([left, top], np.float32)


def keep_best(detections: Sequence[Detection]) -> list[Detection]:
    """Drop each face that overlaps a better one by more than 0.3; return the highest confidence first."""
    boxes, scores = [face.box.tolist() for face in detections], [face.confidence for face in detections]
    kept = cv2.dnn.NMSBoxes(boxes, scores, 0.0, _MAX_OVERLAP)
    return sorted((detections[int(i)] for i in np.ravel(kept)), key=lambda face: -face.confidence)


def detect_in_tiles(detector: FaceDetector, pixels: Pixels, min_confidence: float) -> list[Detection]:
    """Search the whole picture and then four overlapping tiles of it, in which small faces are larger."""
    found = detector.detect(pixels, min_confidence)
    height, width = pixels.shape[:2]
    tall, wide = round(height * _TILE), round(width * _TILE)
    for y, x in product((0, height - tall), (0, width - wide)):
        tile = pixels[y : y + tall, x : x + wide]
        faces = detector.detect(tile, min_confidence)
        found += [face.moved(x, y) for face in faces if not _is_cut(face, tile, pixels, x, y)]
    return keep_best(found)


def _is_cut(face: Detection, tile: Pixels, pixels: Pixels, x: int, y: int) -> bool:
    """Return True if the box touches a side of the tile that is inside the picture: another tile has the whole face."""
    corner, size = np.array([x, y]), np.array(tile.shape[1::-1])
    near, far = face.box[:2], face.box[:2] + face.box[2:]
    inner = corner + size < pixels.shape[1::-1]
    return bool((((corner > 0) & (near <= 0)) | (inner & (far >= size))).any())
