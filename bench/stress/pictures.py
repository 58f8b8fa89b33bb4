"""The pictures that are sent: all of a folder, or one portrait in several sizes. Knows not how they are sent."""

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
"""For requests that need none."""


def make_folder(folder: Path, sides: Sequence[int] = SIDES) -> Path:
    """Fills it with a portrait of so many pixels a side; gives it back."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    for side in sides:
        scaled = cv2.resize(portrait, (side, side), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"portrait-{side}.jpg"), scaled)
    return folder


def read_folder(folder: Path) -> list[Picture]:
    """Raises ValueError when there are none."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise ValueError(f"There is no picture in {folder}: put files ending in {', '.join(sorted(SUFFIXES))} there.")
    return [Picture(file.name, file.read_bytes()) for file in files]


def draw(pictures: Sequence[Picture]) -> Picture:
    return random.choice(pictures)
