"""Readers for the formats that list the size among other entries: the directory of a TIFF, the boxes of an AVIF.

TIFF: the first page, which is the one that is decoded. Sizes of a type outside the specification are invalid; BigTIFF
is not supported. AVIF: the largest size among the properties. The coded frame has a size of its own, which is not read:
a header with a smaller size than the frame is accepted.
"""

import re

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.uploads.formats.header import ByteOrder, Bytes, Header, number

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_BYTES_OF_TYPE = {3: 2, 4: 4}
"""SHORT and LONG."""
_ENTRY_BYTES = 12
_MAX_ENTRIES = 4096
"""The limit of libtiff."""
_SIZE = re.compile(rb"ispe\0{4}")
_ROTATION = re.compile(rb"\0\0\0\x09(?:irot[^\0]|imir)", re.DOTALL)
_MAX_BOXES = 16
"""Boxes read to find `meta`, which encoders write second."""
_MAX_META = 1 << 20


def read_tiff(data: Bytes) -> Header:
    """A tile larger than the picture counts, since it is decoded whole. The largest of repeated sizes counts."""
    byteorder: ByteOrder = "big" if data[:2] == b"MM" else "little"
    directory = number(data, 4, 4, byteorder)
    entries = number(data, directory, 2, byteorder)
    if entries > _MAX_ENTRIES:
        raise ValueError(f"{entries} entries are too many")
    sides = dict.fromkeys((_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT), 0)
    for entry in range(directory + 2, directory + 2 + entries * _ENTRY_BYTES, _ENTRY_BYTES):
        tag = number(data, entry, 2, byteorder)
        if tag in sides:
            sides[tag] = max(sides[tag], _tiff_value(data, entry, byteorder))
    if not (sides[_WIDTH] and sides[_HEIGHT]):
        raise ValueError("the size is missing")
    return Header("tiff", max(sides[_WIDTH], sides[_TILE_WIDTH]), max(sides[_HEIGHT], sides[_TILE_HEIGHT]))


def read_avif(data: Bytes) -> Header:
    """Raises UnreadableImage for a picture with a rotation, because decoders ignore it."""
    meta = _avif_meta(data)
    if _ROTATION.search(meta):
        raise UnreadableImage("The AVIF is stored with a rotation, which is not supported; save it upright.")
    sizes = [found.end() for found in _SIZE.finditer(meta)]
    if not sizes:
        raise ValueError("the size is missing")
    width = max(number(meta, at, 4, "big") for at in sizes)
    height = max(number(meta, at + 4, 4, "big") for at in sizes)
    return Header("avif", width, height)


def _tiff_value(data: Bytes, start: int, byteorder: ByteOrder) -> int:
    kind, count = number(data, start + 2, 2, byteorder), number(data, start + 4, 4, byteorder)
    if kind not in _BYTES_OF_TYPE or count != 1:
        raise ValueError("a size is not one integer")
    return number(data, start + 8, _BYTES_OF_TYPE[kind], byteorder)


def _avif_meta(data: Bytes) -> Bytes:
    """The box that describes the picture."""
    position = 0
    for _ in range(_MAX_BOXES):
        size = number(data, position, 4, "big")
        if data[position + 4 : position + 8] == b"meta" and size <= _MAX_META:
            return data[position : position + size]
        position += max(size, 8)
    raise ValueError("the meta box is missing")
