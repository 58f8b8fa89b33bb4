"""What a file is, from its first bytes and its headers alone: type, size in pixels, scans of a JPEG. Refuses what would
cost too much before a decoder sees it. Decodes nothing and knows no vision library.
"""

import mmap
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels, UnreadableImage, UnsupportedMedia

Bytes = bytes | mmap.mmap

_SIGNATURES = {
    "jpeg": re.compile(rb"\xff\xd8\xff"),
    "png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_SIGNATURE_BYTES = 16
_MAX_SEGMENTS = 2000
"""Honest pictures have a few dozen, hundreds with a large colour profile or panorama data."""
_PNG_START = b"\x00\x00\x00\x0dIHDR"
_PNG_HEADER_END = 33
_PNG_CHUNK = struct.Struct(">I4s")
"""Length and kind; the data and its check sum follow."""
_MAX_CHUNKS = 200_000
"""Honest pictures have one for every 8 KiB, and a few more."""
_WINDOW = 1 << 20
"""Bytes searched in one go: other threads come to their turn in between."""


class Header(NamedTuple):
    """As stored, before any rotation: width and height in pixels, passes over the picture."""

    format: str
    width: int
    height: int
    scans: int = 1

    @property
    def megapixels(self) -> float:
        return self.width * self.height / 1e6


@dataclass(frozen=True)
class Bounds:
    """What may go to a decoder: types, width x height, scans, and scans x megapixels, since a scan passes over all."""

    formats: tuple[str, ...]
    max_pixels: int
    max_scans: int
    max_scan_megapixels: int


def probe(path: Path, bounds: Bounds) -> Header:
    """The header of the picture in `path`.

    Raises NoImage (empty), UnsupportedMedia, UnreadableImage, TooManyPixels or TooComplex.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NoImage("That is no file.")  # a pipe would never end
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise NoImage("The file is empty.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = read_header(data, bounds.formats)
    _refuse_costly(header, bounds)
    return header


def read_header(data: Bytes, formats: tuple[str, ...]) -> Header:
    """The header in `data`, when its type is one of `formats`. Raises UnsupportedMedia or UnreadableImage."""
    name = sniff(data[:_SIGNATURE_BYTES])
    if name is None or name not in formats:
        raise UnsupportedMedia(f"The file is not a picture of an accepted type ({', '.join(formats)}).")
    try:
        header = _READERS[name](data)
    except (IndexError, ValueError) as error:
        raise UnreadableImage.because(error, f"The {name} file ends or breaks off within its header.") from error
    if not (header.width and header.height):
        raise UnreadableImage(f"The {name} header gives no size.")
    return header


def sniff(head: bytes) -> str | None:
    """The type that the first 16 bytes announce, whatever the file is called."""
    return next((name for name, pattern in _SIGNATURES.items() if pattern.match(head)), None)


def _refuse_costly(header: Header, bounds: Bounds) -> None:
    if header.width * header.height > bounds.max_pixels:
        size = f"{header.width} x {header.height} pixels"
        raise TooManyPixels(f"The picture has {size}; {bounds.max_pixels} in all is the limit.")
    if header.scans > bounds.max_scans or header.scans * header.megapixels > bounds.max_scan_megapixels:
        raise TooComplex(f"The picture is stored in {header.scans} passes, too many for its size; save it again.")


def _png(data: Bytes) -> Header:
    """Walks the chunks, since a decoder may set aside all that a length announces before it misses the bytes."""
    if data[8:16] != _PNG_START:
        raise ValueError("the first chunk is not IHDR")
    for number, end in enumerate(_png_chunks(data)):
        if number == _MAX_CHUNKS:
            raise TooComplex(f"The picture has more than {_MAX_CHUNKS} chunks; save it again.")
        if end > len(data):
            raise UnreadableImage("The png file is damaged or cut short: a chunk of it is longer than what is left.")
    return Header("png", _number(data, 16, 4, "big"), _number(data, 20, 4, "big"))


def _png_chunks(data: Bytes) -> Iterator[int]:
    """Where the data of each chunk after the header ends, as its length says; up to the last chunk."""
    position = _PNG_HEADER_END
    while position + 8 <= len(data):
        length, kind = _PNG_CHUNK.unpack_from(data, position)
        if kind == b"IEND":
            return
        yield position + 8 + length
        position += 12 + length


def _webp(data: Bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        return Header("webp", 1 + _number(data, 24, 3), 1 + _number(data, 27, 3))
    if kind == b"VP8L" and data[20:21] == b"\x2f":
        bits = _number(data, 21, 4)
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return Header("webp", _number(data, 26, 2) & 0x3FFF, _number(data, 28, 2) & 0x3FFF)
    raise ValueError("no picture chunk comes first")


def _jpeg(data: Bytes) -> Header:
    """Walks the markers as libjpeg does: segments are skipped whole (a thumbnail's markers do not count), anything
    else is searched for the next marker. A file with several frames counts as its largest.
    """
    width = height = scans = 0
    for number, (marker, after) in enumerate(_jpeg_segments(data)):
        if number == _MAX_SEGMENTS:
            raise TooComplex(f"The picture has more than {_MAX_SEGMENTS} segments; save it again.")
        scans += marker == _START_OF_SCAN
        if marker in _JPEG_FRAMES:
            height = max(height, _number(data, after + 3, 2, "big"))
            width = max(width, _number(data, after + 5, 2, "big"))
    return Header("jpeg", width, height, scans)


def _jpeg_segments(data: Bytes) -> Iterator[tuple[int, int]]:
    """Each marker that opens a segment, and where its length stands; up to the end of the image."""
    position = 2
    while position < len(data):
        found = _JPEG_MARKER.search(data, position, position + _WINDOW)
        if found is None:
            position += _WINDOW - 1  # a marker may lie across the border
            continue
        marker = data[found.end() - 1]
        if marker == _END_OF_IMAGE:
            return
        yield marker, found.end()
        position = found.end() + _number(data, found.end(), 2, "big")


def _number(data: Bytes, start: int, size: int, order: str = "little") -> int:
    field = data[start : start + size]
    if len(field) < size:
        raise IndexError(f"the file ends before byte {start + size}")
    return int.from_bytes(field, "big" if order == "big" else "little")


_READERS: dict[str, Callable[[Bytes], Header]] = {"jpeg": _jpeg, "png": _png, "webp": _webp}
