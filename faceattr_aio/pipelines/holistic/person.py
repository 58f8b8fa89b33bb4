"""Find the landmarks of the most visible person: the pose first, then face and hands at the places that it gives.

Margins, thresholds and keypoints are those of MediaPipe 0.10.21; the graphs are named at the constants.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from faceattr_aio.pipeline import Clock, ModelFile
from faceattr_aio.pipelines.holistic import Part
from faceattr_aio.pipelines.holistic.regions import Roi, SsdDetector, around, direction, full_region, spanned
from faceattr_aio.pipelines.imaging import Floats, Pixels
from faceattr_aio.pipelines.nets import Layers, Network, make_anchors, read_pixel_network, sigmoid

_PRESENT = 0.5
"""`threshold` of a part's presence: *_landmark_cpu.pbtxt, tensors_to_pose_landmarks_and_segmentation.pbtxt."""
_UP, _DOWN, _LEVEL = 90.0, -90.0, 0.0
"""`rotation_vector_target_angle_degrees`."""

POSE_LAYERS: Layers = ((28, 2), (14, 2), (7, 6))
"""pose_detection_cpu.pbtxt: strides of 8, 16 and three times 32 pixels of 224."""
_POSE_DETECTOR_SIDE, _POSE_SIDE = 224, 256
_POSE_COUNT, _POSE_ROWS = 33, 39
"""The other six landmarks are for tracking a person through a video."""
_POSE_MARGIN = 1.25
"""pose_detection_to_roi.pbtxt: `scale_x`."""
_REACH = 4
"""RefineLandmarksFromHeatmapCalculator: a window of 9 x 9 cells around a landmark."""
_MIN_HEAT = 0.5
"""RefineLandmarksFromHeatmapCalculator: `min_confidence_to_refine`."""

FACE_LAYERS: Layers = ((16, 2), (8, 6))
"""face_detection_short_range.pbtxt: strides of 8 and three times 16 pixels of 128."""
_FACE_DETECTOR_SIDE, _FACE_SIDE = 128, 192
_FACE_COUNT = 468
_HEAD = slice(11)
_RIGHT_EYE, _LEFT_EYE = 5, 2
"""Rows of the pose."""
_HEAD_MARGIN = 3.0
"""face_landmarks_from_pose_to_recrop_roi.pbtxt: `scale_x`."""
_FACE_MARGIN, _TOWARDS_HAIR = 2.0, -0.1
"""face_detection_front_detections_to_roi.pbtxt: `scale_x`, `shift_y`."""

_RECROP_SIDE, _HAND_SIDE = 256, 224
_HAND_COUNT = 21
_ARMS: dict[Part, slice] = {"left_hand": slice(15, 21, 2), "right_hand": slice(16, 22, 2)}
"""Wrist, little finger and index finger among the rows of the pose."""
_MIN_VISIBILITY = 0.1
"""hand_visibility_from_hand_landmarks_from_pose.pbtxt: `threshold` for the wrist."""
_HAND_MARGIN, _TOWARDS_FINGERS = 2.7, -0.1
"""hand_landmarks_from_pose_to_recrop_roi.pbtxt: `scale_x`, `shift_y`; hand_recrop_by_roi_cpu.pbtxt shifts as much."""
_DEPTH = 0.4
"""hand_landmark_cpu.pbtxt: `normalize_z`, by which the depth of the network is divided."""


