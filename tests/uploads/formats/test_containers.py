import struct

import pytest

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.pipelines.imaging import Pixels
from faceattr_aio.uploads.formats import Header, read_header
from tests.support.pictures import saved, tiff, with_orientation

LONG, SHORT, BYTE, RATIONAL, LONG8 = 4, 3, 1, 5, 16


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + kind + payload


FILE_TYPE = box(b"ftyp", b"avif\0\0\0\0avifmif1")


def size(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def read_avif(data: bytes) -> Header:
    return read_header(data, ("avif",))


def read_tiff(data: bytes) -> Header:
    return read_header(data, ("tiff",))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [SHORT, LONG])
def test_tiff_reads_both_byte_orders_and_both_types_of_integers(order: str, kind: int) -> None:
    entries = [(256, kind, 1, 300), (257, kind, 1, 200)]
    assert read_tiff(tiff(entries, order=order)) == Header("tiff", 300, 200)


def test_tiff_returns_the_first_page(astronaut: Pixels) -> None:
    small = astronaut[:20, :30]
    assert read_tiff(saved(astronaut, "tiff", save_all=True, append_images=[small])) == Header("tiff", 512, 512)
    assert read_tiff(saved(small, "tiff", save_all=True, append_images=[astronaut])) == Header("tiff", 30, 20)


def test_tiff_returns_a_tile_that_is_larger_than_the_picture() -> None:
    entries = [(256, LONG, 1, 16), (257, LONG, 1, 300), (322, LONG, 1, 8000), (323, LONG, 1, 16)]
    assert read_tiff(tiff(entries)) == Header("tiff", 8000, 300)


@pytest.mark.parametrize("widths", [(30, 9000), (9000, 30)])
def test_tiff_returns_the_larger_of_repeated_sizes(widths: tuple[int, int]) -> None:
    entries = [(256, LONG, 1, widths[0]), (256, LONG, 1, widths[1]), (257, LONG, 1, 200)]
    assert read_tiff(tiff(entries)) == Header("tiff", 9000, 200)


@pytest.mark.parametrize("kind", [0, BYTE, RATIONAL, 9, 11, LONG8])
def test_tiff_refuses_a_size_of_another_type(kind: int) -> None:
    with pytest.raises(UnreadableImage):
        read_tiff(tiff([(256, kind, 1, 30), (257, LONG, 1, 20)]))


@pytest.mark.parametrize("count", [0, 2])
def test_tiff_refuses_a_size_of_zero_or_two_integers(count: int) -> None:
    with pytest.raises(UnreadableImage):
        read_tiff(tiff([(256, LONG, count, 30), (257, LONG, 1, 20)]))


@pytest.mark.parametrize("tag", [256, 257])
def test_tiff_refuses_a_missing_side(tag: int) -> None:
    with pytest.raises(UnreadableImage):
        read_tiff(tiff([(tag, LONG, 1, 30), (322, LONG, 1, 30), (323, LONG, 1, 30)]))


@pytest.mark.parametrize("offset", [9, 1000, (1 << 32) - 1])
def test_tiff_refuses_a_directory_beyond_the_file(offset: int) -> None:
    with pytest.raises(UnreadableImage):
        read_tiff(b"II*\0" + struct.pack("<I", offset) + b"\0\0")


def test_tiff_limits_the_entries_of_the_directory() -> None:
    sides = [(256, LONG, 1, 30), (257, LONG, 1, 20)]
    assert read_tiff(tiff([*sides, *[(700, LONG, 1, 0)] * 4094])) == Header("tiff", 30, 20)
    with pytest.raises(UnreadableImage):
        read_tiff(tiff([*sides, *[(700, LONG, 1, 0)] * 4095]))


def test_avif_returns_the_largest_size() -> None:
    meta = box(b"meta", b"\0\0\0\0" + size(10, 20) + size(300, 5) + size(7, 200))
    assert read_avif(FILE_TYPE + meta) == Header("avif", 300, 200)


def test_avif_limits_the_boxes_before_meta() -> None:
    meta, free = box(b"meta", size(10, 20)), box(b"free", b"")
    assert read_avif(FILE_TYPE + free * 14 + meta) == Header("avif", 10, 20)
    with pytest.raises(UnreadableImage):
        read_avif(FILE_TYPE + free * 15 + meta)


def test_avif_ends_at_boxes_of_no_size() -> None:
    with pytest.raises(UnreadableImage):
        read_avif(FILE_TYPE + b"\0" * 1000)


@pytest.mark.parametrize(
    "meta",
    [b"", box(b"meta", b"\0" * 100), box(b"meta", b"\0" * (1 << 20) + size(1, 1)), box(b"meta", b"ispe\0\0\0\0\0\0")],
    ids=["none", "without a size", "too long", "breaks off"],
)
def test_avif_refuses_a_missing_size(meta: bytes) -> None:
    with pytest.raises(UnreadableImage):
        read_avif(FILE_TYPE + meta)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_avif_refuses_a_rotation(orientation: int, astronaut: Pixels) -> None:
    """Decoders ignore it, so that the faces would lie on their side."""
    with pytest.raises(UnreadableImage, match="save it upright"):
        read_avif(with_orientation(astronaut, orientation, "avif"))
    assert read_avif(with_orientation(astronaut, 1, "avif")) == read_avif(saved(astronaut, "avif"))
