"""The distance of the landmarks from those of MediaPipe, on pictures that are not part of the repository."""

from pathlib import Path

import numpy as np
import pytest

from bench.accuracy.holistic import Points, Row, compare, judge, mean_distance, race, report
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import LoadSpec
from faceattr_aio.pipelines.holistic import PARTS, Holistic, HolisticOptions, HolisticSettings
from faceattr_aio.pipelines.holistic.predict import HolisticPipeline
from faceattr_aio.pipelines.imaging import Floats

pytestmark = pytest.mark.pixels


def square(x: float = 0.0) -> Floats:
    """Corners of a square with a diagonal of 100."""
    side = 100 / np.sqrt(2)
    return np.array([[x, 0], [x + side, 0], [x + side, side], [x, side]])


def test_distances_are_shares_of_the_diagonal_of_the_expected_pose() -> None:
    expected: Points = dict.fromkeys(PARTS, None) | {"pose": square(), "face": square()}
    found: Points = dict.fromkeys(PARTS, None) | {"pose": square(3), "face": square(-7)}
    assert judge("", found, expected).distances == pytest.approx({"pose": 0.03, "face": 0.07})


@pytest.mark.parametrize("missing", ["face", "left_hand"])
def test_a_part_that_only_one_found_is_not_an_agreement(missing: str) -> None:
    expected: Points = dict.fromkeys(PARTS, None) | {"pose": square(), "face": square()}
    found: Points = dict.fromkeys(PARTS, None) | {"pose": square(), "face": square()}
    found |= {missing: None if found[missing] is not None else square()}  # type: ignore[index,dict-item]  # the key is a part
    assert not judge("", found, expected).agrees


@pytest.fixture(scope="module")
def pipeline(store: ModelStore) -> HolisticPipeline:
    settings = HolisticSettings()
    files = {name: store.verify(name) for name in Holistic.models(settings)}
    return HolisticPipeline(LoadSpec(Holistic.load, settings, files, 1024))


@pytest.fixture(scope="module")
def folder(data_folder: Path | None) -> Path:
    if data_folder is None:
        pytest.skip("MediaPipe's landmarks: FACEATTR_TEST_DATA is not set")
    return data_folder / "holistic"


@pytest.fixture(scope="module")
def rows(folder: Path, pipeline: HolisticPipeline) -> list[Row]:
    return compare(pipeline, folder, HolisticOptions())


def test_landmarks_are_near_those_of_mediapipe(rows: list[Row]) -> None:
    assert len(rows) == 8
    assert mean_distance(rows, "pose") <= 0.015
    assert mean_distance(rows, "face") <= 0.01
    assert mean_distance(rows, "left_hand", "right_hand") <= 0.02


def test_the_same_parts_are_found(rows: list[Row]) -> None:
    assert sum(row.agrees for row in rows) >= 7


def test_landmarks_are_nearer_in_pictures_of_full_size(folder: Path, pipeline: HolisticPipeline) -> None:
    rows = compare(pipeline, folder, HolisticOptions(working_side=1024))
    assert mean_distance(rows, "pose") <= 0.008
    assert mean_distance(rows, "face") <= 0.001
    assert mean_distance(rows, "left_hand", "right_hand") <= 0.004


def test_the_pose_is_less_accurate_without_heatmaps(folder: Path, pipeline: HolisticPipeline) -> None:
    rows = compare(pipeline, folder, HolisticOptions(complexity=0))
    assert mean_distance(rows, "pose") <= 0.02


def test_the_report_has_a_line_for_each_picture(rows: list[Row]) -> None:
    lines = list(report(rows))
    assert len(lines) == 10
    assert lines[-1].endswith("of 8")


def test_times_both_in_every_round(pipeline: HolisticPipeline, png_file: Path, tmp_path: Path) -> None:
    """With a fake MediaPipe that reports half a second."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho ready\nwhile read -r line; do echo 0.5; done\n")
    python.chmod(0o755)
    lines = list(race(python, [png_file], HolisticOptions(), [pipeline], 3))
    assert "of 3 rounds" in lines[0]
    assert lines[3].split() == ["MediaPipe", "500.0", "500.0"]
    assert 1 < float(lines[1].split()[-1]) <= float(lines[1].split()[-2])
