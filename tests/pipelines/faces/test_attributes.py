from functools import partial

import cv2
import numpy as np
import pytest

from faceattr_aio.pipelines.faces.attributes import (
    AGES,
    BRACKETS,
    AttributeClassifiers,
    Calibration,
    Classifier,
    SoftmaxNetwork,
    bracket_masses,
    cut_chip,
    estimate_by_brackets,
    estimate_by_years,
    load_calibration,
    name_bracket,
    name_gender,
)
from faceattr_aio.pipelines.faces.detectors import Detection
from faceattr_aio.pipelines.imaging import Floats, Pixels
from tests.support.networks import FakeNetwork

pytestmark = pytest.mark.pixels

LEFT, RIGHT = (0.2 + 0.2273) / 1.4, (0.2 + 0.7528) / 1.4
HEIGHT = (0.2 + 0.22) / 1.4


def dots(*points: tuple[float, float]) -> Pixels:
    pixels = np.zeros((200, 200, 3), np.uint8)
    for x, y in points:
        cv2.circle(pixels, (round(x), round(y)), 3, (255, 255, 255), cv2.FILLED)
    return pixels


def brightest(chip: Pixels, half: slice) -> tuple[float, float]:
    """Return x and y of the centre of the bright pixels in the columns of `half`."""
    rows, columns = np.nonzero(chip[:, half, 0] > 128)
    return float(columns.mean() + (half.start or 0)), float(rows.mean())


