import struct

import cv2
import pytest

from faceattr_aio.errors import TooComplex, UnreadableImage
from faceattr_aio.pipelines.imaging import Pixels
from faceattr_aio.uploads.formats import Header
from faceattr_aio.uploads.formats.jpeg import end_of_only_scan, read
from tests.support.pictures import encoded, scans_of, with_scans


@pytest.fixture
def progressive(astronaut: Pixels) -> bytes:
    return encoded(".jpg", astronaut, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


def test_counts_the_scans_of_a_progressive_jpeg(progressive: bytes) -> None:
    header = read(progressive)
    assert (header.width, header.height) == (512, 512)
    assert header.scans == len(scans_of(progressive)) == 10


def test_ignores_markers_within_a_segment(jpeg: bytes) -> None:
    thumbnail = b"\xff\xda" * 300 + b"\xff\xc0" + b"\xff" * 20 + b"\xff\xd9"
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    assert read(jpeg[:2] + segment + jpeg[2:]) == Header("jpeg", 512, 512)


def test_the_largest_of_several_frames_counts(jpeg: bytes) -> None:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, 100, 30_000, 1) + b"\x01\x11\x00"
    assert read(jpeg[:2] + frame + jpeg[2:]) == Header("jpeg", 30_000, 512)


def test_refuses_a_jpeg_without_its_end(jpeg: bytes) -> None:
    for rest in (b"", b"\0" * 4096, b"\xff\xd0"):
        with pytest.raises(UnreadableImage, match="cut short"):
            read(jpeg[:-2] + rest)


def test_refuses_a_jpeg_without_one_of_its_passes(progressive: bytes) -> None:
    """Decoders accept each of these cut files as complete."""
    for start in scans_of(progressive):
        with pytest.raises(UnreadableImage, match="passes over the picture are missing"):
            read(progressive[:start] + b"\xff\xd9")


def test_refuses_a_jpeg_without_the_scan_of_a_component() -> None:
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 8, 8, 3) + b"\x01\x11\0\x02\x11\1\x03\x11\1"
    scans = [b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([each, 0, 0, 63, 0, 0]) for each in (1, 2, 3)]
    assert read(b"\xff\xd8" + frame + b"".join(scans) + b"\xff\xd9").scans == 3
    with pytest.raises(UnreadableImage, match="passes"):
        read(b"\xff\xd8" + frame + b"".join(scans[:2]) + b"\xff\xd9")


def test_finds_a_marker_across_the_border_of_two_searches() -> None:
    """The second scan counts at every offset."""
    first, second = with_scans(1)[:-2], with_scans(2)[len(with_scans(1)) - 2 :]
    for gap in range((1 << 20) - 40, (1 << 20) + 10):
        assert read(first + b"\0" * gap + second).scans == 2


def test_the_only_scan_ends_at_the_next_marker(jpeg: bytes) -> None:
    end = len(jpeg) - 2
    comment = b"\xff\xfe\0\4hi"
    for after in (b"\xff\xd9", b"\xff\xd9" + jpeg, comment + b"\xff\xd9", b"\xff\xd9\0\0"):
        assert end_of_only_scan(jpeg[:end] + after) == end


def test_returns_no_end_for_several_scans(progressive: bytes) -> None:
    assert end_of_only_scan(progressive) is None
    assert end_of_only_scan(with_scans(1)) is None  # progressive, though in one scan


def test_refuses_too_many_segments() -> None:
    comments = b"\xff\xfe\0\2"
    assert read(b"\xff\xd8" + comments * 1900 + with_scans(1)[2:]).scans == 1
    for function in (read, end_of_only_scan):
        with pytest.raises(TooComplex):
            function(b"\xff\xd8" + comments * 2001 + with_scans(1)[2:])
