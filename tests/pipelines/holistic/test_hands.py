import numpy as np
import pytest

from faceattr_aio.pipelines.holistic.hands import HandFinder, guess
from faceattr_aio.pipelines.imaging import Floats
from tests.pipelines.holistic.told import Told


def test_a_hand_that_points_up_is_upright_and_a_little_above_its_knuckles() -> None:
    roi = guess(np.array([[50.0, 90.0], [41.0, 60.0], [54.5, 60.0]]))
    assert (roi.x, roi.y, roi.side, roi.angle) == pytest.approx((50, 54, 162, 0))


def test_a_hand_that_points_to_the_right_is_turned_so() -> None:
    roi = guess(np.array([[10.0, 50.0], [40.0, 41.0], [40.0, 54.5]]))
    assert (roi.x, roi.y, roi.side, roi.angle) == pytest.approx((46, 50, 162, np.pi / 2))


def arm(visibility: float) -> Floats:
    """Wrist, little finger and index finger of an upright hand."""
    return np.array([[50.0, 90, 0, visibility], [41, 60, 0, 1], [54.5, 60, 0, 1]])


def hands(presence: float = 0.9) -> tuple[HandFinder, Told, Told]:
    """The hand's middle is that of its first square, its radius a ninth of it; all landmarks are in the middle."""
    recrop = Told(256, [128, 128, 128, 128 + 256 / 9])
    landmarks = Told(224, [112, 112, 22.4] * 21, [presence], [0.3])
    return HandFinder(recrop, landmarks), recrop, landmarks


def test_landmarks_are_placed_where_the_second_square_has_them() -> None:
    finder, _, _ = hands()
    hand = finder.find(np.zeros((100, 100, 3), np.uint8), arm(1.0))
    assert hand is not None
    assert hand.points == pytest.approx(np.tile([50, 54 - 3.6, 36 * 0.1 / 0.4], (21, 1)), abs=1e-3)


def test_the_net_sees_a_hand_as_in_a_mirror() -> None:
    finder, _, _ = hands()
    hand = finder.find(np.zeros((100, 100, 3), np.uint8), arm(1.0))
    assert hand is not None
    assert hand.left == pytest.approx(0.7)


def test_what_is_hardly_a_hand_is_none() -> None:
    finder, _, _ = hands(presence=0.5)
    assert finder.find(np.zeros((100, 100, 3), np.uint8), arm(1.0)) is None


def test_for_a_hidden_wrist_no_net_is_asked() -> None:
    finder, recrop, landmarks = hands()
    before = recrop.asked, landmarks.asked
    assert finder.find(np.zeros((100, 100, 3), np.uint8), arm(0.1)) is None
    assert (recrop.asked, landmarks.asked) == before == (1, 1)
