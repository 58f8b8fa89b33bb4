import numpy as np
import pytest

from faceattr_aio.pipelines.nets import decode_boxes, make_anchors, sigmoid

pytestmark = pytest.mark.pixels


def test_anchors_are_the_centres_of_cells_row_by_row() -> None:
    assert make_anchors(((2, 2), (1, 1))).tolist() == [
        [0.25, 0.25], [0.25, 0.25], [0.75, 0.25], [0.75, 0.25],
        [0.25, 0.75], [0.25, 0.75], [0.75, 0.75], [0.75, 0.75],
        [0.5, 0.5],
    ]  # fmt: skip


def test_offsets_are_added_to_the_anchors_and_sizes_are_not() -> None:
    numbers, anchors = np.array([[1.0, 2.0, 8.0, 9.0, 3.0, 4.0]]), np.array([[10.0, 20.0]])
    sizes, points = decode_boxes(numbers, anchors)
    assert sizes.tolist() == [[8, 9]]
    assert points.tolist() == [[[11, 22], [13, 24]]]


def test_no_anchors_decode_to_no_boxes() -> None:
    sizes, points = decode_boxes(np.zeros((0, 16)), np.zeros((0, 2)))
    assert (sizes.shape, points.shape) == ((0, 2), (0, 7, 2))


def test_a_logit_of_any_size_gives_a_probability() -> None:
    assert sigmoid(np.array([-1e30, 0, 1e30], np.float32)) == pytest.approx([0, 0.5, 1])
