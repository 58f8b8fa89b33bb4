"""Detect the format of a picture by its first bytes and read its header: size and number of passes. Nothing is decoded.

A reader may return more pixels than there are, but never fewer than a decoder unpacks; `BLIND` names the exceptions.
"""

import re

from faceattr_aio.errors import UnreadableImage, UnsupportedMedia
from faceattr_aio.uploads.formats import containers, header, jpeg, png
from faceattr_aio.uploads.formats.header import Bytes, Header

__all__ = ["BLIND", "Bytes", "Header", "read_header", "sniff"]

BLIND = frozenset({"avif"})
"""Formats with headers that can announce a smaller picture than is decoded. Only the memory limit of a worker process
bounds these.
"""
_SIGNATURE_BYTES = 16


_FORMATS = {
    "jpeg": (rb"\xff\xd8\xff", jpeg.read),
    "png": (rb"\x89PNG\r\n\x1a\n", png.read),
    "webp": (rb"(?s)RIFF....WEBP", header.read_webp),
    "gif": (rb"GIF8[79]a", header.read_gif),
    "bmp": (rb"BM", header.read_bmp),
    "tiff": (rb"II\x2a\0|MM\0\x2a", containers.read_tiff),
    "avif": (rb"(?s)....ftypavif", containers.read_avif),
}
"""The pattern of the first bytes and the reader of the header, by format."""


def sniff(data: Bytes) -> str | None:
    """The format that the first 16 bytes announce."""
    head = bytes(data[:_SIGNATURE_BYTES])
    return next((name for name, (pattern, _) in _FORMATS.items() if re.match(pattern, head)), None)


def read_header(data: Bytes, formats: tuple[str, ...]) -> Header:
    """Read the header of a picture in one of `formats`.

    Raises UnsupportedMedia, UnreadableImage, or TooComplex for a JPEG with too many segments or a PNG with too many
    chunks.
    """
    name = sniff(data)
    if name is None or name not in formats:
        raise UnsupportedMedia(f"The file is not a picture of an accepted type ({', '.join(formats)}).")
    try:
        found = _FORMATS[name][1](data)
    except (IndexError, ValueError) as error:
        raise UnreadableImage.from_exception(
            error, f"The header of the {name} file is incomplete or invalid."
        ) from error
    if not (found.width and found.height):
        raise UnreadableImage(f"The {name} header has no size.")
    return found
