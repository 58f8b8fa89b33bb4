from math import pi

import cv2
import numpy as np
import pytest

from faceattr_aio.pipelines.holistic.regions import Roi, around, direction, full_region, spanned
from faceattr_aio.pipelines.imaging import Floats, Pixels

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5]])


def points(*rows: tuple[float, ...]) -> Floats:
    return np.array(rows, np.float64)


def quarters() -> Pixels:
    """Blue, green, red and white, clockwise from the top left, 100 x 100."""
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[:50, :50], pixels[:50, 50:], pixels[50:, 50:], pixels[50:, :50] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 255
    return pixels


def test_the_whole_picture_is_in_the_centre_of_its_square() -> None:
    assert full_region(np.zeros((100, 300, 3), np.uint8)) == Roi(150, 50, 300)


def test_an_upright_square_maps_its_corners_to_the_picture() -> None:
    placed = Roi(50, 40, 20).to_picture(CORNERS)
    assert placed == pytest.approx(points((40, 30), (60, 30), (60, 50), (40, 50), (50, 40)))


def test_a_square_rotated_clockwise_maps_its_top_to_the_right() -> None:
    placed = Roi(50, 40, 20, pi / 2).to_picture(points((0.5, 0.0)))
    assert placed == pytest.approx(points((60, 40)))


def test_depth_is_scaled_and_columns_after_it_are_copied() -> None:
    assert Roi(50, 40, 20).to_picture(points((0.5, 0.5, 0.25, 0.9))) == pytest.approx(points((50, 40, 5, 0.9)))


def test_the_given_points_are_not_changed() -> None:
    given = points((0.5, 0.0, 1.0))
    Roi(50, 40, 20, 1.0).to_picture(given)
    assert np.array_equal(given, points((0.5, 0.0, 1.0)))


@pytest.mark.pixels
@pytest.mark.parametrize("turns", range(4))
def test_a_rotated_picture_is_cut_upright(turns: int) -> None:
    """A square rotated as much as the picture shows the original picture."""
    turned = np.ascontiguousarray(np.rot90(quarters(), -turns))
    cut = Roi(50, 50, 100, turns * pi / 2).cut(turned, 20)
    for y, x in ((5, 5), (5, 15), (15, 15), (15, 5)):
        assert np.array_equal(cut[y, x], quarters()[y * 5, x * 5])


@pytest.mark.pixels
def test_a_point_in_the_cut_square_maps_back_to_the_picture() -> None:
    pixels = np.zeros((200, 300, 3), np.uint8)
    cv2.circle(pixels, (210, 90), 3, (255, 255, 255), cv2.FILLED)
    roi = Roi(190, 100, 80, 0.7)
    cut = roi.cut(pixels, 160)
    y, x = np.argwhere(cut[..., 0] > 127).mean(axis=0)
    assert roi.to_picture(points((x / 160, y / 160))) == pytest.approx(points((210, 90)), abs=0.6)


@pytest.mark.pixels
@pytest.mark.parametrize(("border", "seen"), [(cv2.BORDER_CONSTANT, 0), (cv2.BORDER_REPLICATE, 255)])
def test_the_border_mode_fills_pixels_outside_the_picture(border: int, seen: int) -> None:
    cut = Roi(0, 0, 20).cut(np.full((50, 50, 3), 255, np.uint8), 20, border)
    assert cut[2, 2].tolist() == [seen] * 3
    assert cut[18, 18].tolist() == [255] * 3


@pytest.mark.pixels
def test_a_square_of_size_0_can_be_cut() -> None:
    assert Roi(5, 5, 0).cut(np.zeros((9, 9, 3), np.uint8), 16).shape == (16, 16, 3)


@pytest.mark.parametrize(
    ("end", "upright", "angle"),
    [
        ((0, -1), 90, 0),
        ((1, 0), 90, pi / 2),
        ((-1, 0), 90, -pi / 2),
        ((1, 0), 0, 0),
        ((1, 1), 0, pi / 4),
        ((0, 1), -90, 0),
    ],
)
def test_the_rotation_is_measured_from_the_upright_direction(
    end: tuple[int, int], upright: float, angle: float
) -> None:
    assert direction(np.zeros(2), np.array(end), upright) == pytest.approx(angle)


def test_a_spanned_square_reaches_to_its_edge() -> None:
    assert spanned(np.array([10.0, 10.0]), np.array([10.0, 4.0]), 90) == Roi(10, 10, 12, 0)


def test_a_box_becomes_a_square_by_its_longer_side_and_moves_by_its_height() -> None:
    assert around(points((10, 10), (50, 30)), 0.0, 2.0, -0.1) == Roi(30, 18, 80, 0)


def test_a_rotated_square_moves_along_its_own_vertical() -> None:
    grown = Roi(30, 20, 10, pi / 2).grown(3.0, -0.5)
    assert (grown.x, grown.y, grown.side) == pytest.approx((35, 20, 30))
