"""How old a face looks: years, an interval, and one of eight brackets. Knows no particular net."""

from typing import Any

import numpy as np

from faceattr_aio.pipelines.faces import UNKNOWN
from faceattr_aio.pipelines.faces.calibration import AGES, Calibration
from faceattr_aio.pipelines.faces.network import SoftmaxNet
from faceattr_aio.pipelines.imaging import Floats, Pixels

BRACKETS = ((0, 2), (4, 6), (8, 12), (15, 20), (25, 32), (38, 43), (48, 53), (60, 100))
"""Of the Adience benchmark (Levi and Hassner, 2015). They leave gaps: what falls into one is shared out by
renormalising over the eight."""
_TAIL = 0.1


class AgeInYears:
    """For a net with a class for each year. Years are the expectation of its raw distribution; interval and bracket
    come from the calibrated one. Under `threshold` the bracket is `unknown`.
    """

    def __init__(self, name: str, net: SoftmaxNet, chip_side: int, calibration: Calibration, threshold: float) -> None:
        self.name = name
        self.chip_side = chip_side
        self._net, self._calibration, self._threshold = net, calibration, threshold

    def classify(self, chip: Pixels) -> dict[str, Any]:
        """Years, interval, bracket and the bracket's probability."""
        raw = self._net.probabilities(chip)
        years = float(raw @ AGES)
        masses = bracket_masses(self._calibration.soften(raw))
        interval = list(self._calibration.interval(years))
        return {"years": round(years, 1), "interval": interval} | name_bracket(masses, self._threshold)


class AgeInBrackets:
    """For a net with a class for each bracket. Years are the expectation over the brackets' middles, the interval spans
    the brackets that hold the middle 80 % of the probability.
    """

    def __init__(self, name: str, net: SoftmaxNet, chip_side: int, threshold: float) -> None:
        self.name = name
        self.chip_side = chip_side
        self._net, self._threshold = net, threshold

    def classify(self, chip: Pixels) -> dict[str, Any]:
        """Years, interval, bracket and the bracket's probability."""
        masses = self._net.probabilities(chip)
        years = float(masses @ np.mean(BRACKETS, axis=1))
        low, high = np.searchsorted(masses.cumsum(), (_TAIL, 1 - _TAIL)).clip(0, len(BRACKETS) - 1)
        interval = [BRACKETS[low][0], BRACKETS[high][1]]
        return {"years": round(years, 1), "interval": interval} | name_bracket(masses, self._threshold)


def bracket_masses(probabilities: Floats) -> Floats:
    """The probability of each of the eight brackets, from that of each class of AGES."""
    whole = np.floor(AGES)
    masses = np.array([probabilities[(whole >= low) & (whole <= high)].sum() for low, high in BRACKETS])
    return np.asarray(masses / max(masses.sum(), np.finfo(np.float32).tiny))


def name_bracket(masses: Floats, threshold: float) -> dict[str, Any]:
    """The likeliest bracket and its probability; `unknown` when that is under the threshold."""
    best = int(masses.argmax())
    low, high = BRACKETS[best]
    probability = round(float(masses[best]), 3)
    return {"bracket": f"{low}-{high}" if probability >= threshold else UNKNOWN, "probability": probability}
