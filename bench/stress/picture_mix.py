"""The pictures of capacity planning: those of a folder, or one portrait in four sizes, with their weights."""

from collections.abc import Iterator
from pathlib import Path

import cv2

from bench.load.overload import PICTURE
from bench.stress.model import Picture

SIDES = {512: 0.6, 1024: 0.25, 2048: 0.1, 4096: 0.05}
"""Pixels of a side, and the share of pictures with this size."""
MOST = 12
_QUALITY = 90
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}

PictureMix = list[tuple[Picture, bytes]]


def scaled_portraits() -> PictureMix:
    """The portrait of the documentation, enlarged."""
    portrait = cv2.imread(str(PICTURE))
    assert portrait is not None
    mix = []
    for side, share in SIDES.items():
        pixels = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
        body = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        mix.append((Picture(f"{side} x {side}", len(body), side**2 / 1e6, share), body))
    return mix


def portrait() -> PictureMix:
    """The portrait at its own size."""
    return list(_read([PICTURE]))


def read_folder(folder: Path) -> PictureMix:
    """The first dozen pictures by name, with equal weights. Raises ValueError if there is no picture."""
    mix = list(_read(sorted(file for file in folder.iterdir() if file.suffix.lower() in _ENDINGS)[:MOST]))
    if not mix:
        raise ValueError(f"{folder} contains no JPEG, PNG or WebP.")
    return mix


def _read(files: list[Path]) -> Iterator[tuple[Picture, bytes]]:
    for file in files:
        pixels = cv2.imread(str(file))
        if pixels is None:
            raise ValueError(f"{file} is not a picture.")
        body = file.read_bytes()
        yield Picture(file.name, len(body), pixels.shape[0] * pixels.shape[1] / 1e6), body
