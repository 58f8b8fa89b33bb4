import struct

import pytest

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.pipelines.imaging import Pixels
from faceattr_aio.uploads.formats import Header, read_header
from tests.support.pictures import saved, with_orientation


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + kind + payload


FILE_TYPE = box(b"ftyp", b"avif\0\0\0\0avifmif1")


def size(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">III", 0, width, height))


def read(data: bytes) -> Header:
    return read_header(data, ("avif",))


def test_the_largest_size_counts() -> None:
    meta = box(b"meta", b"\0\0\0\0" + size(10, 20) + size(300, 5) + size(7, 200))
    assert read(FILE_TYPE + meta) == Header("avif", 300, 200)


def test_boxes_may_come_before_the_description_but_not_many() -> None:
    meta, free = box(b"meta", size(10, 20)), box(b"free", b"")
    assert read(FILE_TYPE + free * 14 + meta) == Header("avif", 10, 20)
    with pytest.raises(UnreadableImage):
        read(FILE_TYPE + free * 15 + meta)


def test_a_box_of_no_size_does_not_hold_the_walk() -> None:
    with pytest.raises(UnreadableImage):
        read(FILE_TYPE + b"\0" * 1000)


@pytest.mark.parametrize(
    "meta",
    [b"", box(b"meta", b"\0" * 100), box(b"meta", b"\0" * (1 << 20) + size(1, 1)), box(b"meta", b"ispe\0\0\0\0\0\0")],
    ids=["none", "without a size", "too long", "breaks off"],
)
def test_without_a_description_of_its_size_it_is_unreadable(meta: bytes) -> None:
    with pytest.raises(UnreadableImage):
        read(FILE_TYPE + meta)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_one_that_is_to_be_turned_is_unreadable(orientation: int, astronaut: Pixels) -> None:
    """Decoders would show it as it is stored, with the faces on their side."""
    with pytest.raises(UnreadableImage, match="save it upright"):
        read(with_orientation(astronaut, orientation, "avif"))
    assert read(with_orientation(astronaut, 1, "avif")) == read(saved(astronaut, "avif"))
