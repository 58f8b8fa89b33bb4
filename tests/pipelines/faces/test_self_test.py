from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import StartError
from faceattr_aio.pipelines.faces import self_test
from faceattr_aio.pipelines.faces.predict import FacePipeline
from tests.pipelines.faces.conftest import LoadFaces

pytestmark = pytest.mark.pixels

ANSWER = {
    "box": {"x": 40, "y": 40, "width": 74, "height": 74},
    "gender": {"label": "female", "probability": 0.9},
    "age": {"years": 30.0},
}


def result(**changes: Any) -> dict[str, Any]:
    return {"faces": [ANSWER | changes]}


@pytest.mark.parametrize("detector", ["blazeface", "yunet", "ssd"])
@pytest.mark.parametrize("working_side", [64, 1024])
def test_every_detector_passes_at_any_size(detector: str, working_side: int, load_faces: LoadFaces) -> None:
    assert load_faces(detector, working_side)


def test_thresholds_that_let_nothing_be_named_do_not_fail_it(load_faces: LoadFaces) -> None:
    assert load_faces(gender_threshold=1.0, bracket_threshold=1.0)


def test_a_picture_without_a_face_is_seen(
    load_faces: LoadFaces, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((160, 160, 3), 127, np.uint8))
    monkeypatch.setattr(self_test, "PICTURE", tmp_path / "grey.png")
    with pytest.raises(StartError, match="no face is found in it"):
        load_faces()


def test_a_worker_looks_at_the_picture_as_it_starts(load_faces: LoadFaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FacePipeline, "predict", lambda *_: result(age={"years": 3.0}))
    with pytest.raises(StartError, match="the age is 3"):
        load_faces()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"box": {"x": 0, "y": 0, "width": 74, "height": 74}}, "no face"),
        ({"gender": {"label": "male", "probability": 0.9}}, "the gender is male"),
        (
            {"gender": {"label": "female", "probability": float("nan")}},
            "the gender is female with a probability of nan",
        ),
        ({"age": {"years": float("nan")}}, "the age is nan"),
        ({"age": {"years": 0.0}}, r"the age is 0\.0"),
        ({"age": {"years": 80.0}}, r"the age is 80\.0"),
    ],
)
def test_an_answer_that_cannot_be_right_is_said(changes: dict[str, Any], said: str) -> None:
    self_test.check(result())
    with pytest.raises(StartError, match=said):
        self_test.check(result(**changes))
