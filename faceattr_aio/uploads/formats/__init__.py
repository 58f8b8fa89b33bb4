"""What a file is, by its first bytes, and what its header tells: size, passes. Decodes nothing and knows no vision
library. A reader may tell more pixels than there are, but not fewer than a decoder unpacks; BLIND names the exception.
"""

import re
from collections.abc import Callable, Mapping

from faceattr_aio.errors import UnreadableImage, UnsupportedMedia
from faceattr_aio.uploads.formats import avif, fixed, jpeg, png, tiff
from faceattr_aio.uploads.formats.header import Bytes, Header

__all__ = ["BLIND", "Bytes", "Header", "read_header", "sniff"]

BLIND = frozenset({"avif"})
"""Types whose header may tell of a small picture before a large one: nothing but the bounded memory of a worker process
holds that back.
"""
_SIGNATURES = {
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "gif": re.compile(rb"GIF8[79]a"),
    "bmp": re.compile(rb"BM"),
    "tiff": re.compile(rb"II\x2a\0|MM\0\x2a"),
    "avif": re.compile(rb"....ftypavif", re.DOTALL),
}
_SIGNATURE_BYTES = 16
_READERS: Mapping[str, Callable[[Bytes], Header]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "webp": fixed.webp,
    "gif": fixed.gif,
    "bmp": fixed.bmp,
    "tiff": tiff.read,
    "avif": avif.read,
}


def sniff(data: Bytes) -> str | None:
    """The type that the first 16 bytes announce, whatever the file is called."""
    head = bytes(data[:_SIGNATURE_BYTES])
    return next((name for name, pattern in _SIGNATURES.items() if pattern.match(head)), None)


def read_header(data: Bytes, formats: tuple[str, ...]) -> Header:
    """The header in `data`, when its type is one of `formats`.

    Raises UnsupportedMedia, UnreadableImage, or TooComplex for a JPEG of too many segments or a PNG of too many chunks.
    """
    name = sniff(data)
    if name is None or name not in formats:
        raise UnsupportedMedia(f"The file is not a picture of an accepted type ({', '.join(formats)}).")
    try:
        header = _READERS[name](data)
    except (IndexError, ValueError) as error:
        raise UnreadableImage.from_exception(error, f"The {name} file ends or breaks off within its header.") from error
    if not (header.width and header.height):
        raise UnreadableImage(f"The {name} header gives no size.")
    return header
