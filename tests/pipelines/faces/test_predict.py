"""The whole pipeline with every detector, and its self-test."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import StartError
from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.faces import FaceOptions
from faceattr_aio.pipelines.faces import predict as predict_module
from faceattr_aio.pipelines.faces.predict import FacePipeline, check_self_test
from faceattr_aio.pipelines.imaging import Pixels
from tests.pipelines.faces.conftest import BOX, LoadFaces, overlap
from tests.support.pictures import with_orientation

pytestmark = pytest.mark.pixels

ANSWER = {"years": 30.6, "female": 1.0}
"""The result of the default networks, measured on OpenCV 4.14 and 5.0: they may differ by half a year."""

TEST_FACE = {
    "box": {"x": 40, "y": 40, "width": 74, "height": 74},
    "gender": {"label": "female", "probability": 0.9},
    "age": {"years": 30.0},
}
"""The face in the test picture."""


def predict(pipeline: FacePipeline, file: Path, **options: object) -> dict[str, Any]:
    return pipeline.predict(file, FaceOptions.model_validate(options), Clock())


def test_the_astronaut_is_found_and_described(load_faces: LoadFaces, png_file: Path) -> None:
    result = predict(load_faces(), png_file)
    (face,) = result["faces"]
    assert overlap(face["box"], BOX) > 0.95
    assert face["confidence"] > 0.9
    assert face["gender"] == {"label": "female", "probability": pytest.approx(1.0, abs=0.01)}
    assert face["age"]["years"] == pytest.approx(ANSWER["years"], abs=0.5)
    low, high = face["age"]["interval"]
    assert 18 <= low < face["age"]["years"] < high <= 45
    assert face["age"]["bracket"] == "25-32"
    assert 0.4 < face["age"]["probability"] < 0.7
    assert result["image"] == {"width": 512, "height": 512, "format": "png"}
    assert result["models"] == {"detector": "blazeface-full-range", "age": "dlib-age-v1", "gender": "dlib-gender-v1"}


@pytest.mark.parametrize("width", [1600, 4000, 7000])
def test_a_photo_of_many_megapixels_gives_the_same_face(
    width: int, load_faces: LoadFaces, astronaut: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, size = tmp_path / "large.jpg", (width, width * 3 // 4)
    cv2.imwrite(str(file), cv2.resize(astronaut, size, interpolation=cv2.INTER_CUBIC))
    pipeline = load_faces()
    (face,) = predict(pipeline, file)["faces"]
    monkeypatch.setattr(imaging, "choose_reduction", lambda *_: 1)
    (same,) = predict(pipeline, file)["faces"]
    assert overlap(face["box"], same["box"]) > 0.8
    assert face["age"]["years"] == pytest.approx(same["age"]["years"], abs=1.5)
    assert face["gender"]["label"] == same["gender"]["label"]


@pytest.mark.parametrize("detector", ["blazeface", "yunet", "ssd"])
def test_every_detector_finds_the_one_face(detector: str, load_faces: LoadFaces, png_file: Path) -> None:
    (face,) = predict(load_faces(detector), png_file)["faces"]
    assert overlap(face["box"], BOX) > 0.65  # each detector has its own definition of a face box
    assert (face["landmarks"] is None) is (detector == "ssd")
    if face["landmarks"]:
        assert face["landmarks"]["left_eye"] == pytest.approx([205, 102], abs=8)
        assert face["landmarks"]["right_eye"] == pytest.approx([247, 104], abs=8)
        assert face["landmarks"]["nose"] == pytest.approx([224, 128], abs=10)
        assert face["landmarks"]["mouth"] == pytest.approx([222, 146], abs=10)


def test_the_working_side_changes_neither_the_box_nor_the_age(
    load_faces: LoadFaces, astronaut: Pixels, tmp_path: Path
) -> None:
    large = cv2.resize(astronaut, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "large.jpg"), large)
    (face,) = predict(load_faces(), tmp_path / "large.jpg")["faces"]
    assert overlap(face["box"], {key: 4 * value for key, value in BOX.items()}) > 0.9
    assert face["age"]["years"] == pytest.approx(ANSWER["years"], abs=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(
    orientation: int, load_faces: LoadFaces, astronaut: Pixels, tmp_path: Path
) -> None:
    """The face is upright and its box is in the picture as shown, in whichever orientation it is stored."""
    file = tmp_path / "turned.jpg"
    file.write_bytes(with_orientation(astronaut, orientation))
    (face,) = predict(load_faces(), file)["faces"]
    assert overlap(face["box"], BOX) > 0.9
    assert face["gender"]["label"] == "female"


def test_no_face_is_an_empty_list(load_faces: LoadFaces, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 400, 3), 127, np.uint8))
    assert predict(load_faces(), tmp_path / "grey.png")["faces"] == []
    assert predict(load_faces(), tmp_path / "grey.png", detail="high")["faces"] == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
@pytest.mark.parametrize("detail", ["normal", "high"])
def test_the_smallest_pictures_have_no_faces(
    shape: tuple[int, int], detail: str, load_faces: LoadFaces, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((*shape, 3), np.uint8))
    assert predict(load_faces(), tmp_path / "tiny.png", detail=detail)["faces"] == []


def test_only_the_requested_attributes_are_in_the_result(load_faces: LoadFaces, png_file: Path) -> None:
    pipeline = load_faces()
    (face,) = predict(pipeline, png_file, attributes="age")["faces"]
    assert "gender" not in face
    result = predict(pipeline, png_file, attributes="")
    assert set(result["faces"][0]) == {"box", "confidence", "landmarks"}
    assert result["models"] == {"detector": "blazeface-full-range"}


def test_confidence_and_number_of_faces_can_be_limited(load_faces: LoadFaces, png_file: Path) -> None:
    pipeline = load_faces()
    assert predict(pipeline, png_file, min_confidence=0.99)["faces"] == []
    many = predict(pipeline, png_file, min_confidence=0.0, max_faces=5)["faces"]
    assert len(many) == 5
    assert [face["confidence"] for face in many] == sorted((face["confidence"] for face in many), reverse=True)


def test_attributes_below_the_thresholds_are_unknown(load_faces: LoadFaces, png_file: Path) -> None:
    (face,) = predict(load_faces(bracket_threshold=0.9, gender_threshold=1.0), png_file)["faces"]
    assert face["age"]["bracket"] == "unknown"
    assert face["gender"]["label"] == "unknown"
    assert face["age"]["years"] == pytest.approx(ANSWER["years"], abs=0.5)


def small_faces(astronaut: Pixels) -> Pixels:
    """The astronaut's head 24 times in six columns, each face 61 pixels wide, on a picture of 1000 x 700."""
    head = cv2.resize(astronaut[30:210, 130:320], (110, 104), interpolation=cv2.INTER_AREA)
    canvas = np.full((700, 1000, 3), 127, np.uint8)
    for row in range(4):
        for column in range(6):
            y, x = 40 + row * 165, 40 + column * 160
            canvas[y : y + 104, x : x + 110] = head
    return canvas


