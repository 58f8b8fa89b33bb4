"""The names and connections of the landmarks, in MediaPipe's order, and a person as plain data.

Left and right are the person's own.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from faceattr_aio.pipelines.holistic import NO_PERSON, Part
from faceattr_aio.pipelines.holistic.person import Person
from faceattr_aio.pipelines.imaging import Floats

_SIDES = ("left", "right")
_FINGERS = ("index_finger", "middle_finger", "ring_finger", "pinky")
_LIMBS = ("shoulder", "elbow", "wrist", "pinky", "index", "thumb", "hip", "knee", "ankle", "heel", "foot_index")

POSE = (
    "nose",
    *(f"{side}_eye{corner}" for side in _SIDES for corner in ("_inner", "", "_outer")),
    "left_ear",
    "right_ear",
    "mouth_left",
    "mouth_right",
    *(f"{side}_{limb}" for limb in _LIMBS for side in _SIDES),
)
HAND = (
    "wrist",
    *(f"thumb_{joint}" for joint in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in ("mcp", "pip", "dip", "tip")),
)

_FACE_OF_POSE = ((8, 6, 5, 4, 0, 1, 2, 3, 7), (10, 9))
_ARMS = tuple((11 + side, 13 + side, 15 + side, 17 + side, 19 + side, 15 + side, 21 + side) for side in (0, 1))
_LEGS = tuple((23 + side, 25 + side, 27 + side, 29 + side, 31 + side, 27 + side) for side in (0, 1))
_TRUNK = ((11, 12, 24, 23, 11),)
_PALM = ((0, 1, 2, 3, 4), (0, 5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (0, 17, 18, 19, 20), (5, 9, 13, 17))

NAMES: dict[Part, tuple[str, ...]] = {"pose": POSE, "face": (), "left_hand": HAND, "right_hand": HAND}
"""The 468 landmarks of a face have numbers only."""
LINES: dict[Part, tuple[tuple[int, ...], ...]] = {
    "pose": (*_FACE_OF_POSE, *_TRUNK, *_ARMS, *_LEGS),
    "face": (),
    "left_hand": _PALM,
    "right_hand": _PALM,
}
"""Each line connects its landmarks one after another."""

_MEMBERS = "x", "y", "z", "visibility"
_DIGITS = 5


def describe(person: Person | None, parts: Sequence[Part], width: int, height: int) -> dict[str, Any]:
    """Return the members `landmarks`, `handedness` and `reason` of the result for the given parts.

    `width` and `height` are those of the pixels that were searched.
    """
    points, left = (person.points, person.left) if person else ({}, {})
    ordered = [part for part in NAMES if part in parts]
    return {
        "landmarks": {
            part: _landmarks(part, points[part], width, height) if part in points else [] for part in ordered
        },
        "handedness": {part: _side(left[part]) for part in ordered if part in left},
        "reason": None if person else NO_PERSON,
    }


def _landmarks(part: Part, points: Floats, width: int, height: int) -> list[dict[str, Any]]:
    """Return the points with their names, as shares of the sides; depth has the scale of x."""
    sides = np.array([width, height, width, 1][: points.shape[1]])
    rows = [dict(zip(_MEMBERS, row, strict=False)) for row in (points / sides).round(_DIGITS).tolist()]
    return [{"name": name} | row if name else row for name, row in zip_longest(NAMES[part], rows)]


def _side(left: float) -> dict[str, Any]:
    """Return the likelier side and its probability."""
    label, probability = ("left", left) if left >= 0.5 else ("right", 1 - left)  # noqa: PLR2004  # the likelier of two
    return {"label": label, "probability": round(probability, 3)}
