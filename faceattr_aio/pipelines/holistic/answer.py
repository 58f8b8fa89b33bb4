"""A person as plain data: landmarks with their names, as shares of the picture's sides. Knows no net and no pixels."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from faceattr_aio.pipelines.holistic import NOBODY, Part
from faceattr_aio.pipelines.holistic.person import Person
from faceattr_aio.pipelines.holistic.skeleton import NAMES
from faceattr_aio.pipelines.imaging import Floats

_MEMBERS = "x", "y", "z", "visibility"
_DIGITS = 5


def describe(person: Person | None, parts: Sequence[Part], width: int, height: int) -> dict[str, Any]:
    """`landmarks` of the parts that are wanted, `handedness` of the hands among them that were found, and why there is
    nothing when there is nobody; `width` and `height` are of the pixels that were searched.
    """
    points, left = (person.points, person.left) if person else ({}, {})
    wanted = [part for part in NAMES if part in parts]
    return {
        "landmarks": {
            part: _named(part, points[part] / _sides(points[part], width, height)) if part in points else []
            for part in wanted
        },
        "handedness": {part: _side(left[part]) for part in wanted if part in left},
        "reason": None if person else NOBODY,
    }


def _sides(points: Floats, width: int, height: int) -> Floats:
    """What x, y, z and visibility are divided by: depth has the scale of x."""
    return np.array([width, height, width, 1][: points.shape[1]])


def _named(part: Part, points: Floats) -> list[dict[str, Any]]:
    rows = points.round(_DIGITS).tolist()
    return [_point(name, row) for name, row in zip_longest(NAMES[part], rows)]


def _point(name: str | None, row: Sequence[float]) -> dict[str, Any]:
    numbers: dict[str, Any] = dict(zip(_MEMBERS, row, strict=False))
    return numbers if name is None else {"name": name} | numbers


def _side(left: float) -> dict[str, Any]:
    """The likelier side and its probability."""
    label, probability = ("left", left) if left >= 0.5 else ("right", 1 - left)  # noqa: PLR2004  # the likelier of two
    return {"label": label, "probability": round(probability, 3)}