@pytest.mark.parametrize("angle", [0, 30, -75, 180])
@pytest.mark.parametrize("side", [96, 227])
def test_the_eyes_are_in_the_same_place_of_the_chip_at_any_angle_of_the_head(angle: int, side: int) -> None:
    turn = np.deg2rad(angle)
    eyes = np.array(
        [(100 - 30 * np.cos(turn), 100 - 30 * np.sin(turn)), (100 + 30 * np.cos(turn), 100 + 30 * np.sin(turn))]
    )
    landmarks = np.vstack([eyes, [[100, 100], [100, 100]]])
    chip = cut_chip(dots(*map(tuple, eyes)), Detection(np.array([50, 50, 100, 100]), 1.0, landmarks), side)
    assert chip.shape == (side, side, 3)
    assert brightest(chip, slice(0, side // 2)) == pytest.approx((LEFT * side, HEIGHT * side), abs=side / 60)
    assert brightest(chip, slice(side // 2, side)) == pytest.approx((RIGHT * side, HEIGHT * side), abs=side / 60)


def test_without_landmarks_the_chip_is_cut_by_the_box() -> None:
    """A box of 80 pixels from hair to chin holds a face square of 51.2 pixels around its height 0.58."""
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[60:140, 70:130] = 255
    chip = cut_chip(pixels, Detection(np.array([70.0, 60.0, 60.0, 80.0]), 1.0, None), 140)
    scale = 140 / 1.4 / 51.2
    rows, columns = np.nonzero(chip[..., 0] > 128)
    assert (rows.min(), rows.max()) == (0, pytest.approx(70 + (140 - 106.4) * scale, abs=2))
    assert (columns.min(), columns.max()) == (
        pytest.approx(70 - 30 * scale, abs=2),
        pytest.approx(70 + 30 * scale, abs=2),
    )


@pytest.mark.parametrize("landmarks", [np.full((4, 2), 50.0), None])
def test_a_face_of_size_0_gives_a_chip(landmarks: object) -> None:
    face = Detection(np.array([50.0, 50.0, 0.0, 0.0]), 1.0, landmarks)  # type: ignore[arg-type]  # both kinds
    assert cut_chip(dots((50, 50)), face, 96).shape == (96, 96, 3)


CHIP = np.zeros((96, 96, 3), np.uint8)


def softmax(*probabilities: float) -> SoftmaxNetwork:
    """A network that gives this distribution for every chip."""
    return SoftmaxNetwork(FakeNetwork(probabilities), 8, 1.0, (0.0, 0.0, 0.0), rgb=True)


class RecordingClassifier(Classifier):
    """Records its chips."""

    def __init__(self, name: str, chip_side: int) -> None:
        super().__init__(name, softmax(1.0), chip_side, lambda _: {})
        self.chips = list[Pixels]()

    def classify(self, chip: Pixels) -> dict[str, object]:
        self.chips.append(chip)
        return {"by": self.name}


def test_only_the_requested_classifiers_run_and_share_a_chip_of_one_size() -> None:
    gender, age = RecordingClassifier("g", 96), RecordingClassifier("a", 96)
    attributes = AttributeClassifiers({"gender": gender, "age": age})
    face = Detection(np.array([50.0, 50.0, 60.0, 60.0]), 1.0, None)
    pixels = dots((80, 80))
    assert attributes.classify(pixels, face, ("age", "gender")) == {"gender": {"by": "g"}, "age": {"by": "a"}}
    assert gender.chips[0] is age.chips[0]
    assert attributes.classify(pixels, face, ("age",)) == {"age": {"by": "a"}}
    assert (len(gender.chips), len(age.chips)) == (1, 2)
    assert attributes.names(("age",)) == {"age": "a"}


def certain(age: int) -> Floats:
    return np.asarray((AGES.round() == age).astype(float))


@pytest.mark.parametrize(
    ("age", "bracket"), [(0, 0), (2, 0), (5, 1), (10, 2), (20, 3), (30, 4), (40, 5), (50, 6), (80, 7)]
)
def test_a_certain_age_is_entirely_in_its_bracket(age: int, bracket: int) -> None:
    masses = bracket_masses(certain(age))
    assert masses.argmax() == bracket
    assert masses.sum() == pytest.approx(1)


def test_the_probability_in_a_gap_is_distributed_over_the_brackets() -> None:
    mixed = 0.2 * certain(30) + 0.2 * certain(40) + 0.6 * certain(35)
    assert bracket_masses(mixed)[[4, 5]].tolist() == pytest.approx([0.5, 0.5])


def test_an_age_entirely_in_a_gap_has_no_bracket() -> None:
    assert name_bracket(bracket_masses(certain(35)), 0.25) == {"bracket": "unknown", "probability": 0.0}


def test_a_bracket_below_the_threshold_is_unknown() -> None:
    masses = np.array([0.3, 0.7, 0, 0, 0, 0, 0, 0])
    assert name_bracket(masses, 0.7) == {"bracket": "4-6", "probability": 0.7}
    assert name_bracket(masses, 0.71) == {"bracket": "unknown", "probability": 0.7}


def test_years_come_from_the_raw_distribution_and_the_interval_from_the_calibration() -> None:
    calibration = Calibration(2.5, (0.0, 80.0), (-4.0, -8.0), (6.0, 10.0))
    age = estimate_by_years(0.5 * certain(30) + 0.5 * certain(50), 0.25, calibration)
    assert age["years"] == 40.0
    assert age["interval"] == [40 - 6, 40 + 8]
    assert age["bracket"] == "25-32"
    assert age["probability"] == pytest.approx(0.5, abs=0.05)


def test_a_network_of_brackets_gives_years_from_centres_and_an_interval_of_brackets() -> None:
    network = softmax(0, 0, 0, 0, 0.5, 0.5, 0, 0)
    age = Classifier("brackets", network, 227, partial(estimate_by_brackets, threshold=0.25)).classify(CHIP)
    assert age == {"years": 34.5, "interval": [25, 43], "bracket": "25-32", "probability": 0.5}
    sure = estimate_by_brackets(np.eye(8)[7], 0.25)
    assert sure["interval"] == [60, 100]


@pytest.mark.parametrize(
    ("female", "label", "probability"),
    [(0.9, "female", 0.9), (0.1, "male", 0.9), (0.55, "unknown", 0.55), (0.4, "male", 0.6)],
)
def test_a_gender_below_the_threshold_is_unknown(female: float, label: str, probability: float) -> None:
    assert name_gender(np.array([female, 1 - female]), 0.6, female=0) == {
        "label": label,
        "probability": pytest.approx(probability),
    }


def test_the_index_of_the_female_class_is_given() -> None:
    assert name_gender(np.array([0.9, 0.1]), 0.6, female=0)["label"] == "female"
    assert name_gender(np.array([0.9, 0.1]), 0.6, female=1)["label"] == "male"


def test_softening_keeps_the_order_and_lowers_the_highest_probability() -> None:
    sharp = np.array([0.9, 0.09, 0.01])
    soft = Calibration(2.5, (0,), (0,), (0,)).soften(sharp)
    assert soft.sum() == pytest.approx(1)
    assert soft[0] < sharp[0]
    assert list(np.argsort(soft)) == list(np.argsort(sharp))


def test_an_interval_is_clipped_to_0_to_80_years() -> None:
    calibration = Calibration(1, (0.0, 80.0), (-10.0, -10.0), (10.0, 10.0))
    assert calibration.interval(3) == (0, 13)
    assert calibration.interval(79) == (69, 80)


def test_the_shipped_intervals_contain_the_estimate_and_have_plausible_widths() -> None:
    calibration = load_calibration("age-v1")
    widths = []
    for years in range(1, 80):
        low, high = calibration.interval(years)
        assert low <= years <= high
        widths.append(high - low)
    assert widths[0] <= 6
    assert max(widths) <= 32
    assert len(BRACKETS) == 8
