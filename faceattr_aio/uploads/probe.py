"""Check the header of a stored picture and refuse it before decoding when that would cost too much memory or time."""

import mmap
import os
import stat
from pathlib import Path

from faceattr_aio.config.schema import ImageConfig
from faceattr_aio.errors import NoImage, TooComplex, TooManyPixels
from faceattr_aio.uploads.formats import Header, read_header


def probe(path: Path, limits: ImageConfig) -> Header:
    """Read and check the header of the picture in `path`. Its scans times its megapixels are limited too, because each
    scan covers the whole picture.

    Raises NoImage (empty or not a regular file), UnsupportedMedia, UnreadableImage, TooManyPixels or TooComplex.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would block
    try:
        header = _read(descriptor, limits.formats)
    finally:
        os.close(descriptor)
    pixels = header.width * header.height
    if pixels > limits.max_pixels:
        raise TooManyPixels(
            f"The picture has {header.width} x {header.height} pixels; the limit is {limits.max_pixels} in total."
        )
    if header.scans > limits.max_scans or header.scans * pixels / 1e6 > limits.max_scan_megapixels:
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
