import cv2
import numpy as np
import pytest

from faceattr_aio.pipelines.faces.attributes import Attributes, cut_chip
from faceattr_aio.pipelines.faces.detector import Detection
from faceattr_aio.pipelines.imaging import Pixels

pytestmark = pytest.mark.pixels

LEFT, RIGHT = (0.2 + 0.2273) / 1.4, (0.2 + 0.7528) / 1.4
HEIGHT = (0.2 + 0.22) / 1.4


def dots(*points: tuple[float, float]) -> Pixels:
    pixels = np.zeros((200, 200, 3), np.uint8)
    for x, y in points:
        cv2.circle(pixels, (round(x), round(y)), 3, (255, 255, 255), cv2.FILLED)
    return pixels


def brightest(chip: Pixels, half: slice) -> tuple[float, float]:
    """The middle of what is bright in the columns of `half`."""
    rows, columns = np.nonzero(chip[:, half, 0] > 128)
    return float(columns.mean() + (half.start or 0)), float(rows.mean())


@pytest.mark.parametrize("angle", [0, 30, -75, 180])
@pytest.mark.parametrize("side", [96, 227])
def test_the_eyes_come_to_their_place_however_the_head_is_held(angle: int, side: int) -> None:
    turn = np.deg2rad(angle)
    eyes = np.array(
        [(100 - 30 * np.cos(turn), 100 - 30 * np.sin(turn)), (100 + 30 * np.cos(turn), 100 + 30 * np.sin(turn))]
    )
    landmarks = np.vstack([eyes, [[100, 100], [100, 100]]])
    chip = cut_chip(dots(*map(tuple, eyes)), Detection(np.array([50, 50, 100, 100]), 1.0, landmarks), side)
    assert chip.shape == (side, side, 3)
    assert brightest(chip, slice(0, side // 2)) == pytest.approx((LEFT * side, HEIGHT * side), abs=side / 60)
    assert brightest(chip, slice(side // 2, side)) == pytest.approx((RIGHT * side, HEIGHT * side), abs=side / 60)


def test_without_landmarks_the_face_within_the_box_is_cut() -> None:
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
def test_a_face_without_extent_gives_a_chip_all_the_same(landmarks: object) -> None:
    face = Detection(np.array([50.0, 50.0, 0.0, 0.0]), 1.0, landmarks)  # type: ignore[arg-type]  # both kinds
    assert cut_chip(dots((50, 50)), face, 96).shape == (96, 96, 3)


class Counting:
    """A classifier that remembers its chips."""

    def __init__(self, name: str, chip_side: int) -> None:
        self.name, self.chip_side, self.chips = name, chip_side, list[Pixels]()

    def classify(self, chip: Pixels) -> dict[str, object]:
        self.chips.append(chip)
        return {"said": self.name}


def test_each_classifier_gets_its_chip_and_only_those_asked_are_run() -> None:
    gender, age = Counting("g", 96), Counting("a", 96)
    attributes = Attributes({"gender": gender, "age": age})
    face = Detection(np.array([50.0, 50.0, 60.0, 60.0]), 1.0, None)
    pixels = dots((80, 80))
    assert attributes.classify(pixels, face, ("age", "gender")) == {"gender": {"said": "g"}, "age": {"said": "a"}}
    assert gender.chips[0] is age.chips[0]
    assert attributes.classify(pixels, face, ("age",)) == {"age": {"said": "a"}}
    assert (len(gender.chips), len(age.chips)) == (1, 2)
    assert attributes.names(("age",)) == {"age": "a"}
