from typing import Any

import numpy as np
import pytest

from faceattr_aio.pipelines.faces.annotate import draw, label
from faceattr_aio.pipelines.imaging import Picture

pytestmark = pytest.mark.pixels

GENDER = {"label": "female", "probability": 0.99}
AGE = {"years": 31.4, "interval": [21, 41], "bracket": "25-32", "probability": 0.6}


def face(x: int = 50, y: int = 50, side: int = 40, **attributes: object) -> dict[str, Any]:
    return {"box": {"x": x, "y": y, "width": side, "height": side}, "confidence": 0.97, **attributes}


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"gender": GENDER, "age": AGE}, "Female (25-32)"),
        ({"gender": GENDER | {"label": "unknown"}, "age": AGE}, "Unknown (25-32)"),
        ({"gender": GENDER, "age": AGE | {"bracket": "unknown"}}, "Female (about 31)"),
        ({"gender": GENDER}, "Female"),
        ({"age": AGE}, "(25-32)"),
        ({}, "97%"),
    ],
)
def test_the_label_has_the_known_attributes(attributes: dict[str, Any], text: str) -> None:
    assert label(face(**attributes)) == text


@pytest.mark.parametrize("scale", [1, 2])
def test_boxes_are_drawn_around_the_face(scale: int) -> None:
    image = Picture(np.zeros((200, 200, 3), np.uint8), 200 * scale, 200 * scale, "png")
    drawn = draw(image, [face(60 * scale, 80 * scale, 40 * scale, gender=GENDER, age=AGE)])
    assert drawn[120, 60:100].any()
    assert not drawn[124:].any()
    assert not image.pixels.any()  # the original is not changed


@pytest.mark.parametrize(("x", "y"), [(0, 0), (190, 0), (0, 190), (190, 190)])
def test_a_label_at_the_border_stays_in_the_picture(x: int, y: int) -> None:
    image = Picture(np.zeros((200, 200, 3), np.uint8), 200, 200, "png")
    drawn = draw(image, [face(x, y, 10, gender=GENDER, age=AGE)])
    _, columns = np.nonzero(drawn.any(axis=2))
    assert columns.max() - columns.min() > 60  # the whole label


def test_a_picture_of_one_pixel_can_be_drawn_on() -> None:
    assert draw(Picture(np.zeros((1, 1, 3), np.uint8), 1, 1, "png"), [face(0, 0, 1, gender=GENDER, age=AGE)]).shape == (
        1,
        1,
        3,
    )
