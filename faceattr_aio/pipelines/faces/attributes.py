"""Gender and age of a face that was found: the interface of every classifier, and the chip that it looks at.
Knows nothing of how faces are found.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import cv2
import numpy as np

from faceattr_aio.pipelines.faces import Attribute
from faceattr_aio.pipelines.faces.detector import Detection
from faceattr_aio.pipelines.imaging import Floats, Pixels

_EYES = np.array([[0.2273, 0.2214], [0.7528, 0.2212]])
"""Where dlib's mean face has its eyes, as shares of the face square."""
_PADDING = 0.2
"""On each side of the face square, as a share of it: as dlib cuts the chips that its nets were trained on."""
_BOX_SHARE, _BOX_MIDDLE = 0.64, 0.58
"""Side of the face square and height of its middle, as shares of the height of a res10 box, from hair to chin: medians
over labelled faces whose eyes another detector had found."""


class Classifier(Protocol):
    """Says one thing about a face. Not safe for threads."""

    name: str
    chip_side: int

    def classify(self, chip: Pixels) -> dict[str, Any]:
        """The attribute as plain data, from a chip of `chip_side` pixels a side."""


class Attributes:
    """The classifiers by the attribute they tell, in the order of the answer."""

    def __init__(self, classifiers: Mapping[Attribute, Classifier]) -> None:
        self._classifiers = classifiers

    def names(self, wanted: tuple[Attribute, ...]) -> dict[str, str]:
        """Which model tells what."""
        return {attribute: self._classifiers[attribute].name for attribute in sorted(set(wanted))}

    def classify(self, pixels: Pixels, face: Detection, wanted: tuple[Attribute, ...]) -> dict[str, Any]:
        """The wanted attributes of one face."""
        asked = {name: one for name, one in self._classifiers.items() if name in wanted}
        chips = {side: cut_chip(pixels, face, side) for side in {one.chip_side for one in asked.values()}}
        return {name: one.classify(chips[one.chip_side]) for name, one in asked.items()}


def cut_chip(pixels: Pixels, face: Detection, side: int) -> Pixels:
    """The face turned upright and scaled to side x side pixels, with a fifth of padding around it."""
    turn = _by_box(face.box, side) if face.landmarks is None else _by_eyes(face.landmarks[:2], side)
    chip = cv2.warpAffine(pixels, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, np.uint8)


def _by_eyes(eyes: Floats, side: int) -> Floats:
    """The similarity transform (2 x 3) that takes the eyes to where they belong; a complex number turns and scales."""
    place = _placed(_EYES, side)
    (from_left, from_right), (to_left, to_right) = eyes @ (1, 1j), place @ (1, 1j)
    turn = (to_right - to_left) / ((from_right - from_left) or 1)
    move = to_left - turn * from_left
    return np.array([[turn.real, -turn.imag, move.real], [turn.imag, turn.real, move.imag]])


def _by_box(box: Floats, side: int) -> Floats:
    """The scaling (2 x 3) that takes what the box holds to the face square, for faces without landmarks."""
    x, y, width, height = box
    centre = np.array([x + width / 2, y + height * _BOX_MIDDLE])
    scale = side / (1 + 2 * _PADDING) / max(height * _BOX_SHARE, 1.0)
    return np.column_stack([np.eye(2) * scale, side / 2 - centre * scale])


def _placed(points: Floats, side: int) -> Floats:
    return (_PADDING + points) / (1 + 2 * _PADDING) * side
