"""The measuring itself, on made-up estimates whose figures are known."""

from pathlib import Path

import numpy as np
import pytest

from bench import accuracy, calibrate
from bench.labelled import PADDING, Estimates, Truth, read_labels, read_padded
from faceattr_aio.faces.calibration import AGES

pytestmark = pytest.mark.pixels


def made_up(faces: int = 400, spread: float = 5.0) -> Estimates:
    """Estimates that are off by a normal error of `spread` years, and always sure."""
    random = np.random.default_rng(1)
    estimated = random.integers(10, 60, faces)
    true = (estimated + random.normal(0, spread, faces)).clip(0, 80)
    truths = [Truth(Path(), float(age), "female") for age in true]
    ages = np.array([(AGES.round() == years) * 1.0 for years in estimated])
    return Estimates(truths, ages, np.full(faces, 0.9))


def test_labels_are_read_and_old_ages_count_as_eighty(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,age,gender\na.jpg,7,male\nb.jpg,99,female\n")
    assert read_labels(tmp_path) == [Truth(tmp_path / "a.jpg", 7, "male"), Truth(tmp_path / "b.jpg", 80, "female")]


def test_faces_are_padded_by_their_border(png_file: Path) -> None:
    padded = read_padded(png_file)
    assert padded.shape == (512 + 2 * PADDING, 512 + 2 * PADDING, 3)
    assert np.array_equal(padded[0, PADDING:-PADDING], padded[PADDING, PADDING:-PADDING])


def test_errors_are_those_that_were_made() -> None:
    estimates = made_up()
    assert accuracy.mean_error(estimates) == pytest.approx(5 * np.sqrt(2 / np.pi), rel=0.15)
    assert accuracy.gender_right(estimates) == 1.0


def test_fitted_intervals_hold_four_in_five_of_faces_they_have_not_seen() -> None:
    held, width = accuracy.intervals(made_up())
    assert held == pytest.approx(0.8, abs=0.06)
    assert width == pytest.approx(2 * 1.28 * 5, rel=0.15)


def test_the_file_says_where_its_numbers_come_from() -> None:
    text = calibrate.as_toml(calibrate.fit(made_up()), 400, "a set")
    assert "400 labelled faces of a set" in text
    assert "python -m bench.calibrate" in text


def test_the_report_names_every_figure() -> None:
    estimates = made_up(200)
    text = "\n".join(accuracy.report(estimates.truths, estimates))
    for figure in ("found", "mean absolute age error", "gender right", "within interval", "bracket right", "60-80"):
        assert figure in text
