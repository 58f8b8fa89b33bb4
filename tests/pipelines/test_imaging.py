import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.imaging import Floats, Pixels
from faceattr_aio.uploads.formats import Header
from tests.support import catalogue
from tests.support.pictures import Maker, cut, flipped, saved, scans_of, with_orientation

pytestmark = pytest.mark.pixels

VALID = catalogue.SHOWN | catalogue.SHOWN_WHEN_ASKED_FOR
DAMAGE = range(40_000, 240_000, 40_000)
"""Numbers of bits, well after the headers."""


def decoded(data: bytes) -> Pixels:
    return imaging.decode(np.frombuffer(data, np.uint8))


def is_decoded(data: bytes) -> bool:
    try:
        decoded(data)
    except UnreadableImage:
        return False
    return True


def brightness(pixels: Pixels) -> Floats:
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(float)


def test_a_small_picture_is_not_scaled(png_file: Path, astronaut: Pixels) -> None:
    picture = imaging.read(png_file, 1024)
    assert (picture.width, picture.height, picture.format, picture.scale) == (512, 512, "png", 1.0)
    assert np.array_equal(picture.pixels, astronaut)


def test_a_large_picture_is_scaled_down_to_the_working_side(png_file: Path) -> None:
    picture = imaging.read(png_file, 128)
    assert picture.pixels.shape == (128, 128, 3)
    assert (picture.width, picture.height, picture.scale) == (512, 512, 0.25)


@pytest.mark.parametrize(
    ("width", "height", "reduction"),
    [
        (512, 512, 1),
        (1535, 1000, 1),  # half of it would be less than three quarters of the working side
        (1536, 1000, 2),
        (3000, 4000, 4),
        (4000, 4000, 4),
        (6144, 100, 8),
        (20_000, 2000, 8),
        (4000, 3999, 1),  # the reduced sides would be equal and not show the rotation
        (6150, 6145, 4),
    ],
)
def test_a_large_jpeg_is_decoded_no_larger_than_needed(width: int, height: int, reduction: int) -> None:
    assert imaging.choose_reduction(Header("jpeg", width, height), 1024) == reduction


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_decoded_alike_in_every_orientation(
    orientation: int, astronaut: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "large.jpg"
    file.write_bytes(with_orientation(cv2.resize(astronaut, (2001, 1503)), orientation))  # type: ignore[arg-type]  # bytes
    reduced = imaging.read(file, 400)
    monkeypatch.setattr(imaging, "choose_reduction", lambda *_: 1)
    whole = imaging.read(file, 400)
    assert (reduced.width, reduced.height) == (whole.width, whole.height) == (2001, 1503)
    assert reduced.pixels.shape == whole.pixels.shape
    assert np.abs(brightness(reduced.pixels) - brightness(whole.pixels)).mean() < 4


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_cut_at_any_tenth_is_unreadable(
    progressive: bool, astronaut: Pixels, tmp_path: Path
) -> None:  # a table
    data = saved(cv2.resize(astronaut, (2000, 1500)), "jpeg", progressive=progressive)  # type: ignore[arg-type]  # bytes
    file = tmp_path / "large.jpg"
    for tenth in range(1, 10):
        for end in (b"",) if progressive else (b"", b"\xff\xd9"):  # see the one cut that is not detected
            file.write_bytes(cut(data, tenth / 10) + end)
            with pytest.raises(UnreadableImage):
                imaging.read(file, 400)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_keep_a_pixel_on_each_side(shape: tuple[int, int]) -> None:
    small = imaging.shrink(np.zeros((*shape, 3), np.uint8), 64)
    assert min(small.shape[:2]) == 1
    assert max(small.shape[:2]) <= 64


@pytest.mark.parametrize("make", VALID.values(), ids=VALID)
def test_every_valid_picture_is_decoded_as_shown(make: Maker, astronaut: Pixels) -> None:
    pixels = decoded(make(astronaut))
    assert pixels.dtype == np.uint8
    assert pixels.shape == astronaut.shape
    assert np.abs(brightness(pixels) - brightness(astronaut)).mean() < 12


def test_strictness_does_not_change_a_pixel(astronaut: Pixels) -> None:
    for make in (each for name, each in catalogue.SHOWN.items() if "jpeg" in name and "turned" not in name):
        data = make(astronaut)
        plainly = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert plainly is not None
        assert np.array_equal(decoded(data), plainly)


@pytest.mark.parametrize("name", [*catalogue.FORMATS, "progressive"])
def test_a_picture_cut_at_any_tenth_is_unreadable(name: str, astronaut: Pixels) -> None:
    data = saved(astronaut, "jpeg", progressive=True) if name == "progressive" else saved(astronaut, name)
    for tenth in range(1, 10):
        with pytest.raises(UnreadableImage):
            decoded(cut(data, tenth / 10))


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}, {"optimize": True}], ids=str)
def test_a_jpeg_cut_short_is_refused_despite_an_end_marker(options: dict[str, Any], astronaut: Pixels) -> None:
    """The library alone accepts each of them and fills the rest with grey."""
    data = saved(astronaut, "jpeg", **options)
    for missing in (len(data) // 2, 5000, 500, 50):
        damaged = data[:-missing] + b"\xff\xd9"
        assert cv2.imdecode(np.frombuffer(damaged, np.uint8), cv2.IMREAD_COLOR) is not None
        with pytest.raises(UnreadableImage):
            decoded(damaged)


def test_a_progressive_jpeg_cut_in_its_last_scan_is_decoded_coarser_but_not_grey(astronaut: Pixels) -> None:
    """The only cut that is not detected: every pixel is in the file, the last ones without their lowest bit."""
    data = saved(astronaut, "jpeg", progressive=True)
    start = scans_of(data)[-1]
    pixels = decoded(data[: (start + len(data)) // 2] + b"\xff\xd9")
    assert np.abs(brightness(pixels) - brightness(decoded(data))).mean() < 4


OTHERS = """
import sys, hashlib, pickle
import numpy as np
from faceattr_aio import imaging
for data in pickle.load(sys.stdin.buffer):
    print(hashlib.sha256(imaging.decode(np.frombuffer(data, np.uint8)).tobytes()).hexdigest())
"""


def test_a_damaged_picture_contains_nothing_of_the_previous_one(astronaut: Pixels) -> None:
    """A damaged picture that can be decoded gives the same pixels as in a process that decoded no other picture."""
    whole = [saved(astronaut, name) for name in catalogue.FORMATS]
    damaged = [flipped(data, bit) for data in whole for bit in DAMAGE]
    other = saved(np.ascontiguousarray(astronaut[::-1, ::-1]), "png")
    taken = [data for data in damaged if is_decoded(data)]
    assert len(taken) > len(damaged) / 4
    here = []
    for data in taken:
        decoded(other)
        here.append(hashlib.sha256(decoded(data).tobytes()).hexdigest())
    fresh = subprocess.run(
        [sys.executable, "-c", OTHERS], input=pickle.dumps(taken[::-1]), capture_output=True, check=True
    )
    assert fresh.stdout.decode().split()[::-1] == here


def test_an_empty_file_is_unreadable() -> None:
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
def test_pixels_are_encoded_as_the_given_type(media_type: str, name: str, astronaut: Pixels, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(imaging.encode(astronaut, media_type))
    assert imaging.read(tmp_path / "out", 1024).format == name
