"""Read the header of a PNG and check the lengths of its chunks: a decoder may allocate the announced length of a chunk
before it finds that bytes are missing.
"""

import struct
from collections.abc import Iterator

from faceattr_aio.errors import TooComplex, UnreadableImage
from faceattr_aio.uploads.formats.header import Bytes, Header, number

_START = b"\x00\x00\x00\x0dIHDR"
_HEADER_END = 33
_CHUNK = struct.Struct(">I4s")
"""Length and type; the data and its checksum follow."""
_MAX_CHUNKS = 200_000
"""Ordinary files have one for every 8 KiB and a few more."""


def read(data: Bytes) -> Header:
    """The header. Raises UnreadableImage for a chunk that is longer than the file, and TooComplex for too many."""
    if data[8:16] != _START:
        raise ValueError("the first chunk is not IHDR")
    for count, end in enumerate(_chunk_ends(data)):
        if count == _MAX_CHUNKS:
            raise TooComplex(f"The picture has more than {_MAX_CHUNKS} chunks; save it again.")
        if end > len(data):
            raise UnreadableImage("The png file is damaged or cut short: a chunk is longer than the rest of the file.")
    return Header("png", number(data, 16, 4, "big"), number(data, 20, 4, "big"))


def _chunk_ends(data: Bytes) -> Iterator[int]:
    """The announced end of the data of each chunk between the header and the last chunk."""
    position = _HEADER_END
    while position + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, position)
        if kind == b"IEND":
            return
        yield position + _CHUNK.size + length
        position += _CHUNK.size + length + 4
