import struct
import time
from pathlib import Path

import pytest

from faceattr_aio.config.schema import ImageConfig
from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels
from faceattr_aio.uploads.formats import Header
from faceattr_aio.uploads.probe import probe
from tests.support.pictures import with_scans

LIMITS = ImageConfig(formats=("jpeg", "png", "webp"), max_pixels=50_000_000, max_scans=100, max_scan_megapixels=600)


def test_refuses_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(NoImage):
        probe(tmp_path / "empty", LIMITS)


def test_refuses_a_forged_size_by_the_header_alone(tmp_path: Path) -> None:
    forged = tmp_path / "forged.png"
    forged.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + struct.pack(">II", 60_000, 60_000))
    with pytest.raises(TooManyPixels, match="60000 x 60000"):
        probe(forged, LIMITS)


def test_refuses_many_scans(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.jpg"
    bomb.write_bytes(with_scans(101, side=100))
    with pytest.raises(TooComplex):
        probe(bomb, LIMITS)


def test_refuses_fewer_scans_of_a_larger_picture(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.jpg"
    bomb.write_bytes(with_scans(70))
    with pytest.raises(TooComplex):
        probe(bomb, LIMITS)
    bomb.write_bytes(with_scans(60))
    assert probe(bomb, LIMITS) == Header("jpeg", 3000, 3000, 60)


@pytest.mark.parametrize("filling", [b"\xff\x00", b"\xff", b"\0", b"\xff\xd0"])
def test_reads_a_large_file_without_segments_quickly(filling: bytes, tmp_path: Path) -> None:
    bomb = tmp_path / "filled.jpg"
    bomb.write_bytes(with_scans(1)[:-2] + filling * (10_000_000 // len(filling)) + b"\xff\xd9")
    started = time.monotonic()
    assert probe(bomb, LIMITS).scans == 1
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("segment", [b"\xff\xe0\0\2", b"\xff\xda\0\2", b"\xff\xe0\0\0"])
def test_refuses_a_large_file_of_segments_quickly(segment: bytes, tmp_path: Path) -> None:
    bomb = tmp_path / "segments.jpg"
    bomb.write_bytes(b"\xff\xd8" + segment * 5_000_000)
    started = time.monotonic()
    with pytest.raises(TooComplex):
        probe(bomb, LIMITS)
    assert time.monotonic() - started < 1


def test_the_content_decides_and_not_the_file_name(tmp_path: Path, png: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(png)
    assert probe(tmp_path / "a.jpg", LIMITS) == Header("png", 512, 512)
