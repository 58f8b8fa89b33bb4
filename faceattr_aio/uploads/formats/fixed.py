"""The formats whose size stands at a fixed place: WebP, GIF and BMP. Of an animation it is the canvas, which no
frame of a file that can be decoded goes beyond.
"""

from faceattr_aio.uploads.formats.header import Bytes, Header, number

_CORE_HEADER = 12
"""Bytes of the oldest BMP header, whose fields are shorter."""


def webp(data: Bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        return Header("webp", 1 + number(data, 24, 3), 1 + number(data, 27, 3))
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = number(data, 21, 4)
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return Header("webp", number(data, 26, 2) & 0x3FFF, number(data, 28, 2) & 0x3FFF)
    raise ValueError("no picture chunk comes first")


def gif(data: Bytes) -> Header:
    return Header("gif", number(data, 6, 2), number(data, 8, 2))


def bmp(data: Bytes) -> Header:
    if number(data, 14, 4) == _CORE_HEADER:
        return Header("bmp", number(data, 18, 2), number(data, 20, 2))
    height = number(data, 22, 4)
    return Header("bmp", number(data, 18, 4), min(height, (1 << 32) - height))  # negative: stored from the top
