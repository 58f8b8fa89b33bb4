"""Check the header of a stored picture and refuse it before decoding when that would cost too much memory or time."""

import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels
from faceattr_aio.uploads.formats import Header, read_header


@dataclass(frozen=True)
class Bounds:
    """Limits on what is decoded: formats, width x height, scans, and scans x megapixels, since each scan covers the
    whole picture.
    """

    formats: tuple[str, ...]
    max_pixels: int
    max_scans: int
    max_scan_megapixels: int


def probe(path: Path, bounds: Bounds) -> Header:
    """Read and check the header of the picture in `path`.

    Raises NoImage (empty or not a regular file), UnsupportedMedia, UnreadableImage, TooManyPixels or TooComplex.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would block
    try:
        header = _read(descriptor, bounds.formats)
    finally:
        os.close(descriptor)
    if header.width * header.height > bounds.max_pixels:
        raise TooManyPixels(
            f"The picture has {header.width} x {header.height} pixels; the limit is {bounds.max_pixels} in total."
        )
    if header.scans > bounds.max_scans or header.scans * header.megapixels > bounds.max_scan_megapixels:
        raise TooComplex(f"The picture is stored in {header.scans} passes, too many for its size; save it again.")
    return header


def _read(descriptor: int, formats: tuple[str, ...]) -> Header:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise NoImage("The path is not a regular file.")
    if status.st_size == 0:
        raise NoImage("The file is empty.")
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        return read_header(data, formats)
