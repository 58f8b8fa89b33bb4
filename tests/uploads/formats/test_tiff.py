import struct

import pytest

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.pipelines.imaging import Pixels
from faceattr_aio.uploads.formats import Header, read_header
from tests.support.pictures import saved, tiff

LONG, SHORT, BYTE, RATIONAL, LONG8 = 4, 3, 1, 5, 16


def read(data: bytes) -> Header:
    return read_header(data, ("tiff",))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [SHORT, LONG])
def test_both_byte_orders_and_both_kinds_of_numbers_are_read(order: str, kind: int) -> None:
    entries = [(256, kind, 1, 300), (257, kind, 1, 200)]
    assert read(tiff(entries, order=order)) == Header("tiff", 300, 200)


def test_the_first_page_counts(astronaut: Pixels) -> None:
    small = astronaut[:20, :30]
    assert read(saved(astronaut, "tiff", save_all=True, append_images=[small])) == Header("tiff", 512, 512)
    assert read(saved(small, "tiff", save_all=True, append_images=[astronaut])) == Header("tiff", 30, 20)


def test_a_tile_counts_when_it_is_larger_than_the_picture() -> None:
    entries = [(256, LONG, 1, 16), (257, LONG, 1, 300), (322, LONG, 1, 8000), (323, LONG, 1, 16)]
    assert read(tiff(entries)) == Header("tiff", 8000, 300)


@pytest.mark.parametrize("widths", [(30, 9000), (9000, 30)])
def test_of_a_size_told_twice_the_larger_counts(widths: tuple[int, int]) -> None:
    entries = [(256, LONG, 1, widths[0]), (256, LONG, 1, widths[1]), (257, LONG, 1, 200)]
    assert read(tiff(entries)) == Header("tiff", 9000, 200)


@pytest.mark.parametrize("kind", [0, BYTE, RATIONAL, 9, 11, LONG8])
def test_a_size_of_another_kind_is_unreadable(kind: int) -> None:
    with pytest.raises(UnreadableImage):
        read(tiff([(256, kind, 1, 30), (257, LONG, 1, 20)]))


@pytest.mark.parametrize("count", [0, 2])
def test_a_size_of_no_or_two_numbers_is_unreadable(count: int) -> None:
    with pytest.raises(UnreadableImage):
        read(tiff([(256, LONG, count, 30), (257, LONG, 1, 20)]))


@pytest.mark.parametrize("tag", [256, 257])
def test_without_one_side_it_is_unreadable(tag: int) -> None:
    with pytest.raises(UnreadableImage):
        read(tiff([(tag, LONG, 1, 30), (322, LONG, 1, 30), (323, LONG, 1, 30)]))


@pytest.mark.parametrize("offset", [9, 1000, (1 << 32) - 1])
def test_a_directory_beyond_the_file_is_unreadable(offset: int) -> None:
    with pytest.raises(UnreadableImage):
        read(b"II*\0" + struct.pack("<I", offset) + b"\0\0")


def test_a_directory_has_a_bounded_number_of_entries() -> None:
    sides = [(256, LONG, 1, 30), (257, LONG, 1, 20)]
    assert read(tiff([*sides, *[(700, LONG, 1, 0)] * 4094])) == Header("tiff", 30, 20)
    with pytest.raises(UnreadableImage):
        read(tiff([*sides, *[(700, LONG, 1, 0)] * 4095]))
