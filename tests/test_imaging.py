from pathlib import Path

import cv2
import numpy as np
import pytest

from faceattr_aio import imaging
from faceattr_aio.errors import UnreadableImage
from faceattr_aio.imaging import Pixels

pytestmark = pytest.mark.pixels


def test_a_small_picture_is_worked_on_as_it_is(png_file: Path, astronaut: Pixels) -> None:
    picture = imaging.read(png_file, 1024)
    assert (picture.width, picture.height, picture.format, picture.scale) == (512, 512, "png", 1.0)
    assert np.array_equal(picture.pixels, astronaut)


def test_a_large_picture_is_scaled_down_to_the_working_side(png_file: Path) -> None:
    picture = imaging.read(png_file, 128)
    assert picture.pixels.shape == (128, 128, 3)
    assert (picture.width, picture.height, picture.scale) == (512, 512, 0.25)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_keep_a_pixel_on_each_side(shape: tuple[int, int]) -> None:
    small = imaging.shrink(np.zeros((*shape, 3), np.uint8), 64)
    assert min(small.shape[:2]) == 1
    assert max(small.shape[:2]) <= 64


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_picture_cut_short_is_unreadable(kept: float, suffix: str, astronaut: Pixels) -> None:
    data = cv2.imencode(suffix, astronaut)[1]
    with pytest.raises(UnreadableImage):
        imaging.decode(data[: int(len(data) * kept)])


def test_a_jpeg_without_its_last_two_bytes_is_unreadable(jpeg: bytes) -> None:
    with pytest.raises(UnreadableImage):
        imaging.decode(np.frombuffer(jpeg[:-2], np.uint8))


def test_nothing_at_all_is_unreadable() -> None:
    with pytest.raises(UnreadableImage):
        imaging.decode(np.zeros(0, np.uint8))


@pytest.mark.parametrize(
    "pixels", [np.zeros((8, 9), np.uint8), np.zeros((8, 9, 4), np.uint8), np.zeros((8, 9, 3), np.uint16)]
)
def test_every_kind_of_png_has_three_channels_of_bytes(pixels: Pixels) -> None:
    decoded = imaging.decode(cv2.imencode(".png", pixels)[1])
    assert decoded.shape == (8, 9, 3)
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize(("media_type", "name"), [("image/jpeg", "jpeg"), ("image/png", "png"), ("image/webp", "webp")])
def test_pixels_become_a_file_of_the_type_asked_for(
    media_type: str, name: str, astronaut: Pixels, tmp_path: Path
) -> None:
    (tmp_path / "out").write_bytes(imaging.encode(astronaut, media_type))
    assert imaging.read(tmp_path / "out", 1024).format == name
