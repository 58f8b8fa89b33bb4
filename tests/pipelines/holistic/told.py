"""A net that says what it was told to, for tests of those who ask."""

from typing import Any

import numpy as np

from faceattr_aio.pipelines.imaging import Floats, Pixels


class Told:
    """Takes side x side pixels and always gives the same outputs; counts how often it was asked."""

    def __init__(self, side: int, *outputs: Any) -> None:
        self.side = side
        self.asked = 0
        self._outputs = tuple(np.array(output, np.float32) for output in outputs)

    def run(self, pixels: Pixels) -> tuple[Floats, ...]:
        assert pixels.shape == (self.side, self.side, 3)
        self.asked += 1
        return self._outputs
