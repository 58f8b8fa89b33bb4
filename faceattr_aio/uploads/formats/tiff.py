"""The first page of a TIFF, which is the one that is decoded. Reads its directory strictly: a size in a form that the
specification does not have is none. The larger TIFF of 64-bit offsets is no type of ours.
"""

from faceattr_aio.uploads.formats.header import Bytes, Header, Order, number

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_BYTES_OF_TYPE = {3: 2, 4: 4}
"""SHORT and LONG."""
_ENTRY_BYTES = 12
_MAX_ENTRIES = 4096
"""As many as libtiff reads."""


def read(data: Bytes) -> Header:
    """A tile counts when it is larger than the picture, since it is unpacked whole; of a size told twice the larger."""
    order: Order = "big" if data[:2] == b"MM" else "little"
    directory = number(data, 4, 4, order)
    entries = number(data, directory, 2, order)
    if entries > _MAX_ENTRIES:
        raise ValueError(f"{entries} entries are too many")
    sides = dict.fromkeys((_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT), 0)
    for entry in range(directory + 2, directory + 2 + entries * _ENTRY_BYTES, _ENTRY_BYTES):
        tag = number(data, entry, 2, order)
        if tag in sides:
            sides[tag] = max(sides[tag], _value(data, entry, order))
    if not (sides[_WIDTH] and sides[_HEIGHT]):
        raise ValueError("there is no size")
    return Header("tiff", max(sides[_WIDTH], sides[_TILE_WIDTH]), max(sides[_HEIGHT], sides[_TILE_HEIGHT]))


def _value(data: Bytes, entry: int, order: Order) -> int:
    kind, count = number(data, entry + 2, 2, order), number(data, entry + 4, 4, order)
    if kind not in _BYTES_OF_TYPE or count != 1:
        raise ValueError("a size is no number")
    return number(data, entry + 8, _BYTES_OF_TYPE[kind], order)
