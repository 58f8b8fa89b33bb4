"""Refuses a picture that would cost too much, by its header, before a decoder sees it. Decodes nothing and knows no
vision library.
"""

import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels
from faceattr_aio.uploads.formats import Header, read_header


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
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would never open
    try:
        header = _read(descriptor, bounds.formats)
    finally:
        os.close(descriptor)
    _refuse_costly(header, bounds)
    return header


def _read(descriptor: int, formats: tuple[str, ...]) -> Header:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise NoImage("That is no file.")
    if status.st_size == 0:
        raise NoImage("The file is empty.")
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        return read_header(data, formats)


def _refuse_costly(header: Header, bounds: Bounds) -> None:
    if header.width * header.height > bounds.max_pixels:
        size = f"{header.width} x {header.height} pixels"
        raise TooManyPixels(f"The picture has {size}; {bounds.max_pixels} in all is the limit.")
    if header.scans > bounds.max_scans or header.scans * header.megapixels > bounds.max_scan_megapixels:
        raise TooComplex(f"The picture is stored in {header.scans} passes, too many for its size; save it again.")
