"""The largest size among the properties of an AVIF picture. The coded frame has a size of its own, which this does not
see: a header that tells less than the frame holds is believed.
"""

import re

from faceattr_aio.errors import UnreadableImage
from faceattr_aio.uploads.formats.header import Bytes, Header, number

_SIZE = re.compile(rb"ispe\0{4}")
_TURNED = re.compile(rb"\0\0\0\x09(?:irot[^\0]|imir)", re.DOTALL)
_MAX_BOXES = 16
"""Before `meta`, which honest files have second."""
_MAX_META = 1 << 20


def read(data: Bytes) -> Header:
    """Raises UnreadableImage for a picture that is stored turned, since decoders show it as it is stored."""
    meta = _meta(data)
    if _TURNED.search(meta):
        raise UnreadableImage("The AVIF is to be turned before it is shown, which is not supported; save it upright.")
    sizes = [found.end() for found in _SIZE.finditer(meta)]
    if not sizes:
        raise ValueError("there is no size")
    width = max(number(meta, at, 4, "big") for at in sizes)
    height = max(number(meta, at + 4, 4, "big") for at in sizes)
    return Header("avif", width, height)


def _meta(data: Bytes) -> Bytes:
    """The box that describes the picture."""
    position = 0
    for _ in range(_MAX_BOXES):
        size = number(data, position, 4, "big")
        if data[position + 4 : position + 8] == b"meta" and size <= _MAX_META:
            return data[position : position + size]
        position += max(size, 8)
    raise ValueError("there is no description")
