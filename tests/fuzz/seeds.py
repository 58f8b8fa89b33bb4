"""Small pictures of every accepted kind, from which fuzzing starts: most with one face, a few without."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import cv2
import numpy as np
import skimage.data
from PIL import Image

from faceattr_aio.pipelines.imaging import Pixels

_FACE = (slice(40, 200), slice(146, 306))
_SIDES = (64, 96, 128, 256)
_ORIENTATION = 0x0112
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step and column step of each pass of an interlaced PNG."""


@cache
def seeds() -> tuple[bytes, ...]:
    """Return the pictures, which are always the same with the same versions of the codecs."""
    made: list[bytes] = []
    for number, side in enumerate(_SIDES):
        face = _face(side)
        made += [*_jpegs(face, number), *_pngs(face), *_webps(face)]
    for shape in ((1, 1), (1, 300), (256, 3)):
        plain = Image.new("RGB", shape, "gray")
        made += [_saved(plain, "JPEG"), _saved(plain, "PNG"), _saved(plain, "WEBP")]
    return tuple(made)


def _face(side: int) -> Image.Image:
    astronaut = skimage.data.astronaut()  # type: ignore[no-untyped-call]  # scikit-image has no types
    return Image.fromarray(astronaut[_FACE]).resize((side, side))


def _jpegs(face: Image.Image, number: int) -> Iterator[bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 5 + number
    yield _saved(face, "JPEG", quality=85)
    yield _saved(face, "JPEG", progressive=True, subsampling=0)
    yield _saved(face.convert("L"), "JPEG")
    yield _saved(face.convert("CMYK"), "JPEG")
    yield _saved(face, "JPEG", exif=exif, comment=b"a comment", dpi=(72, 72))
    yield _encoded(".jpg", _pixels(face), cv2.IMWRITE_JPEG_RST_INTERVAL, 4, cv2.IMWRITE_JPEG_OPTIMIZE, 1)


def _pngs(face: Image.Image) -> Iterator[bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    for mode in ("RGB", "L", "LA", "1", "P"):
        yield _saved(face.convert(mode), "PNG")
    yield _saved(_with_alpha(face), "PNG", exif=exif)
    yield _saved(face.quantize(16), "PNG", transparency=0, bits=4)
    yield _saved(face, "PNG", save_all=True, append_images=[face.rotate(90)])
    yield _encoded(".png", _pixels(face).astype(np.uint16) * 257)
    yield _encoded(".png", _pixels(face)[..., 0].astype(np.uint16) * 257)
    yield _interlaced(np.asarray(face))


def _webps(face: Image.Image) -> Iterator[bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 8
    yield _saved(face, "WEBP", quality=80)
    yield _saved(face, "WEBP", lossless=True)
    yield _saved(_with_alpha(face), "WEBP")
    yield _saved(_with_alpha(face), "WEBP", lossless=True, exif=exif)
    yield _saved(face, "WEBP", save_all=True, append_images=[face.rotate(90)], duration=100)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _encoded(suffix: str, pixels: "Pixels | np.ndarray[Any, np.dtype[np.uint16]]", *options: int) -> bytes:
    return cv2.imencode(suffix, pixels, list(options))[1].tobytes()


def _pixels(face: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(face)[..., ::-1])


def _with_alpha(face: Image.Image) -> Image.Image:
    alpha = Image.linear_gradient("L").resize(face.size)
    return Image.merge("RGBA", [*face.split(), alpha])


def _interlaced(pixels: Pixels) -> bytes:
    """Encode an RGB picture as an interlaced PNG, which none of the libraries can write."""
    height, width = pixels.shape[:2]
    passes = (pixels[row::down, column::across] for row, column, down, across in _ADAM7)
    rows = b"".join(b"\0" + row.tobytes() for one in passes if one.size for row in one)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Encode a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
