from typing import Any

import numpy as np
import pytest

from faceattr_aio.pipelines.holistic.annotate import draw

pytestmark = pytest.mark.pixels

BLACK = np.zeros((300, 400, 3), np.uint8)


def pose(x: float = 0.5, y: float = 0.5, visibility: float = 1.0) -> list[dict[str, Any]]:
    """A pose with all landmarks in one place, except the left shoulder at a quarter and the right at three quarters."""
    points = [{"name": "", "x": x, "y": y, "z": 0.0, "visibility": visibility} for _ in range(33)]
    points[11]["x"], points[12]["x"] = 0.25, 0.75
    return points


def test_the_given_pixels_are_not_changed() -> None:
    drawn = draw(BLACK, {"pose": pose()})
    assert drawn.any()
    assert not BLACK.any()


def test_a_line_connects_the_shoulders() -> None:
    drawn = draw(BLACK, {"pose": pose()})
    assert drawn[150, 101:300].any(axis=1).all()
    assert not drawn[:140].any()
    assert not drawn[160:].any()


def test_landmarks_of_low_visibility_are_not_drawn() -> None:
    assert not draw(BLACK, {"pose": pose(visibility=0.4)}).any()


def test_every_point_of_a_face_is_drawn() -> None:
    columns = [10, 200, 390]
    drawn = draw(BLACK, {"face": [{"x": column / 400, "y": 0.5, "z": 0.0} for column in columns]})
    assert [bool(drawn[150, column].all()) for column in columns] == [True] * 3


def test_empty_parts_change_nothing() -> None:
    assert not draw(BLACK, {"pose": [], "left_hand": []}).any()


@pytest.mark.parametrize("far", [-5.0, 1e12, -1e12])
def test_landmarks_far_outside_the_picture_can_be_drawn(far: float) -> None:
    assert draw(BLACK, {"pose": pose(x=far, y=far)}).shape == BLACK.shape
