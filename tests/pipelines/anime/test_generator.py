"""How a picture of any size becomes one that a net takes, and back."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import TooManyPixels
from faceattr_aio.pipelines.anime.generator import Network, convert
from faceattr_aio.pipelines.anime.loading import Generators
from faceattr_aio.pipelines.imaging import Floats
from tests.pipelines.anime.conftest import BACKEND

pytestmark = pytest.mark.pixels


class Mirror:
    """Draws what it sees, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[Floats] = []

    def run(self, picture: Floats) -> Floats:
        self.seen.append(picture)
        return picture


@pytest.fixture(scope="module")
def network(drawer: Path) -> Network:
    return Generators({"mine": drawer}, BACKEND)["mine"]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (31, 33), (32, 64), (100, 75)])
def test_a_picture_of_any_size_is_drawn_at_its_size(size: tuple[int, int], network: Network) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert convert(network, picture).shape == picture.shape


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 64), (100, 75)])
def test_the_net_sees_multiples_of_32_and_what_it_draws_comes_back_pixel_by_pixel(size: tuple[int, int]) -> None:
    mirror, picture = Mirror(), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert np.array_equal(convert(mirror, picture), picture)
    assert [side % 32 for side in mirror.seen[0].shape[:2]] == [0, 0]
    assert mirror.seen[0].shape[0] - size[0] < 32


def test_what_is_added_is_the_picture_mirrored_at_its_edge() -> None:
    mirror, picture = Mirror(), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    convert(mirror, picture)
    (seen,) = mirror.seen
    assert np.array_equal(seen[20:32], seen[7:19][::-1])
    assert np.array_equal(seen[:, 30:32], seen[:, 27:29][:, ::-1])


def test_the_net_gets_red_first_in_its_range() -> None:
    mirror, red = Mirror(), np.zeros((32, 32, 3), np.uint8)
    red[..., 2] = 255
    convert(mirror, red)
    assert mirror.seen[0].dtype == np.float32
    assert (mirror.seen[0] == (1, -1, -1)).all()


def test_what_a_net_draws_beyond_its_range_is_the_lightest_or_darkest() -> None:
    class Loud:
        def run(self, picture: Floats) -> Floats:
            return picture * 3

    drawn = convert(Loud(), np.array([[[0, 128, 255]]], np.uint8))
    assert drawn.tolist() == [[[0, 129, 255]]]


def test_where_memory_does_not_suffice_the_picture_is_refused() -> None:
    class Greedy:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def run(self, _: Floats) -> Floats:
            raise self.error

    full, other = cv2.error("Failed to allocate"), cv2.error("Assertion failed")
    full.code, other.code = cv2.Error.StsNoMem, cv2.Error.StsAssert
    picture = np.zeros((8, 8, 3), np.uint8)
    for error, expected in ((full, TooManyPixels), (MemoryError(), TooManyPixels), (other, cv2.error)):
        with pytest.raises(expected):
            convert(Greedy(error), picture)


@pytest.mark.parametrize("size", [(75, 100), (64, 96)])
@pytest.mark.parametrize("turned", [False, True])
def test_where_the_picture_goes_on_as_it_is_no_edge_is_drawn(
    size: tuple[int, int], turned: bool, network: Network
) -> None:
    """Every row of one colour stays a row of one colour, from edge to edge, and so does every column."""
    rows = np.random.default_rng(0).integers(0, 256, (size[0], 1, 3), np.uint8).repeat(size[1], axis=1)
    drawn = convert(network, np.ascontiguousarray(rows.swapaxes(0, 1)) if turned else rows)
    assert np.ptp(drawn.astype(int), axis=0 if turned else 1).max() <= 1
    assert np.ptp(drawn) > 50
