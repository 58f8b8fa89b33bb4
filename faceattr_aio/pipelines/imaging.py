"""A picture file becomes pixels to work on. Decodes strictly: a damaged picture is refused, never guessed at.
Knows nothing of faces and nothing of who asks.
"""

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
_ENOUGH = 0.75
"""Of the working side: what is found there is found at the whole of it too."""
_READ_AHEAD = np.zeros(8, np.uint8)
"""As many bytes as libjpeg reads ahead of what it decodes."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture as shown (rotated by its EXIF). `pixels` may be smaller than the picture by `scale`."""

    pixels: Pixels
    width: int
    height: int
    format: str

    @property
    def scale(self) -> float:
        """Working pixels for one pixel of the picture, 1 or less."""
        return float(max(self.pixels.shape[:2]) / max(self.width, self.height))


def read(path: Path, longest_side: int) -> Picture:
    """Decodes the picture in `path` and scales it down so that no side is longer than `longest_side` pixels.

    Raises UnreadableImage, TooComplex, or TooManyPixels when a worker's memory does not hold it.
    """
    data = np.fromfile(path, np.uint8)
    kind = sniff(data.data) or ""
    if kind == "jpeg":
        return _read_jpeg(data, longest_side)
    pixels = decode(data)
    height, width = pixels.shape[:2]
    return Picture(shrink(pixels, longest_side), width, height, kind)


def _read_jpeg(data: npt.NDArray[np.uint8], longest_side: int) -> Picture:
    header = read_header(data.data, ("jpeg",))
    reduction = choose_reduction(header, longest_side)
    pixels = decode(data, reduction)
    width, height = _size(header, pixels, reduction)
    return Picture(shrink(pixels, longest_side), width, height, "jpeg")


def choose_reduction(header: Header, longest_side: int) -> int:
    """How many times smaller a JPEG can be decoded, far more cheaply, and leave three quarters of `longest_side`.

    Not when a rotation by its EXIF could not be told from the size of what comes out.
    """
    width, height = header.width, header.height
    enough = (by for by in (8, 4, 2) if max(width, height) / by >= _ENOUGH * longest_side)
    return next((by for by in enough if width == height or _reduced(width, by) != _reduced(height, by)), 1)


def _size(header: Header, pixels: Pixels, reduction: int) -> tuple[int, int]:
    """Width and height as shown: as stored, or the other way round."""
    if pixels.shape[1] == _reduced(header.width, reduction):
        return header.width, header.height
    return header.height, header.width


def _reduced(side: int, reduction: int) -> int:
    return -(-side // reduction)


def decode(data: npt.NDArray[np.uint8], reduction: int = 1) -> Pixels:
    """The pixels of an encoded picture: 8 bits, three channels, rotated as its EXIF says. A JPEG comes out smaller by
    `reduction`, which is 1, 2, 4 or 8.

    `imdecode` refuses a JPEG that lacks its last two bytes; `imread` would take one cut to a tenth.
    Raises what `read` does.
    """
    try:
        pixels = cv2.imdecode(_strict(data), _FLAGS[reduction])
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise TooManyPixels.from_exception(
                error, "The picture is larger than the memory set aside for one."
            ) from error
        raise UnreadableImage.from_exception(error, "The picture is damaged and cannot be decoded.") from error
    if pixels is None:
        raise UnreadableImage("The picture is damaged or cut short and cannot be decoded.")
    return np.asarray(pixels, np.uint8)


def _strict(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A JPEG in one scan ends with it: a decoder that still wants data fails. From an end marker that comes too early
    it would learn that there is no more, and paint the rest grey.
    """
    view = data.data
    end = jpeg.end_of_only_scan(view) if sniff(view) == "jpeg" else None
    return data if end is None else np.concatenate([data[:end], _READ_AHEAD])


def shrink(pixels: Pixels, longest_side: int) -> Pixels:
    """The picture with no side longer than `longest_side`; itself when it is small enough."""
    height, width = pixels.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode(pixels: Pixels, media_type: str) -> bytes:
    """The picture as a file of `media_type` (image/jpeg, image/png or image/webp)."""
    _, data = cv2.imencode(_SUFFIXES[media_type], pixels)
    return data.tobytes()


def limit_threads() -> None:
    """One thread for each call into the vision library; holds for the whole process."""
    cv2.setNumThreads(1)
