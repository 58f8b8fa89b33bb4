"""The pictures that are sent: those of a folder, or one portrait in four sizes. Knows no server."""

from collections.abc import Iterator
from pathlib import Path

import cv2

from bench.load.overload import PICTURE
from bench.stress.model import Picture

SIDES = {512: 0.6, 1024: 0.25, 2048: 0.1, 4096: 0.05}
"""Pixels of a side, and how often such a picture is sent."""
MOST = 12
_QUALITY = 90
_ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}

Album = list[tuple[Picture, bytes]]


def made() -> Album:
    """The portrait of the documentation, enlarged."""
    portrait = cv2.imread(str(PICTURE))
    assert portrait is not None
    album = []
    for side, share in SIDES.items():
        pixels = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_CUBIC)
        body = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        album.append((Picture(f"{side} x {side}", len(body), side**2 / 1e6, share), body))
    return album


def portrait() -> Album:
    """The portrait as it is."""
    return list(_read([PICTURE]))


def of_folder(folder: Path) -> Album:
    """The first dozen by name, each as likely. Raises ValueError when there is no picture."""
    album = list(_read(sorted(file for file in folder.iterdir() if file.suffix.lower() in _ENDINGS)[:MOST]))
    if not album:
        raise ValueError(f"There is no JPEG, PNG or WebP in {folder}.")
    return album


def _read(files: list[Path]) -> Iterator[tuple[Picture, bytes]]:
    for file in files:
        pixels = cv2.imread(str(file))
        if pixels is None:
            raise ValueError(f"{file} is no picture.")
        body = file.read_bytes()
        yield Picture(file.name, len(body), pixels.shape[0] * pixels.shape[1] / 1e6), body
