"""A net that draws: a picture in, one of the same size out. Pads by reflection to the sides that the net can halve, so
that it sees nothing new at the edge. Knows no file and no style.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import cv2
import numpy as np

from faceattr_aio.errors import TooManyPixels
from faceattr_aio.pipelines.imaging import Floats, Pixels

_STEP = 32
"""Sides of what the nets are made for are multiples of it."""
_HALF = 127.5


class Network(Protocol):
    """A loaded generator. Not safe for threads."""

    def run(self, picture: Floats) -> Floats:
        """Height x width x 3 in the order red, green, blue, from -1 to 1; both sides are multiples of 32."""


def convert(network: Network, pixels: Pixels) -> Pixels:
    """The picture as the net draws it. Raises TooManyPixels when a worker's memory does not hold that."""
    height, width = pixels.shape[:2]
    with _bounded_memory():
        padded = cv2.copyMakeBorder(pixels, 0, -height % _STEP, 0, -width % _STEP, cv2.BORDER_REFLECT_101)
        drawn = network.run(padded[..., ::-1].astype(np.float32) / _HALF - 1)[:height, :width, ::-1]
        return np.asarray(((drawn + 1) * _HALF).clip(0, 255).round(), np.uint8)


@contextmanager
def _bounded_memory() -> Iterator[None]:
    said = "To draw the picture takes more memory than is set aside for one: ask for a smaller max_side."
    try:
        yield
    except MemoryError as error:
        raise TooManyPixels.from_exception(error, said) from error
    except cv2.error as error:
        if error.code != cv2.Error.StsNoMem:
            raise
        raise TooManyPixels.from_exception(error, said) from error
