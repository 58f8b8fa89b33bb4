import json

import numpy as np
import pytest

from faceattr_aio.pipelines.holistic import PARTS
from faceattr_aio.pipelines.holistic.answer import describe
from faceattr_aio.pipelines.holistic.person import Person

POSE = np.tile([100.0, 50.0, -20.0, 0.75], (33, 1))
HAND = np.tile([20.0, 25.0, 10.0], (21, 1))
FACE = np.tile([210.0, -1.0, 0.0], (468, 1))


def test_places_are_shares_of_the_sides_and_depth_has_the_scale_of_x() -> None:
    answer = describe(Person({"pose": POSE}), PARTS, 200, 100)
    assert len(answer["landmarks"]["pose"]) == 33
    assert answer["landmarks"]["pose"][0] == {"name": "nose", "x": 0.5, "y": 0.5, "z": -0.1, "visibility": 0.75}


def test_the_points_of_a_face_have_no_names_and_may_lie_outside() -> None:
    answer = describe(Person({"pose": POSE, "face": FACE}), PARTS, 200, 100)
    assert answer["landmarks"]["face"][467] == {"x": 1.05, "y": -0.01, "z": 0.0}


def test_a_part_that_was_not_found_is_empty_and_one_that_was_not_wanted_is_not_there() -> None:
    answer = describe(Person({"pose": POSE}), ("left_hand",), 200, 100)
    assert answer == {"landmarks": {"left_hand": []}, "handedness": {}, "reason": None}


@pytest.mark.parametrize(("left", "label", "probability"), [(0.9, "left", 0.9), (0.2, "right", 0.8)])
def test_a_hand_tells_the_likelier_side(left: float, label: str, probability: float) -> None:
    answer = describe(Person({"pose": POSE, "right_hand": HAND}, {"right_hand": left}), PARTS, 200, 100)
    assert answer["handedness"] == {"right_hand": {"label": label, "probability": probability}}
    assert answer["landmarks"]["right_hand"][20]["name"] == "pinky_tip"


def test_nobody_is_empty_parts_and_a_reason() -> None:
    answer = describe(None, PARTS, 200, 100)
    assert answer == {"landmarks": {part: [] for part in PARTS}, "handedness": {}, "reason": "no-person"}


def test_it_is_plain_data() -> None:
    assert json.loads(json.dumps(answer := describe(Person({"pose": POSE}), PARTS, 200, 100))) == answer
