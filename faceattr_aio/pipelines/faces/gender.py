"""Whether a face looks female or male, or neither surely enough. Knows no particular net."""

from typing import Any

from faceattr_aio.pipelines.faces import UNKNOWN
from faceattr_aio.pipelines.faces.network import SoftmaxNet
from faceattr_aio.pipelines.imaging import Pixels


class Gender:
    """`female` is the number of that class in the net's two; under `threshold` the label is `unknown`."""

    def __init__(self, name: str, net: SoftmaxNet, chip_side: int, female: int, threshold: float) -> None:
        self.name = name
        self.chip_side = chip_side
        self._net, self._female, self._threshold = net, female, threshold

    def classify(self, chip: Pixels) -> dict[str, Any]:
        """Label and probability."""
        return name_gender(float(self._net.probabilities(chip)[self._female]), self._threshold)


def name_gender(female: float, threshold: float) -> dict[str, Any]:
    """The likelier gender and its probability; `unknown` when that is under the threshold."""
    label, probability = max(("female", female), ("male", 1 - female), key=lambda one: one[1])
    return {"label": label if probability >= threshold else UNKNOWN, "probability": round(probability, 3)}