def test_high_detail_finds_small_faces_each_once(load_faces: LoadFaces, astronaut: Pixels, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "group.png"), small_faces(astronaut))
    pipeline = load_faces()
    normal = predict(pipeline, tmp_path / "group.png")["faces"]
    high = predict(pipeline, tmp_path / "group.png", detail="high")["faces"]
    assert len(normal) < len(high) == 24
    assert max(overlap(one["box"], other["box"]) for one in high for other in high if one is not other) == 0


def test_the_picture_is_drawn_with_labels(load_faces: LoadFaces, png_file: Path, astronaut: Pixels) -> None:
    pipeline = load_faces()
    result = predict(pipeline, png_file)
    drawn = cv2.imdecode(np.frombuffer(pipeline.encode(result, "image/png", png_file), np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == astronaut.shape
    assert not np.array_equal(drawn[68, 173:279], astronaut[68, 173:279])
    assert np.array_equal(drawn[300:], astronaut[300:])


def test_pipelines_of_one_process_do_not_disturb_each_other(load_faces: LoadFaces, png_file: Path) -> None:
    """Each has its own networks; a network shared by threads gives wrong results without an error."""
    pipelines = [load_faces() for _ in range(4)]
    expected = predict(pipelines[0], png_file)

    def repeat(pipeline: FacePipeline) -> bool:
        return all(predict(pipeline, png_file) == expected for _ in range(25))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(repeat, pipelines))


def result(**changes: Any) -> dict[str, Any]:
    return {"faces": [TEST_FACE | changes]}


@pytest.mark.parametrize("detector", ["blazeface", "yunet", "ssd"])
@pytest.mark.parametrize("working_side", [64, 1024])
def test_every_detector_passes_the_self_test_at_any_size(
    detector: str, working_side: int, load_faces: LoadFaces
) -> None:
    assert load_faces(detector, working_side)


def test_the_self_test_passes_with_thresholds_that_make_every_label_unknown(load_faces: LoadFaces) -> None:
    assert load_faces(gender_threshold=1.0, bracket_threshold=1.0)


def test_a_test_picture_without_a_face_fails_the_self_test(
    load_faces: LoadFaces, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((160, 160, 3), 127, np.uint8))
    monkeypatch.setattr(predict_module, "TEST_PICTURE", tmp_path / "grey.png")
    with pytest.raises(StartError, match="no face is found"):
        load_faces()


def test_the_pipeline_runs_the_self_test_when_it_is_loaded(
    load_faces: LoadFaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FacePipeline, "predict", lambda *_: result(age={"years": 3.0}))
    with pytest.raises(StartError, match="the age is 3"):
        load_faces()


@pytest.mark.parametrize(
    ("changes", "reason"),
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
def test_a_wrong_result_fails_the_self_test_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    check_self_test(result())
    with pytest.raises(StartError, match=reason):
        check_self_test(result(**changes))
