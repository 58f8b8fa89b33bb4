import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels, UnreadableImage, UnsupportedMedia
from faceattr_aio.imaging import Pixels
from faceattr_aio.probe import Bounds, Header, probe, read_header, sniff

ALL = ("jpeg", "png", "webp")
BOUNDS = Bounds(ALL, max_pixels=50_000_000, max_scans=100, max_scan_megapixels=600)


def encoded(suffix: str, pixels: Pixels, *options: int) -> bytes:
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


@pytest.fixture
def wide(astronaut: Pixels) -> Pixels:
    """300 x 200."""
    return np.ascontiguousarray(astronaut[:200, :300])


def jpeg_with_scans(scans: int, side: int = 3000) -> bytes:
    """A small file whose header announces side x side pixels and which has many empty scans."""
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda" + struct.pack(">HB", 8, 1) + b"\x01\x00\x00\x3f\x00" + b"\x00" * 10
    return b"\xff\xd8" + frame + scan * scans + b"\xff\xd9"


@pytest.mark.parametrize(("suffix", "name"), [(".jpg", "jpeg"), (".png", "png")])
def test_the_header_tells_type_and_size(suffix: str, name: str, wide: Pixels) -> None:
    assert read_header(encoded(suffix, wide), ALL) == Header(name, 300, 200)


@pytest.mark.parametrize("quality", [80, 101], ids=["lossy", "lossless"])
def test_both_kinds_of_webp_tell_their_size(quality: int, wide: Pixels) -> None:
    assert read_header(encoded(".webp", wide, cv2.IMWRITE_WEBP_QUALITY, quality), ALL) == Header("webp", 300, 200)


def test_an_extended_webp_tells_its_canvas() -> None:
    head = b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00"
    data = head + (16382).to_bytes(3, "little") + (99).to_bytes(3, "little")
    assert read_header(data, ALL) == Header("webp", 16383, 100)


def test_a_progressive_jpeg_tells_its_scans(wide: Pixels) -> None:
    header = read_header(encoded(".jpg", wide, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), ALL)
    assert (header.width, header.height) == (300, 200)
    assert 2 <= header.scans <= 20


def test_markers_within_a_segment_do_not_count(wide: Pixels) -> None:
    thumbnail = b"\xff\xda" * 300 + b"\xff\xc0" + b"\xff" * 20
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    plain = encoded(".jpg", wide)
    assert read_header(plain[:2] + segment + plain[2:], ALL) == Header("jpeg", 300, 200)


@pytest.mark.parametrize(
    "data",
    [
        b"<html></html>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"<svg/>",
        b"GIF89a" + b"\0" * 20,
        b"BM" + b"\0" * 40,
        b"\0" * 100,
        b"x",
    ],
    ids=["html", "pdf", "zip", "svg", "gif", "bmp", "zeros", "one byte"],
)
def test_what_is_not_an_accepted_picture_is_unsupported(data: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="jpeg, png, webp"):
        read_header(data, ALL)


def test_a_type_that_the_settings_leave_out_is_unsupported(png: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match=r"\(jpeg\)"):
        read_header(png, ("jpeg",))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_header_cut_anywhere_is_unreadable_or_no_picture(suffix: str, wide: Pixels) -> None:
    data = encoded(suffix, wide)
    whole = read_header(data, ALL)
    for length in range(1, 40):
        try:
            found = read_header(data[:length], ALL)
        except (UnreadableImage, UnsupportedMedia):
            continue
        assert found[:3] == whole[:3]


def test_a_size_of_zero_is_unreadable() -> None:
    data = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + struct.pack(">II", 0, 5)
    with pytest.raises(UnreadableImage):
        read_header(data, ALL)


def test_an_empty_file_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(NoImage):
        probe(tmp_path / "empty", BOUNDS)


def test_a_forged_size_is_refused_by_the_header_alone(tmp_path: Path) -> None:
    forged = tmp_path / "forged.png"
    forged.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + struct.pack(">II", 60_000, 60_000))
    with pytest.raises(TooManyPixels, match="60000 x 60000"):
        probe(forged, BOUNDS)