@dataclass
class PoseFinder:
    """Finds the most visible person and the pose. Not thread-safe.

    `landmarks` gives landmarks, presence and, to refine the landmarks, heatmaps.
    """

    detector: SsdDetector
    landmarks: Network

    def find(self, pixels: Pixels) -> Floats | None:
        """Return 33 rows of x, y, z in pixels of the picture and visibility (0 to 1), or None without a person.

        The detector's first two keypoints are the centre of the hips and the edge of a circle around the person.
        """
        points = self.detector.best(pixels, full_region(pixels))
        if points is None:
            return None
        roi = spanned(points[0], points[1], _UP).grown(_POSE_MARGIN)
        numbers, presence, *heatmaps = self.landmarks.run(roi.cut(pixels, _POSE_SIDE))
        if presence[0] <= _PRESENT:
            return None
        rows = numbers.reshape(_POSE_ROWS, 5)[:_POSE_COUNT].astype(np.float64)
        places = rows[:, :3] / _POSE_SIDE
        for heatmap in heatmaps:
            places[:, :2] = refine(places[:, :2], heatmap)
        return np.column_stack([roi.to_picture(places), sigmoid(rows[:, 3])])


def refine(points: Floats, heatmaps: Floats) -> Floats:
    """Move each point to the centre of the heat around it; a point without heat or outside the heatmap stays.

    Args:
        points: n x 2 shares of the sides.
        heatmaps: height x width x n logits.

    """
    return np.array([_refine(point, heatmaps[..., i]) for i, point in enumerate(points)])


def _refine(point: Floats, heatmap: Floats) -> Floats:
    sides = np.array(heatmap.shape[::-1])
    column, row = np.trunc(point * sides).astype(int)
    if not (0 <= column < sides[0] and 0 <= row < sides[1]):
        return point
    left, top = max(0, column - _REACH), max(0, row - _REACH)
    heat = sigmoid(heatmap[top : row + _REACH + 1, left : column + _REACH + 1].astype(np.float64))
    if heat.max() < _MIN_HEAT:
        return point
    rows, columns = np.indices(heat.shape)
    centre = np.array([((left + columns) * heat).sum(), ((top + rows) * heat).sum()]) / heat.sum()
    return np.asarray(centre / sides)


@dataclass
class FaceFinder:
    """Finds the landmarks of the face that belongs to a pose. Not thread-safe."""

    detector: SsdDetector
    landmarks: Network

    def find(self, pixels: Pixels, head: Floats) -> Floats | None:
        """Return 468 rows of x, y, z in pixels of the picture for the first 11 rows of a pose, or None without a face.

        The detector's first two keypoints are the eyes, that on the left of the picture first.
        """
        tilt = direction(head[_RIGHT_EYE, :2], head[_LEFT_EYE, :2], _LEVEL)
        points = self.detector.best(pixels, around(head[:, :2], tilt, _HEAD_MARGIN))
        if points is None:
            return None
        roi = around(points, direction(points[0], points[1], _LEVEL), _FACE_MARGIN, _TOWARDS_HAIR)
        numbers, presence = self.landmarks.run(roi.cut(pixels, _FACE_SIDE))
        if sigmoid(presence.astype(np.float64)).item() <= _PRESENT:
            return None
        return roi.to_picture(numbers.reshape(_FACE_COUNT, 3) / _FACE_SIDE)


@dataclass(frozen=True)
class Hand:
    """21 rows of x, y, z in pixels of the picture; `left` is the probability that it is a left hand."""

    points: Floats
    left: float


class HandFinder:
    """Finds the landmarks of a hand near the wrist, little finger and index finger of a pose. Not thread-safe."""

    def __init__(self, recrop: Network, landmarks: Network) -> None:
        """Run both networks once, since the self-test may find no hand."""
        self._recrop, self._landmarks = recrop, landmarks
        black = np.zeros((64, 64, 3), np.uint8)
        self._find_in(black, self._refine_roi(black, full_region(black)))

    def find(self, pixels: Pixels, arm: Floats) -> Hand | None:
        """Return the hand at three rows of the pose (wrist, little finger, index finger), or None if it is hidden."""
        if arm[0, 3] <= _MIN_VISIBILITY:
            return None
        return self._find_in(pixels, self._refine_roi(pixels, hand_roi(arm[:, :2])))

    def _refine_roi(self, pixels: Pixels, roi: Roi) -> Roi:
        """Return the exact square: the network gives the hand's centre and the edge of a circle around it."""
        (numbers,) = self._recrop.run(roi.cut(pixels, _RECROP_SIDE))
        centre, edge = roi.to_picture(numbers.reshape(2, 2) / _RECROP_SIDE)
        return spanned(centre, edge, _DOWN).grown(1.0, _TOWARDS_FINGERS)

    def _find_in(self, pixels: Pixels, roi: Roi) -> Hand | None:
        """Return the hand in the square. The network names the side as in a mirror."""
        numbers, presence, mirrored = self._landmarks.run(roi.cut(pixels, _HAND_SIDE))
        if presence[0] <= _PRESENT:
            return None
        points = numbers.reshape(_HAND_COUNT, 3) / _HAND_SIDE / (1, 1, _DEPTH)
        return Hand(roi.to_picture(points), 1 - float(mirrored[0]))


