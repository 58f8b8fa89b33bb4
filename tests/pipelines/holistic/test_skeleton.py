import json
import re
from pathlib import Path

import pytest

import faceattr_aio
from faceattr_aio.pipelines.holistic import PARTS, Part
from faceattr_aio.pipelines.holistic.skeleton import HAND, LINES, NAMES, POSE


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
def test_every_landmark_is_on_a_line_and_there_is_no_other(part: Part) -> None:
    assert {number for line in LINES[part] for number in line} == set(range(len(NAMES[part])))


def test_left_is_joined_with_left() -> None:
    arms_and_legs = [line for line in LINES["pose"] if len(line) > 5 and min(line) > 10]
    assert len(arms_and_legs) == 4
    for line in arms_and_legs:
        assert len({POSE[number].partition("_")[0] for number in line}) == 1


def test_the_page_joins_the_same_landmarks() -> None:
    text = (Path(faceattr_aio.__file__).parent / "web" / "page" / "skeleton.js").read_text()
    palm, pose = re.search(r"PALM = (.*);", text), re.search(r"pose: (\[\n.*?)\],\n  face", text, re.DOTALL)
    assert palm
    assert pose
    assert tuple(map(tuple, json.loads(palm[1]))) == LINES["left_hand"]
    assert {tuple(line) for line in json.loads(re.sub(r",\s*$", "]", pose[1]))} == set(LINES["pose"])
