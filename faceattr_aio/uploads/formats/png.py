"""The chunks of a PNG, walked by their lengths: a decoder may make room for all that a length announces before it
misses the bytes.
"""

import struct
from collections.abc import Iterator

from faceattr_aio.errors import TooComplex, UnreadableImage
from faceattr_aio.uploads.formats.header import Bytes, Header, number

_START = b"\x00\x00\x00\x0dIHDR"
_HEADER_END = 33
_CHUNK = struct.Struct(">I4s")
"""Length and kind; the data and its check sum follow."""
_MAX_CHUNKS = 200_000
"""Honest pictures have one for every 8 KiB, and a few more."""


def read(data: Bytes) -> Header:
    """Raises UnreadableImage for a chunk that is longer than what is left, and TooComplex for too many."""
    if data[8:16] != _START:
        raise ValueError("the first chunk is not IHDR")
    for count, end in enumerate(_ends(data)):
        if count == _MAX_CHUNKS:
            raise TooComplex(f"The picture has more than {_MAX_CHUNKS} chunks; save it again.")
        if end > len(data):
            raise UnreadableImage("The png file is damaged or cut short: a chunk of it is longer than what is left.")
    return Header("png", number(data, 16, 4, "big"), number(data, 20, 4, "big"))


def _ends(data: Bytes) -> Iterator[int]:
    """Where the data of each chunk after the header ends, as its length says; up to the last chunk."""
    position = _HEADER_END
    while position + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, position)
        if kind == b"IEND":
            return
        yield position + _CHUNK.size + length
        position += _CHUNK.size + length + 4
