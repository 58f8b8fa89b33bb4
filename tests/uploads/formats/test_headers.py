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
    """A picture of 300 x 200 pixels."""
    return np.ascontiguousarray(astronaut[:200, :300])


@pytest.mark.parametrize("name", ALL)
def test_returns_format_and_size(name: str, wide: Pixels) -> None:
    assert read_header(saved(wide, name), ALL) == Header(name, 300, 200)


@pytest.mark.parametrize("quality", [80, 101], ids=["lossy", "lossless"])
def test_returns_the_size_of_both_kinds_of_webp(quality: int, wide: Pixels) -> None:
    assert read_header(encoded(".webp", wide, cv2.IMWRITE_WEBP_QUALITY, quality), ALL) == Header("webp", 300, 200)


def test_returns_the_canvas_of_an_extended_webp() -> None:
    head = b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00"
    data = head + (16382).to_bytes(3, "little") + (99).to_bytes(3, "little")
    assert read_header(data, ALL) == Header("webp", 16383, 100)


def test_returns_the_size_of_a_bmp_with_negative_height() -> None:
    data = b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 300, -200)
    assert read_header(data, ALL) == Header("bmp", 300, 200)


def test_a_bmp_of_negative_width_counts_as_large() -> None:
    data = b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, -300, 200)
    assert read_header(data, ALL).width > 1 << 31


def test_reads_the_shorter_fields_of_the_oldest_bmp() -> None:
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
def test_refuses_files_that_are_not_pictures(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="jpeg, png, webp, gif, bmp, tiff, avif"):
        read_header(data, ALL)


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff", "avif"])
def test_refuses_a_format_that_is_not_accepted(name: str, wide: Pixels) -> None:
    with pytest.raises(UnsupportedMedia, match=r"\(jpeg, png, webp\)"):
        read_header(saved(wide, name), DEFAULT)


@pytest.mark.parametrize("name", ALL)
def test_refuses_a_header_cut_anywhere(name: str, wide: Pixels) -> None:
    data = saved(wide, name)
    complete = read_header(data, ALL)
    for length in range(1, 200):
        try:
            found = read_header(data[:length], ALL)
        except (UnreadableImage, UnsupportedMedia):
            continue
        assert found[:3] == complete[:3]


def test_refuses_a_size_of_zero() -> None:
    data = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + struct.pack(">II", 0, 5)
    with pytest.raises(UnreadableImage):
        read_header(data, ALL)


def test_reads_a_memory_view_like_bytes(png: bytes) -> None:
    assert sniff(memoryview(png)) == sniff(png) == "png"
    assert read_header(memoryview(png), ALL) == Header("png", 512, 512)
