"""A network with fixed outputs, for tests of the code that runs networks."""

from typing import Any

import numpy as np

from faceattr_aio.pipelines.imaging import Floats
from faceattr_aio.pipelines.nets import Values


class FakeNetwork:
    """Returns the same outputs for every input and counts its runs. With a `side` it takes Pixels of that size only."""

    def __init__(self, *outputs: Any, side: int | None = None) -> None:
        self.runs = 0
        self._outputs = tuple(np.array(output, np.float32) for output in outputs)
        self._side = side

    def run(self, values: Values) -> tuple[Floats, ...]:
        assert self._side is None or values.shape == (self._side, self._side, 3)
        self.runs += 1
        return self._outputs
