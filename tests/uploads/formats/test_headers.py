import struct

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import UnreadableImage, UnsupportedMedia
from faceattr_aio.pipelines.imaging import Pixels
from faceattr_aio.uploads.formats import Header, read_header, sniff
from tests.support.pictures import encoded, saved

DEFAULT = ("jpeg", "png", "webp")
ALL = (*DEFAULT, "gif", "bmp", "tiff", "avif")


@pytest.fixture
def wide(astronaut: Pixels) -> Pixels:
    """300 x 200."""
    return np.ascontiguousarray(astronaut[:200, :300])


@pytest.mark.parametrize("name", ALL)
def test_the_header_tells_type_and_size(name: str, wide: Pixels) -> None:
    assert read_header(saved(wide, name), ALL) == Header(name, 300, 200)


@pytest.mark.parametrize("quality", [80, 101], ids=["lossy", "lossless"])
def test_both_kinds_of_webp_tell_their_size(quality: int, wide: Pixels) -> None:
    assert read_header(encoded(".webp", wide, cv2.IMWRITE_WEBP_QUALITY, quality), ALL) == Header("webp", 300, 200)


def test_an_extended_webp_tells_its_canvas() -> None:
    head = b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00"
    data = head + (16382).to_bytes(3, "little") + (99).to_bytes(3, "little")
    assert read_header(data, ALL) == Header("webp", 16383, 100)


def test_a_bmp_that_is_stored_from_the_top_has_its_size() -> None:
    data = b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 300, -200)
    assert read_header(data, ALL) == Header("bmp", 300, 200)


def test_a_bmp_of_negative_width_is_no_small_one() -> None:
    data = b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, -300, 200)
    assert read_header(data, ALL).width > 1 << 31


def test_the_oldest_bmp_tells_its_size_in_shorter_fields() -> None:
    assert read_header(b"BM" + b"\0" * 12 + struct.pack("<IHH", 12, 300, 200), ALL) == Header("bmp", 300, 200)


@pytest.mark.parametrize(
    "data",
    [
        b"<html></html>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"<svg/>",
        b"GIF88a" + b"\0" * 20,
        b"II+\0\x08\0\0\0" + b"\0" * 40,
        b"\0\0\0\x20ftypavis" + b"\0" * 40,
        b"\0" * 100,
        b"x",
    ],
    ids=["html", "pdf", "zip", "svg", "no gif", "bigtiff", "avif sequence", "zeros", "one byte"],
)
def test_what_is_no_picture_is_unsupported_whatever_is_accepted(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="jpeg, png, webp, gif, bmp, tiff, avif"):
        read_header(data, ALL)


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff", "avif"])
def test_a_type_that_the_settings_leave_out_is_unsupported(name: str, wide: Pixels) -> None:
    with pytest.raises(UnsupportedMedia, match=r"\(jpeg, png, webp\)"):
        read_header(saved(wide, name), DEFAULT)


@pytest.mark.parametrize("name", ALL)
def test_a_header_cut_anywhere_is_unreadable_or_no_picture(name: str, wide: Pixels) -> None:
    data = saved(wide, name)
    whole = read_header(data, ALL)
    for length in range(1, 200):
        try:
            found = read_header(data[:length], ALL)
        except (UnreadableImage, UnsupportedMedia):
            continue
        assert found[:3] == whole[:3]


def test_a_size_of_zero_is_unreadable() -> None:
    data = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + struct.pack(">II", 0, 5)
    with pytest.raises(UnreadableImage):
        read_header(data, ALL)


def test_a_memory_map_and_a_view_are_told_apart_like_bytes(png: bytes) -> None:
    assert sniff(memoryview(png)) == sniff(png) == "png"
    assert read_header(memoryview(png), ALL) == Header("png", 512, 512)
