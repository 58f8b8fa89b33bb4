"""The figures of models/README.md, on labelled faces that are not part of the repository."""

from pathlib import Path

import pytest

from bench.accuracy import __main__ as accuracy
from bench.accuracy import calibrate
from bench.support.labelled import Estimates, Truth, estimate, read_labels
from faceattr_aio.pipelines.faces.attributes import load_calibration

pytestmark = pytest.mark.pixels


@pytest.fixture(scope="module")
def truths(data_folder: Path | None) -> list[Truth]:
    if data_folder is None:
        pytest.skip("labelled faces: FACEATTR_TEST_DATA is not set")
    return read_labels(data_folder / "faces")


@pytest.fixture(scope="module")
def estimates(truths: list[Truth]) -> Estimates:
    return estimate(truths)


def test_nearly_all_faces_are_found(truths: list[Truth], estimates: Estimates) -> None:
    assert len(truths) == 240
    assert len(estimates.truths) / len(truths) >= 0.98


def test_age_and_gender_are_as_accurate_as_documented(estimates: Estimates) -> None:
    assert accuracy.mean_error(estimates) <= 6.5
    assert accuracy.gender_right(estimates) >= 0.86
    assert accuracy.gender_right(estimates, accuracy.ADULT) >= 0.94


def test_intervals_contain_four_in_five_ages_and_are_narrow(estimates: Estimates) -> None:
    held, width = accuracy.intervals(estimates)
    assert 0.75 <= held <= 0.85
    assert width <= 25


def test_the_probability_of_a_bracket_is_its_accuracy(estimates: Estimates) -> None:
    right, sure = accuracy.brackets(estimates)
    assert right == pytest.approx(sure, abs=0.08)


def test_the_constants_of_the_package_are_the_fitted_ones(estimates: Estimates) -> None:
    fitted, shipped = calibrate.fit(estimates), load_calibration("age-v1")
    assert fitted.temperature == shipped.temperature
    assert fitted.ages == shipped.ages
    assert fitted.low == pytest.approx(shipped.low, abs=1)
    assert fitted.high == pytest.approx(shipped.high, abs=1)
