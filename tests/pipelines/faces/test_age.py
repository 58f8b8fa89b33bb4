import numpy as np
import pytest

from faceattr_aio.pipelines.faces.age import BRACKETS, AgeInBrackets, AgeInYears, bracket_masses, name_bracket
from faceattr_aio.pipelines.faces.calibration import AGES, Calibration, load_calibration
from faceattr_aio.pipelines.faces.gender import Gender, name_gender
from faceattr_aio.pipelines.imaging import Floats

pytestmark = pytest.mark.pixels

CHIP = np.zeros((96, 96, 3), np.uint8)


class Says:
    """A net that gives a distribution of our choice."""

    def __init__(self, *probabilities: float) -> None:
        self._probabilities = np.array(probabilities)

    def probabilities(self, _: object) -> Floats:
        return self._probabilities


def certain(age: int) -> Floats:
    return np.asarray((AGES.round() == age).astype(float))


@pytest.mark.parametrize(
    ("age", "bracket"), [(0, 0), (2, 0), (5, 1), (10, 2), (20, 3), (30, 4), (40, 5), (50, 6), (80, 7)]
)
def test_a_certain_age_is_all_in_its_bracket(age: int, bracket: int) -> None:
    masses = bracket_masses(certain(age))
    assert masses.argmax() == bracket
    assert masses.sum() == pytest.approx(1)


def test_what_falls_into_a_gap_is_shared_out() -> None:
    mixed = 0.2 * certain(30) + 0.2 * certain(40) + 0.6 * certain(35)
    assert bracket_masses(mixed)[[4, 5]].tolist() == pytest.approx([0.5, 0.5])


def test_an_age_wholly_in_a_gap_has_no_bracket() -> None:
    assert name_bracket(bracket_masses(certain(35)), 0.25) == {"bracket": "unknown", "probability": 0.0}


def test_an_unsure_bracket_is_unknown() -> None:
    masses = np.array([0.3, 0.7, 0, 0, 0, 0, 0, 0])
    assert name_bracket(masses, 0.7) == {"bracket": "4-6", "probability": 0.7}
    assert name_bracket(masses, 0.71) == {"bracket": "unknown", "probability": 0.7}


def test_years_come_from_the_raw_distribution_and_the_interval_from_the_calibration() -> None:
    calibration = Calibration(2.5, (0.0, 80.0), (-4.0, -8.0), (6.0, 10.0))
    net = Says(*(0.5 * certain(30) + 0.5 * certain(50)))
    age = AgeInYears("years", net, 96, calibration, 0.25).classify(CHIP)  # type: ignore[arg-type]  # a stand-in
    assert age["years"] == 40.0
    assert age["interval"] == [40 - 6, 40 + 8]
    assert age["bracket"] == "25-32"
    assert age["probability"] == pytest.approx(0.5, abs=0.05)


def test_a_net_of_brackets_gives_middles_and_spans() -> None:
    net = Says(0, 0, 0, 0, 0.5, 0.5, 0, 0)
    age = AgeInBrackets("brackets", net, 227, 0.25).classify(CHIP)  # type: ignore[arg-type]  # a stand-in
    assert age == {"years": 34.5, "interval": [25, 43], "bracket": "25-32", "probability": 0.5}
    sure = AgeInBrackets("brackets", Says(*np.eye(8)[7]), 227, 0.25).classify(CHIP)  # type: ignore[arg-type]
    assert sure["interval"] == [60, 100]


@pytest.mark.parametrize(
    ("female", "label", "probability"),
    [(0.9, "female", 0.9), (0.1, "male", 0.9), (0.55, "unknown", 0.55), (0.4, "male", 0.6)],
)
def test_a_gender_that_is_not_sure_enough_is_unknown(female: float, label: str, probability: float) -> None:
    assert name_gender(female, 0.6) == {"label": label, "probability": pytest.approx(probability)}


def test_the_order_of_the_classes_is_the_nets_own() -> None:
    assert Gender("g", Says(0.9, 0.1), 96, 0, 0.6).classify(CHIP)["label"] == "female"  # type: ignore[arg-type]
    assert Gender("g", Says(0.9, 0.1), 96, 1, 0.6).classify(CHIP)["label"] == "male"  # type: ignore[arg-type]


def test_softening_keeps_the_order_and_takes_away_sureness() -> None:
    sharp = np.array([0.9, 0.09, 0.01])
    soft = Calibration(2.5, (0,), (0,), (0,)).soften(sharp)
    assert soft.sum() == pytest.approx(1)
    assert soft[0] < sharp[0]
    assert list(np.argsort(soft)) == list(np.argsort(sharp))


def test_an_interval_stays_within_the_ages_there_are() -> None:
    calibration = Calibration(1, (0.0, 80.0), (-10.0, -10.0), (10.0, 10.0))
    assert calibration.interval(3) == (0, 13)
    assert calibration.interval(79) == (69, 80)


def test_the_shipped_calibration_holds_its_estimate_and_widens_with_age() -> None:
    calibration = load_calibration("age-v1")
    widths = []
    for years in range(1, 80):
        low, high = calibration.interval(years)
        assert low <= years <= high
        widths.append(high - low)
    assert widths[0] <= 6
    assert max(widths) <= 32
    assert len(BRACKETS) == 8
