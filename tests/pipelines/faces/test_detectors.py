import numpy as np
import pytest

from faceattr_aio.pipelines.faces.detectors import Detection, detect_in_tiles, keep_best
from faceattr_aio.pipelines.imaging import Floats, Picture, Pixels

pytestmark = pytest.mark.pixels


def face(x: float, y: float, side: float, confidence: float = 0.9) -> Detection:
    return Detection(np.array([x, y, side, side]), confidence, np.array([[x, y]] * 4))


class BrightDetector:
    """Finds the bounding box of all bright pixels, and records the sizes of the pictures."""

    name = "bright"

    def detect(self, pixels: Pixels, min_confidence: float) -> list[Detection]:  # noqa: ARG002  # every face counts
        self.shapes = [*getattr(self, "shapes", []), pixels.shape]
        rows, columns = np.nonzero(pixels[..., 0])
        if not len(rows):
            return []
        return [face(columns.min(), rows.min(), columns.max() - columns.min() + 1)]


def boxes(found: list[Detection]) -> list[list[float]]:
    return [list(map(float, one.box)) for one in found]


def test_the_best_of_overlapping_boxes_is_kept() -> None:
    kept = keep_best([face(0, 0, 10, 0.6), face(1, 1, 10, 0.8), face(50, 50, 10, 0.7)])
    assert [one.confidence for one in kept] == [0.8, 0.7]
    assert keep_best([]) == []


def test_boxes_are_in_pixels_of_the_whole_picture_and_clipped_to_it() -> None:
    image = Picture(np.zeros((100, 200, 3), np.uint8), 400, 200, "png")
    described = face(-10, 80, 40).describe(image)
    assert described["box"] == {"x": 0, "y": 160, "width": 60, "height": 40}
    assert described["landmarks"]["left_eye"] == [-20, 160]
    without: Floats | None = None
    assert Detection(np.zeros(4), 1.0, without).describe(image)["landmarks"] is None


@pytest.mark.parametrize(("x", "y"), [(5, 5), (150, 5), (5, 150), (150, 150), (95, 95), (55, 55), (120, 20)])
def test_the_search_in_tiles_finds_each_face_once(x: int, y: int) -> None:
    pixels = np.zeros((200, 200, 3), np.uint8)
    pixels[y : y + 20, x : x + 20] = 255
    detector = BrightDetector()
    found = detect_in_tiles(detector, pixels, 0.5)
    assert boxes(found) == [[x, y, 20, 20]]
    assert found[0].landmarks is not None
    assert found[0].landmarks[0].tolist() == [x, y]
    assert detector.shapes == [(200, 200, 3)] + [(120, 120, 3)] * 4
