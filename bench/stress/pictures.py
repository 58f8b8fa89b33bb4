"""The pictures of a stress test: all of a folder, or one portrait in several sizes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from bench.support.served import ROOT

PORTRAIT = ROOT / "docs" / "astronaut.jpg"
SIDES, SIDE = (320, 512, 1024, 2048), 512
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Picture:
    name: str
    data: bytes


NO_PICTURE = Picture("", b"")
"""For requests without a picture."""


def make_folder(folder: Path, sides: Sequence[int] = SIDES) -> Path:
    """Write a portrait with each of these sides, in pixels, into the folder. Return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    for side in sides:
        scaled = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"portrait-{side}.jpg"), scaled)
    return folder


def read_folder(folder: Path) -> list[Picture]:
    """Read all pictures. Raises ValueError if there are none."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(
            f"There is no picture in {folder}: it needs files with a name ending in {', '.join(sorted(SUFFIXES))}."
        )
    return [Picture(file.name, file.read_bytes()) for file in files]


def draw(pictures: Sequence[Picture]) -> Picture:
    return random.choice(pictures)
