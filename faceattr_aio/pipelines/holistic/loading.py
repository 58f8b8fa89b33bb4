"""The nets of each part with their constants: files, outputs and ranges of values. Nothing else knows them all."""

from collections.abc import Mapping

from faceattr_aio.pipeline import ModelFile
from faceattr_aio.pipelines.holistic import face, pose
from faceattr_aio.pipelines.holistic.face import FaceFinder
from faceattr_aio.pipelines.holistic.hands import HandFinder
from faceattr_aio.pipelines.holistic.network import Network, read
from faceattr_aio.pipelines.holistic.person import PersonFinder
from faceattr_aio.pipelines.holistic.pose import PoseFinder
from faceattr_aio.pipelines.holistic.ssd import Detector, make_anchors

Files = Mapping[str, ModelFile]


def load(files: Files) -> PersonFinder:
    """All nets. Raises StartError when they cannot run here."""
    return PersonFinder(_poses(files), _face(files), _hands(files))


def _poses(files: Files) -> tuple[PoseFinder, PoseFinder]:
    """By complexity: without heatmaps, and with them, which take more than half of the net's time."""
    boxes = read(files["mediapipe-pose-detection"].path, ("Identity", "Identity_1"), "-1..1")
    detector = Detector(boxes, make_anchors(pose.LAYERS))
    return PoseFinder(detector, _landmarks(files)), PoseFinder(detector, _landmarks(files, "Identity_3"))


def _landmarks(files: Files, *heatmaps: str) -> Network:
    return read(files["mediapipe-pose-landmark-full"].path, ("Identity", "Identity_1", *heatmaps), "0..1")


def _face(files: Files) -> FaceFinder:
    boxes = read(files["mediapipe-face-detection-short"].path, ("regressors", "classificators"), "-1..1")
    points = read(files["mediapipe-face-landmark"].path, ("conv2d_21", "conv2d_31"), "0..1")
    return FaceFinder(Detector(boxes, make_anchors(face.LAYERS)), points)


def _hands(files: Files) -> HandFinder:
    square = read(files["mediapipe-hand-recrop"].path, ("output_crop",), "0..1")
    points = read(files["mediapipe-hand-landmark-full"].path, ("Identity", "Identity_1", "Identity_2"), "0..1")
    return HandFinder(square, points)
