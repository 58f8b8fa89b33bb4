"""The header of a picture, and readers for the formats that store the size at a fixed offset: WebP, GIF and BMP. For an
animation the size is that of the canvas, which no frame of a decodable file exceeds.
"""

import mmap
from typing import Literal, NamedTuple

Bytes = bytes | mmap.mmap | memoryview
ByteOrder = Literal["little", "big"]

_CORE_HEADER = 12
"""Bytes of the oldest BMP header, which has shorter fields."""


class Header(NamedTuple):
    """Width and height in pixels, as stored (before any rotation), and the number of passes over the picture."""

    format: str
    width: int
    height: int
    scans: int = 1


def number(data: Bytes, start: int, size: int, byteorder: ByteOrder = "little") -> int:
    """The unsigned integer in `size` bytes at `start`. Raises IndexError when the data ends before."""
    field = data[start : start + size]
    if len(field) < size:
        raise IndexError(f"the file ends before byte {start + size}")
    return int.from_bytes(field, byteorder)


def read_webp(data: Bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        return Header("webp", 1 + number(data, 24, 3), 1 + number(data, 27, 3))
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = number(data, 21, 4)
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return Header("webp", number(data, 26, 2) & 0x3FFF, number(data, 28, 2) & 0x3FFF)
    raise ValueError("the first chunk is not a picture")


def read_gif(data: Bytes) -> Header:
    return Header("gif", number(data, 6, 2), number(data, 8, 2))


def read_bmp(data: Bytes) -> Header:
    if number(data, 14, 4) == _CORE_HEADER:
        return Header("bmp", number(data, 18, 2), number(data, 20, 2))
    height = number(data, 22, 4)
    return Header("bmp", number(data, 18, 4), min(height, (1 << 32) - height))  # negative: the top row is stored first
