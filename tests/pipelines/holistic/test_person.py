import numpy as np
import pytest

from faceattr_aio.pipelines.holistic.person import HandFinder, hand_roi, refine
from faceattr_aio.pipelines.imaging import Floats
from tests.support.networks import FakeNetwork


def heatmap(*spots: tuple[int, int], side: int = 64) -> Floats:
    """Logits with high values at the given columns and rows."""
    logits = np.full((side, side, 1), -30.0)
    for column, row in spots:
        logits[row, column] = 30.0
    return logits


def refined(x: float, y: float, logits: Floats) -> list[float]:
    point: list[float] = refine(np.array([[x, y]]), logits)[0].tolist()
    return point


def test_a_point_is_moved_to_the_hot_cell_near_it() -> None:
    assert refined(30.5 / 64, 30.5 / 64, heatmap((32, 29))) == pytest.approx([32 / 64, 29 / 64])


def test_a_point_is_moved_between_two_hot_cells() -> None:
    assert refined(30.5 / 64, 30.5 / 64, heatmap((28, 30), (32, 30))) == pytest.approx([30 / 64, 30 / 64])


def test_a_hot_cell_out_of_reach_does_not_move_the_point() -> None:
    assert refined(30.5 / 64, 30.5 / 64, heatmap((35, 30))) == pytest.approx([30.5 / 64, 30.5 / 64])


def test_a_window_at_the_edge_is_clipped_to_the_heatmap() -> None:
    assert refined(0.5 / 64, 63.5 / 64, heatmap((2, 62))) == pytest.approx([2 / 64, 62 / 64])


@pytest.mark.parametrize("place", [(-0.1, 0.5), (0.5, 1.01), (-0.001, 1.5), (1e6, -1e6)])
def test_a_point_outside_the_heatmap_stays(place: tuple[float, float]) -> None:
    assert refined(*place, heatmap((0, 32))) == pytest.approx(list(place))


def test_each_point_has_its_own_heatmap() -> None:
    both = np.concatenate([heatmap((32, 29)), heatmap((29, 32))], axis=2)
    moved = refine(np.full((2, 2), 30.5 / 64), both)
    assert moved == pytest.approx(np.array([[32, 29], [29, 32]]) / 64)


def test_the_square_of_a_hand_that_points_up_is_upright_and_slightly_above_the_knuckles() -> None:
    roi = hand_roi(np.array([[50.0, 90.0], [41.0, 60.0], [54.5, 60.0]]))
    assert (roi.x, roi.y, roi.side, roi.angle) == pytest.approx((50, 54, 162, 0))


def test_the_square_of_a_hand_that_points_to_the_right_is_rotated() -> None:
    roi = hand_roi(np.array([[10.0, 50.0], [40.0, 41.0], [40.0, 54.5]]))
    assert (roi.x, roi.y, roi.side, roi.angle) == pytest.approx((46, 50, 162, np.pi / 2))


def arm(visibility: float) -> Floats:
    """Wrist, little finger and index finger of an upright hand."""
    return np.array([[50.0, 90, 0, visibility], [41, 60, 0, 1], [54.5, 60, 0, 1]])


def hands(presence: float = 0.9) -> tuple[HandFinder, FakeNetwork, FakeNetwork]:
    """Return a finder and its networks: the hand is in the centre of the first square, with a ninth of it as radius."""
    recrop = FakeNetwork([128, 128, 128, 128 + 256 / 9], side=256)
    landmarks = FakeNetwork([112, 112, 22.4] * 21, [presence], [0.3], side=224)
    return HandFinder(recrop, landmarks), recrop, landmarks


def test_landmarks_are_placed_where_the_second_square_has_them() -> None:
    finder, _, _ = hands()
    hand = finder.find(np.zeros((100, 100, 3), np.uint8), arm(1.0))
    assert hand is not None
    assert hand.points == pytest.approx(np.tile([50, 54 - 3.6, 36 * 0.1 / 0.4], (21, 1)), abs=1e-3)


def test_the_network_names_the_side_of_a_hand_as_in_a_mirror() -> None:
    finder, _, _ = hands()
    hand = finder.find(np.zeros((100, 100, 3), np.uint8), arm(1.0))
    assert hand is not None
    assert hand.left == pytest.approx(0.7)


def test_a_hand_without_presence_is_not_found() -> None:
    finder, _, _ = hands(presence=0.5)
    assert finder.find(np.zeros((100, 100, 3), np.uint8), arm(1.0)) is None


def test_no_network_runs_for_a_hidden_wrist() -> None:
    finder, recrop, landmarks = hands()
    before = recrop.runs, landmarks.runs
    assert finder.find(np.zeros((100, 100, 3), np.uint8), arm(0.1)) is None
    assert (recrop.runs, landmarks.runs) == before == (1, 1)