def hand_roi(arm: Floats) -> Roi:
    """Return the square around a hand, given x, y of wrist, little finger and index finger.

    The knuckle of the middle finger, its centre, is estimated as HandDetectionsFromPoseToRectsCalculator does.
    """
    wrist, little, index = arm
    return spanned((2 * index + little) / 3, wrist, _DOWN).grown(_HAND_MARGIN, _TOWARDS_FINGERS)


@dataclass(frozen=True)
class Person:
    """The parts that were found: rows of x, y, z in pixels of the picture, for the pose also visibility.

    `left` is the probability that a hand is a left one.
    """

    points: dict[Part, Floats]
    left: dict[Part, float] = field(default_factory=dict)


@dataclass
class PersonFinder:
    """All networks of the pipeline; `poses` has one finder for each complexity. Not thread-safe."""

    poses: Sequence[PoseFinder]
    face: FaceFinder
    hands: HandFinder

    def find(self, pixels: Pixels, parts: Collection[Part], complexity: int, clock: Clock) -> Person | None:
        """Return the person with the given parts and the pose, or None if no person is found."""
        pose = self.poses[complexity].find(pixels)
        clock.lap("pose")
        if pose is None:
            return None
        person = Person({"pose": pose})
        if "face" in parts:
            if (points := self.face.find(pixels, pose[_HEAD])) is not None:
                person.points["face"] = points
            clock.lap("face")
        if hands := [part for part in _ARMS if part in parts]:
            for part in hands:
                if hand := self.hands.find(pixels, pose[_ARMS[part]]):
                    person.points[part], person.left[part] = hand.points, hand.left
            clock.lap("hands")
        return person


def load_finder(files: Mapping[str, ModelFile]) -> PersonFinder:
    """Load all networks. Raises StartError when OpenVINO cannot be imported.

    Complexity 0 does without the heatmaps (Identity_3), which take more than half of the pose network's time.
    """

    def read(name: str, outputs: str, *, signed: bool = False) -> Network:
        return read_pixel_network(files[name].path, outputs.split(), signed=signed)

    people = read("mediapipe-pose-detection", "Identity Identity_1", signed=True)
    faces = read("mediapipe-face-detection-short", "regressors classificators", signed=True)
    person_detector = SsdDetector(people, _POSE_DETECTOR_SIDE, make_anchors(POSE_LAYERS))
    face_detector = SsdDetector(faces, _FACE_DETECTOR_SIDE, make_anchors(FACE_LAYERS))
    poses = [read("mediapipe-pose-landmark-full", f"Identity Identity_1 {more}") for more in ("", "Identity_3")]
    finders = [PoseFinder(person_detector, pose) for pose in poses]
    face = read("mediapipe-face-landmark", "conv2d_21 conv2d_31")
    recrop = read("mediapipe-hand-recrop", "output_crop")
    hand = read("mediapipe-hand-landmark-full", "Identity Identity_1 Identity_2")
    return PersonFinder(finders, FaceFinder(face_detector, face), HandFinder(recrop, hand))
