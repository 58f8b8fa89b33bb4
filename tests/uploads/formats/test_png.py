import struct
import time

import pytest

from faceattr_aio.errors import TooComplex, UnreadableImage
from faceattr_aio.uploads.formats import Header, read_header

ALL = ("png",)


def png_chunks(*chunks: bytes) -> bytes:
    """The header of a PNG of 5 x 5 pixels, followed by `chunks`."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 5, 5, 8, 2, 0, 0, 0, 0) + b"".join(chunks)


@pytest.mark.parametrize("length", [0x3B23AFED, 0x7FFFFFFF, 0xFFFFFFFF, 9])
def test_refuses_a_chunk_that_announces_more_than_the_file_has(
    length: int,
) -> None:
    cut = struct.pack(">I4s8s", length, b"IDAT", b"x" * 8)
    with pytest.raises(UnreadableImage, match="a chunk is longer than the rest of the file"):
        read_header(png_chunks(cut), ALL)
    with pytest.raises(UnreadableImage, match="longer"):
        read_header(png_chunks(struct.pack(">I4sI", 0, b"tEXt", 0), cut), ALL)


def test_refuses_a_header_chunk_of_another_length() -> None:
    with pytest.raises(UnreadableImage):
        read_header(png_chunks().replace(b"\0\0\0\x0dIHDR", b"\xff\0\0\0IHDR"), ALL)


def test_ignores_data_after_the_last_chunk(png: bytes) -> None:
    assert read_header(png + b"\xff" * 100, ALL) == Header("png", 512, 512)


def test_refuses_very_many_chunks_quickly() -> None:
    comment = struct.pack(">I4sI", 0, b"tEXt", 0)
    assert read_header(png_chunks(comment * 100_000), ALL) == Header("png", 5, 5)
    chunks = png_chunks(comment * 1_700_000)
    started = time.monotonic()
    with pytest.raises(TooComplex):
        read_header(chunks, ALL)
    assert time.monotonic() - started < 5
