import json
import re
from pathlib import Path

import numpy as np
import pytest

import faceattr_aio
from faceattr_aio.pipelines.holistic import PARTS, Part
from faceattr_aio.pipelines.holistic.person import Person
from faceattr_aio.pipelines.holistic.skeleton import HAND, LINES, NAMES, POSE, describe

POSE_ROWS = np.tile([100.0, 50.0, -20.0, 0.75], (33, 1))
HAND_ROWS = np.tile([20.0, 25.0, 10.0], (21, 1))
FACE_ROWS = np.tile([210.0, -1.0, 0.0], (468, 1))


def test_there_are_543_landmarks() -> None:
    assert len(POSE) + 468 + 2 * len(HAND) == 543
    assert set(NAMES) == set(LINES) == set(PARTS)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "nose"),
        (1, "left_eye_inner"),
        (6, "right_eye_outer"),
        (8, "right_ear"),
        (9, "mouth_left"),
        (11, "left_shoulder"),
        (16, "right_wrist"),
        (19, "left_index"),
        (22, "right_thumb"),
        (24, "right_hip"),
        (29, "left_heel"),
        (32, "right_foot_index"),
    ],
)
def test_the_pose_has_mediapipes_order(number: int, name: str) -> None:
    assert POSE[number] == name


@pytest.mark.parametrize(
    ("number", "name"), [(0, "wrist"), (1, "thumb_cmc"), (3, "thumb_ip"), (8, "index_finger_tip"), (17, "pinky_mcp")]
)
def test_a_hand_has_mediapipes_order(number: int, name: str) -> None:
    assert HAND[number] == name


@pytest.mark.parametrize("part", ["pose", "left_hand", "right_hand"])
def test_the_lines_connect_every_landmark_and_no_other(part: Part) -> None:
    assert {number for line in LINES[part] for number in line} == set(range(len(NAMES[part])))


def test_arms_and_legs_connect_landmarks_of_one_side() -> None:
    arms_and_legs = [line for line in LINES["pose"] if len(line) > 5 and min(line) > 10]
    assert len(arms_and_legs) == 4
    for line in arms_and_legs:
        assert len({POSE[number].partition("_")[0] for number in line}) == 1


def test_the_page_draws_the_same_lines() -> None:
    text = (Path(faceattr_aio.__file__).parent / "web" / "page" / "skeleton.js").read_text()
    palm, pose = re.search(r"PALM = (.*);", text), re.search(r"pose: (\[\n.*?)\],\n  face", text, re.DOTALL)
    assert palm
    assert pose
    assert tuple(map(tuple, json.loads(palm[1]))) == LINES["left_hand"]
    assert {tuple(line) for line in json.loads(re.sub(r",\s*$", "]", pose[1]))} == set(LINES["pose"])


def test_coordinates_are_shares_of_the_sides_and_depth_has_the_scale_of_x() -> None:
    answer = describe(Person({"pose": POSE_ROWS}), PARTS, 200, 100)
    assert len(answer["landmarks"]["pose"]) == 33
    assert answer["landmarks"]["pose"][0] == {"name": "nose", "x": 0.5, "y": 0.5, "z": -0.1, "visibility": 0.75}


def test_the_points_of_a_face_have_no_names_and_may_lie_outside() -> None:
    answer = describe(Person({"pose": POSE_ROWS, "face": FACE_ROWS}), PARTS, 200, 100)
    assert answer["landmarks"]["face"][467] == {"x": 1.05, "y": -0.01, "z": 0.0}


def test_a_part_that_was_not_found_is_empty_and_one_that_was_not_requested_is_absent() -> None:
    answer = describe(Person({"pose": POSE_ROWS}), ("left_hand",), 200, 100)
    assert answer == {"landmarks": {"left_hand": []}, "handedness": {}, "reason": None}


@pytest.mark.parametrize(("left", "label", "probability"), [(0.9, "left", 0.9), (0.2, "right", 0.8)])
def test_a_hand_has_its_likelier_side(left: float, label: str, probability: float) -> None:
    answer = describe(Person({"pose": POSE_ROWS, "right_hand": HAND_ROWS}, {"right_hand": left}), PARTS, 200, 100)
    assert answer["handedness"] == {"right_hand": {"label": label, "probability": probability}}
    assert answer["landmarks"]["right_hand"][20]["name"] == "pinky_tip"


def test_no_person_gives_empty_parts_and_a_reason() -> None:
    answer = describe(None, PARTS, 200, 100)
    assert answer == {"landmarks": {part: [] for part in PARTS}, "handedness": {}, "reason": "no-person"}


def test_the_result_is_plain_data() -> None:
    assert json.loads(json.dumps(answer := describe(Person({"pose": POSE_ROWS}), PARTS, 200, 100))) == answer
