import cv2
import numpy as np
import pytest

from faceattr_aio.errors import TooBlurred
from faceattr_aio.pipelines.holistic.sharpness import refuse_blurred, sharpness
from faceattr_aio.pipelines.imaging import Pixels

pytestmark = pytest.mark.pixels


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def test_one_colour_is_not_sharp_at_all() -> None:
    assert sharpness(np.full((50, 50, 3), 127, np.uint8)) == 0


def test_the_more_it_is_blurred_the_less_sharp_it_is(astronaut: Pixels) -> None:
    found = [sharpness(blurred(astronaut, sigma)) for sigma in (0.5, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert sharpness(astronaut) > 500
    assert found[2] < 50


def test_what_is_less_sharp_than_asked_for_is_refused(astronaut: Pixels) -> None:
    refuse_blurred(astronaut, 500)
    with pytest.raises(TooBlurred, match="at least 500 is asked for") as refusal:
        refuse_blurred(blurred(astronaut, 4), 500)
    assert 0 < float(str(refusal.value.members["sharpness"])) < 50


def test_nothing_is_refused_where_nothing_is_asked_for() -> None:
    refuse_blurred(np.full((50, 50, 3), 127, np.uint8), 0)
