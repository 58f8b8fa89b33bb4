"""Decode picture files to pixels and encode pixels as picture files. A damaged picture is refused, never repaired."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from faceattr_aio.errors import TooManyPixels, UnreadableImage
from faceattr_aio.uploads.formats import Header, jpeg, read_header, sniff

Pixels = npt.NDArray[np.uint8]
"""Height x width x 3, in the order blue, green, red."""

Floats = npt.NDArray[np.floating[Any]]

_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_MIN_SHARE = 0.75
"""Least share of the working side that a reduced JPEG must have. Measured: it gives the same results as the whole."""
_READ_AHEAD = np.zeros(8, np.uint8)
"""The number of bytes that libjpeg reads beyond the data it decodes."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture with its EXIF rotation applied.

    `width` and `height` are those of the whole picture; `pixels` may be smaller, by the factor `scale`.
    """

    pixels: Pixels
    width: int
    height: int
    format: str

    @property
    def scale(self) -> float:
        """Longest side of `pixels` divided by the longest side of the picture, 1 or less."""
        return float(max(self.pixels.shape[:2]) / max(self.width, self.height))


def read(path: Path, longest_side: int) -> Picture:
    """Decode the picture in `path` and scale it down so that no side is longer than `longest_side` pixels.

    Raises:
        UnreadableImage: the picture is damaged or cut short.
        TooComplex: the picture has more scans or passes than allowed.
        TooManyPixels: the pixels do not fit into the worker's memory.

    """
    data = np.fromfile(path, np.uint8)
    kind = sniff(data.data) or ""
    header = read_header(data.data, ("jpeg",)) if kind == "jpeg" else None
    reduction = choose_reduction(header, longest_side) if header else 1
    pixels = decode(data, reduction)
    height, width = pixels.shape[:2]
    if header:
        upright = width == _reduced(header.width, reduction)
        width, height = (header.width, header.height) if upright else (header.height, header.width)
    return Picture(shrink(pixels, longest_side), width, height, kind)


def choose_reduction(header: Header, longest_side: int) -> int:
    """Return the largest factor (1, 2, 4 or 8) by which a JPEG can be decoded smaller, which is far cheaper.

    At least three quarters of `longest_side` remain. A factor that makes an oblong picture square is not used: the
    size of the pixels must show whether the EXIF rotation swapped the sides.
    """
    width, height = header.width, header.height
    enough = (by for by in (8, 4, 2) if max(width, height) / by >= _MIN_SHARE * longest_side)
    return next((by for by in enough if width == height or _reduced(width, by) != _reduced(height, by)), 1)


def _reduced(side: int, reduction: int) -> int:
    return -(-side // reduction)


def decode(data: npt.NDArray[np.uint8], reduction: int = 1) -> Pixels:
    """Decode a picture to 8 bits and three channels, rotated by its EXIF orientation.

    `imdecode` refuses a JPEG without its last two bytes; `imread` would accept one cut to a tenth.

    Args:
        data: the bytes of the file.
        reduction: 1, 2, 4 or 8; a JPEG is decoded smaller by this factor.

    Raises:
        UnreadableImage, TooComplex, TooManyPixels: see `read`.

    """
    try:
        pixels = cv2.imdecode(_strict(data), _FLAGS[reduction])
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            message = "The decoded picture does not fit into the memory limit."
            raise TooManyPixels.from_exception(error, message) from error
        raise UnreadableImage.from_exception(error, "The picture is damaged and cannot be decoded.") from error
    if pixels is None:
        raise UnreadableImage("The picture is damaged or cut short and cannot be decoded.")
    return np.asarray(pixels, np.uint8)


def _strict(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Cut a JPEG with a single scan at the end of the scan, so that a decoder that needs more data fails.

    At an end marker that comes too early the decoder would stop without an error and fill the rest with grey.
    """
    view = data.data
    end = jpeg.end_of_only_scan(view) if sniff(view) == "jpeg" else None
    return data if end is None else np.concatenate([data[:end], _READ_AHEAD])


def shrink(pixels: Pixels, longest_side: int) -> Pixels:
    """Scale the picture down to `longest_side` pixels; return the same array if it is small enough."""
    height, width = pixels.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def warp(pixels: Pixels, matrix: Floats, side: int, border: int = cv2.BORDER_REPLICATE) -> Pixels:
    """Apply an affine map (2 x 3) and return side x side pixels; `border` is OpenCV's mode outside the picture."""
    return np.asarray(cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)


def encode(pixels: Pixels, media_type: str) -> bytes:
    """Encode the pixels as image/jpeg, image/png or image/webp."""
    _, data = cv2.imencode(_SUFFIXES[media_type], pixels)
    return data.tobytes()


def limit_threads() -> None:
    """Make OpenCV use one thread per call, in the whole process."""
    cv2.setNumThreads(1)
