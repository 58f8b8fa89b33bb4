import numpy as np
import pytest

from faceattr_aio.pipelines.holistic.pose import refine
from faceattr_aio.pipelines.imaging import Floats


def heatmap(*spots: tuple[int, int], side: int = 64) -> Floats:
    """Logits, high at these columns and rows."""
    logits = np.full((side, side, 1), -30.0)
    for column, row in spots:
        logits[row, column] = 30.0
    return logits


def refined(x: float, y: float, logits: Floats) -> list[float]:
    point: list[float] = refine(np.array([[x, y]]), logits)[0].tolist()
    return point


def test_a_point_is_moved_to_what_the_heatmap_shows() -> None:
    assert refined(30.5 / 64, 30.5 / 64, heatmap((32, 29))) == pytest.approx([32 / 64, 29 / 64])


def test_of_two_spots_it_is_moved_between() -> None:
    assert refined(30.5 / 64, 30.5 / 64, heatmap((28, 30), (32, 30))) == pytest.approx([30 / 64, 30 / 64])


def test_what_is_far_away_does_not_count() -> None:
    assert refined(30.5 / 64, 30.5 / 64, heatmap((35, 30))) == pytest.approx([30.5 / 64, 30.5 / 64])


def test_at_the_edge_the_part_that_is_there_counts() -> None:
    assert refined(0.5 / 64, 63.5 / 64, heatmap((2, 62))) == pytest.approx([2 / 64, 62 / 64])


@pytest.mark.parametrize("place", [(-0.1, 0.5), (0.5, 1.01), (-0.001, 1.5), (1e6, -1e6)])
def test_what_lies_outside_stays(place: tuple[float, float]) -> None:
    assert refined(*place, heatmap((0, 32))) == pytest.approx(list(place))


def test_each_point_has_its_own_heatmap() -> None:
    both = np.concatenate([heatmap((32, 29)), heatmap((29, 32))], axis=2)
    moved = refine(np.full((2, 2), 30.5 / 64), both)
    assert moved == pytest.approx(np.array([[32, 29], [29, 32]]) / 64)
