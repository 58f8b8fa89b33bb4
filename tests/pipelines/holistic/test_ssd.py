import numpy as np
import pytest

from faceattr_aio.pipelines.holistic import face, pose
from faceattr_aio.pipelines.holistic.roi import Roi
from faceattr_aio.pipelines.holistic.ssd import Detector, blend, make_anchors, overlaps, sigmoid
from tests.pipelines.holistic.told import Told


def test_there_are_as_many_anchors_as_the_nets_have() -> None:
    assert make_anchors(pose.LAYERS).shape == (2254, 2)
    assert make_anchors(face.LAYERS).shape == (896, 2)


def test_anchors_are_the_middles_of_cells_row_by_row() -> None:
    assert make_anchors(((2, 2), (1, 1))).tolist() == [
        [0.25, 0.25], [0.25, 0.25], [0.75, 0.25], [0.75, 0.25],
        [0.25, 0.75], [0.25, 0.75], [0.75, 0.75], [0.75, 0.75],
        [0.5, 0.5],
    ]  # fmt: skip


def test_overlap_is_intersection_over_union() -> None:
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]])
    assert overlaps(boxes, boxes[0]) == pytest.approx([1, 1 / 3, 0])


def test_points_of_boxes_on_the_surest_one_are_averaged_by_their_scores() -> None:
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [0.1, 0.0, 2.1, 2.0], [5.0, 5.0, 7.0, 7.0]])
    points = np.array([[[1.0, 1.0]], [[2.0, 2.0]], [[6.0, 6.0]]])
    assert blend(boxes, points, np.array([0.9, 0.6, 0.8])) == pytest.approx(np.array([[1.4, 1.4]]))


def test_a_detection_is_its_anchor_and_what_is_added_in_pixels_of_the_square() -> None:
    net = Told(100, [[0, 0, 20, 20, 10, -10], [0, 0, 20, 20, 50, 50]], [[3.0], [-3.0]])
    detector = Detector(net, make_anchors(((1, 2),)))
    points = detector.best(np.zeros((200, 200, 3), np.uint8), Roi(100, 100, 200))
    assert points == pytest.approx(np.array([[120, 80]]), abs=1e-4)


def test_nothing_sure_is_nothing() -> None:
    detector = Detector(Told(100, [[0] * 6], [[-0.1]]), make_anchors(((1, 1),)))
    assert detector.best(np.zeros((50, 50, 3), np.uint8), Roi(25, 25, 50)) is None


def test_a_logit_of_any_size_is_a_probability() -> None:
    assert sigmoid(np.array([-1e30, 0, 1e30], np.float32)) == pytest.approx([0, 0.5, 1])
