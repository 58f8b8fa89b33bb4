"""Any bytes are probed in bounded time with documented errors; no decoded picture is larger than its header says."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceattr_aio.config.schema import ImageConfig
from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels, UnreadableImage, UnsupportedMedia
from faceattr_aio.pipelines.imaging import decode
from faceattr_aio.uploads.formats import read_header
from faceattr_aio.uploads.probe import probe
from tests.fuzz.corpus import keep, picture
from tests.fuzz.seeds import seeds
from tests.fuzz.tally import FIRST, INPUTS, Tally

FORMATS = ("jpeg", "png", "webp")
LIMITS = ImageConfig(formats=FORMATS, max_pixels=4_000_000, max_scans=100, max_scan_megapixels=600)
STALL_S = 5.0
BEGINNINGS = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8 ",
)


@given(beginning=st.sampled_from(BEGINNINGS), rest=st.binary(max_size=200))
def test_any_bytes_have_a_header_or_get_a_documented_error(beginning: bytes, rest: bytes, tally: Tally) -> None:
    try:
        header = read_header(beginning + rest, FORMATS)
    except (UnsupportedMedia, UnreadableImage, TooComplex) as error:
        tally.counts[type(error).__name__] += 1
        return
    assert header.width > 0
    assert header.height > 0
    tally.counts[header.format] += 1


def test_intact_pictures_have_a_header_and_are_decoded() -> None:
    for data in seeds():
        header = read_header(data, FORMATS)
        pixels = decode(np.frombuffer(data, np.uint8))
        assert {header.width, header.height} == set(pixels.shape[:2])


@pytest.mark.pixels
def test_no_damaged_picture_is_larger_than_its_header_says(tmp_path: Path, tally: Tally) -> None:
    for number in range(FIRST, FIRST + INPUTS):
        data = picture(number)
        (tmp_path / "picture").write_bytes(data)
        began = time.monotonic()
        tally.counts[_try(tmp_path / "picture", data, number)] += 1
        assert time.monotonic() - began < STALL_S, f"input {number} takes too long; kept as {keep(number, data)}"


def _try(path: Path, data: bytes, number: int) -> str:
    """Probe and decode the input in `path`. Return its format or the name of the error."""
    try:
        header = probe(path, LIMITS)
        pixels = decode(np.frombuffer(data, np.uint8))
    except (NoImage, UnsupportedMedia, UnreadableImage, TooComplex, TooManyPixels) as error:
        return type(error).__name__
    except Exception as error:
        raise AssertionError(f"input {number}, kept as {keep(number, data)}") from error
    height, width = pixels.shape[:2]
    assert width * height <= header.width * header.height, f"input {number}, kept as {keep(number, data)}"
    return header.format
