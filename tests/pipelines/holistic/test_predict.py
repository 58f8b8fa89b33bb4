"""The whole pipeline, its check of sharpness and its self-test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import StartError, TooBlurred, UnreadableImage
from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines.holistic import PARTS, HolisticOptions, HolisticSettings
from faceattr_aio.pipelines.holistic.person import PersonFinder
from faceattr_aio.pipelines.holistic.predict import (
    TEST_PICTURE,
    HolisticPipeline,
    check_self_test,
    check_sharpness,
    sharpness,
)
from faceattr_aio.pipelines.imaging import Pixels
from tests.support.pictures import with_orientation

pytestmark = pytest.mark.pixels

NOSE, TIP = (0.438, 0.252), (0.431, 0.255)
"""In the pose and in the face of the astronaut."""


def predict(pipeline: HolisticPipeline, file: Path, **options: object) -> dict[str, Any]:
    return pipeline.predict(file, HolisticOptions.model_validate(options), Clock())


def position(point: dict[str, Any]) -> tuple[float, float]:
    return point["x"], point["y"]


@pytest.fixture
def grey_file(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((300, 400, 3), 127, np.uint8))
    return tmp_path / "grey.png"


@pytest.mark.parametrize("complexity", [0, 1])
def test_the_astronaut_is_found(complexity: int, pipeline: HolisticPipeline, png_file: Path) -> None:
    answer = predict(pipeline, png_file, complexity=complexity)
    assert {part: len(points) for part, points in answer["landmarks"].items()} == {
        "pose": 33,
        "face": 468,
        "left_hand": 0,
        "right_hand": 0,
    }
    assert position(answer["landmarks"]["pose"][0]) == pytest.approx(NOSE, abs=0.025)
    assert position(answer["landmarks"]["face"][1]) == pytest.approx(TIP, abs=0.015)
    assert answer["landmarks"]["pose"][0]["visibility"] > 0.99
    assert answer["landmarks"]["pose"][27]["visibility"] < 0.1  # an ankle, below the picture
    assert answer["image"] == {"width": 512, "height": 512, "format": "png"}
    assert answer["reason"] is None
    assert answer["handedness"] == {}
    assert len(answer["models"]) == 6


def test_the_persons_left_is_on_the_right_of_the_picture(pipeline: HolisticPipeline, png_file: Path) -> None:
    points = {point["name"]: point for point in predict(pipeline, png_file)["landmarks"]["pose"]}
    assert points["left_shoulder"]["x"] > points["nose"]["x"] > points["right_shoulder"]["x"]


def test_a_picture_without_a_person_gives_empty_parts_and_a_reason(pipeline: HolisticPipeline, grey_file: Path) -> None:
    answer = predict(pipeline, grey_file)
    assert answer["landmarks"] == {part: [] for part in PARTS}
    assert answer["reason"] == "no-person"


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2)])
def test_the_smallest_pictures_have_no_person(
    shape: tuple[int, int], pipeline: HolisticPipeline, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((*shape, 3), np.uint8))
    assert predict(pipeline, tmp_path / "tiny.png")["reason"] == "no-person"


def test_only_the_requested_part_and_the_pose_are_computed(pipeline: HolisticPipeline, png_file: Path) -> None:
    clock = Clock()
    answer = pipeline.predict(png_file, HolisticOptions.model_validate({"parts": "face"}), clock)
    assert list(answer["landmarks"]) == ["face"]
    assert len(answer["landmarks"]["face"]) == 468
    assert list(clock.laps) == ["decode", "pose", "face"]
    assert set(answer["models"]) == {"pose_detector", "pose", "face_detector", "face"}


def test_only_the_pose_is_computed_when_only_the_pose_is_requested(pipeline: HolisticPipeline, png_file: Path) -> None:
    clock = Clock()
    pipeline.predict(png_file, HolisticOptions.model_validate({"parts": "pose"}), clock)
    assert list(clock.laps) == ["decode", "pose"]


def test_no_other_network_runs_without_a_person(pipeline: HolisticPipeline, grey_file: Path) -> None:
    clock = Clock()
    pipeline.predict(grey_file, HolisticOptions(), clock)
    assert list(clock.laps) == ["decode", "pose"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(
    orientation: int, pipeline: HolisticPipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    file = tmp_path / "turned.jpg"
    file.write_bytes(with_orientation(astronaut, orientation))
    assert position(predict(pipeline, file)["landmarks"]["face"][1]) == pytest.approx(TIP, abs=0.015)


def test_coordinates_in_an_oblong_picture_are_shares_of_each_side(
    pipeline: HolisticPipeline, astronaut: Pixels, tmp_path: Path
) -> None:
    wide = cv2.copyMakeBorder(astronaut, 0, 0, 0, 512, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    answer = predict(pipeline, tmp_path / "wide.png")
    assert position(answer["landmarks"]["face"][1]) == pytest.approx((TIP[0] / 2, TIP[1]), abs=0.015)


def test_the_working_side_limits_the_decoded_size(
    pipeline: HolisticPipeline, png_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides: list[int] = []
    monkeypatch.setattr(pipeline._person, "find", lambda pixels, *_: sides.append(max(pixels.shape)))
    monkeypatch.setattr(pipeline, "_working_side", 400)
    for asked in ({}, {"working_side": 256}, {"working_side": 4000}):
        predict(pipeline, png_file, **asked)
    assert sides == [400, 256, 400]


def test_a_blurred_picture_is_refused_when_options_or_settings_require_sharpness(
    load_spec: LoadSpec, pipeline: HolisticPipeline, astronaut: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blurred = tmp_path / "blurred.png"
    cv2.imwrite(str(blurred), cv2.GaussianBlur(astronaut, (0, 0), 4))
    assert predict(pipeline, blurred)["reason"] is None
    with pytest.raises(TooBlurred):
        predict(pipeline, blurred, min_sharpness=500)
    monkeypatch.setattr(
        "faceattr_aio.pipelines.holistic.predict.load_finder", lambda _: pipeline._person
    )  # once is enough
    strict = HolisticPipeline(replace(load_spec, settings=HolisticSettings(min_sharpness=500)))
    with pytest.raises(TooBlurred):
        predict(strict, blurred)
    assert predict(strict, blurred, min_sharpness=0)["reason"] is None


def test_a_damaged_picture_is_refused(pipeline: HolisticPipeline, tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "half.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(UnreadableImage):
        predict(pipeline, tmp_path / "half.jpg")


def test_the_skeleton_is_drawn_where_the_astronaut_is(
    pipeline: HolisticPipeline, png_file: Path, astronaut: Pixels
) -> None:
    data = pipeline.encode(predict(pipeline, png_file), "image/png", png_file)
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert drawn.shape == astronaut.shape
    assert not np.array_equal(drawn[80:180, 170:280], astronaut[80:180, 170:280])
    assert np.array_equal(drawn[:50, :100], astronaut[:50, :100])


def test_a_person_that_is_not_found_fails_the_self_test(
    load_spec: LoadSpec, pipeline: HolisticPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceattr_aio.pipelines.holistic.predict.load_finder", lambda _: pipeline._person)
    monkeypatch.setattr(PersonFinder, "find", lambda *_: None)
    with pytest.raises(StartError, match="The models do not work here"):
        HolisticPipeline(load_spec)


def test_a_nose_in_the_wrong_place_fails_the_self_test(pipeline: HolisticPipeline) -> None:
    answer = predict(pipeline, TEST_PICTURE)
    check_self_test(answer)
    answer["landmarks"]["face"][1]["x"] += 0.1
    with pytest.raises(StartError, match="the nose of the face is in the wrong place"):
        check_self_test(answer)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def test_the_sharpness_of_one_colour_is_0() -> None:
    assert sharpness(np.full((50, 50, 3), 127, np.uint8)) == 0


def test_sharpness_falls_with_blur(astronaut: Pixels) -> None:
    found = [sharpness(blur(astronaut, sigma)) for sigma in (0.5, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert sharpness(astronaut) > 500
    assert found[2] < 50


def test_a_picture_below_the_minimum_sharpness_is_refused(astronaut: Pixels) -> None:
    check_sharpness(astronaut, 500)
    with pytest.raises(TooBlurred, match="below the minimum of 500") as refusal:
        check_sharpness(blur(astronaut, 4), 500)
    assert 0 < float(str(refusal.value.members["sharpness"])) < 50


def test_a_minimum_sharpness_of_0_refuses_nothing() -> None:
    check_sharpness(np.full((50, 50, 3), 127, np.uint8), 0)
