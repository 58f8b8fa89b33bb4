import numpy as np
import pytest

from faceattr_aio.pipelines.holistic.person import FACE_LAYERS, POSE_LAYERS
from faceattr_aio.pipelines.holistic.regions import Roi, SsdDetector, blend, overlaps
from faceattr_aio.pipelines.nets import make_anchors
from tests.support.networks import FakeNetwork


def test_there_are_as_many_anchors_as_the_networks_have() -> None:
    assert make_anchors(POSE_LAYERS).shape == (2254, 2)
    assert make_anchors(FACE_LAYERS).shape == (896, 2)


def test_the_overlap_is_the_intersection_over_union() -> None:
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    assert overlaps(boxes, boxes[0]) == pytest.approx([1, 1 / 3, 0])


def test_points_of_boxes_that_overlap_the_best_one_are_averaged_by_their_scores() -> None:
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [0.1, 0.0, 2.1, 2.0], [5.0, 5.0, 7.0, 7.0]])
    points = np.array([[[1.0, 1.0]], [[2.0, 2.0]], [[6.0, 6.0]]])
    assert blend(boxes, points, np.array([0.9, 0.6, 0.8])) == pytest.approx(np.array([[1.4, 1.4]]))


def test_offsets_are_pixels_of_the_square_relative_to_the_anchor() -> None:
    network = FakeNetwork([[0, 0, 20, 20, 10, -10], [0, 0, 20, 20, 50, 50]], [[3.0], [-3.0]], side=100)
    detector = SsdDetector(network, 100, make_anchors(((1, 2),)))
    points = detector.best(np.zeros((200, 200, 3), np.uint8), Roi(100, 100, 200))
    assert points == pytest.approx(np.array([[120, 80]]), abs=1e-4)


def test_scores_below_the_threshold_give_no_detection() -> None:
    detector = SsdDetector(FakeNetwork([[0] * 6], [[-0.1]], side=100), 100, make_anchors(((1, 1),)))
    assert detector.best(np.zeros((50, 50, 3), np.uint8), Roi(25, 25, 50)) is None