def test_many_scans_are_too_complex(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.jpg"
    bomb.write_bytes(jpeg_with_scans(101, side=100))
    with pytest.raises(TooComplex):
        probe(bomb, BOUNDS)


def test_fewer_scans_of_a_larger_picture_are_too_complex_as_well(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.jpg"
    bomb.write_bytes(jpeg_with_scans(70))
    with pytest.raises(TooComplex):
        probe(bomb, BOUNDS)
    bomb.write_bytes(jpeg_with_scans(60))
    assert probe(bomb, BOUNDS) == Header("jpeg", 3000, 3000, 60)


@pytest.mark.parametrize("filling", [b"\xff\x00", b"\xff", b"\0", b"\xff\xd0"])
def test_a_large_file_without_segments_is_walked_in_no_time(filling: bytes, tmp_path: Path) -> None:
    bomb = tmp_path / "filled.jpg"
    bomb.write_bytes(jpeg_with_scans(1)[:-2] + filling * (10_000_000 // len(filling)))
    started = time.monotonic()
    assert probe(bomb, BOUNDS).scans == 1
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("segment", [b"\xff\xe0\0\2", b"\xff\xda\0\2", b"\xff\xe0\0\0"])
def test_a_large_file_of_nothing_but_segments_is_too_complex_in_no_time(segment: bytes, tmp_path: Path) -> None:
    bomb = tmp_path / "segments.jpg"
    bomb.write_bytes(b"\xff\xd8" + segment * 5_000_000)
    started = time.monotonic()
    with pytest.raises(TooComplex):
        probe(bomb, BOUNDS)
    assert time.monotonic() - started < 1


def png_chunks(*chunks: bytes) -> bytes:
    """A PNG header of 5 x 5 pixels and what follows it."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 5, 5, 8, 2, 0, 0, 0, 0) + b"".join(chunks)


@pytest.mark.parametrize("length", [0x3B23AFED, 0x7FFFFFFF, 0xFFFFFFFF, 9])
def test_a_chunk_that_announces_more_than_there_is_never_reaches_a_decoder_that_would_make_room_for_it(
    length: int,
) -> None:
    cut = struct.pack(">I4s8s", length, b"IDAT", b"x" * 8)
    with pytest.raises(UnreadableImage, match="a chunk of it is longer than what is left"):
        read_header(png_chunks(cut), ALL)
    with pytest.raises(UnreadableImage, match="longer"):
        read_header(png_chunks(struct.pack(">I4sI", 0, b"tEXt", 0), cut), ALL)


def test_a_header_chunk_of_another_length_is_unreadable() -> None:
    with pytest.raises(UnreadableImage):
        read_header(png_chunks().replace(b"\0\0\0\x0dIHDR", b"\xff\0\0\0IHDR"), ALL)


def test_what_follows_the_last_chunk_of_a_png_does_not_count(png: bytes) -> None:
    assert read_header(png + b"\xff" * 100, ALL) == Header("png", 512, 512)


def test_a_png_of_very_many_chunks_is_too_complex_in_no_time(tmp_path: Path) -> None:
    comment = struct.pack(">I4sI", 0, b"tEXt", 0)
    assert read_header(png_chunks(comment * 100_000), ALL) == Header("png", 5, 5)
    (tmp_path / "chunks.png").write_bytes(png_chunks(comment * 1_700_000))
    started = time.monotonic()
    with pytest.raises(TooComplex):
        probe(tmp_path / "chunks.png", BOUNDS)
    assert time.monotonic() - started < 5


def test_a_marker_across_the_border_of_two_searches_is_seen() -> None:
    """Wherever the second scan begins, it counts."""
    first, second = jpeg_with_scans(1)[:-2], jpeg_with_scans(2)[len(jpeg_with_scans(1)) - 2 :]
    for gap in range((1 << 20) - 40, (1 << 20) + 10):
        assert read_header(first + b"\0" * gap + second, ALL).scans == 2


def test_content_decides_and_not_the_name(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(png)
    assert probe(tmp_path / "a.jpg", BOUNDS) == Header("png", 512, 512)
    assert sniff(png[:16]) == "png"
