"""How sure an age estimate may be: softens a distribution that is too sure of itself, and gives the interval that
contains the true age four times in five. The constants are fitted by bench.calibrate; see models/README.md.
"""

import tomllib
from dataclasses import dataclass
from importlib import resources

import numpy as np

from faceattr_aio.pipelines.imaging import Floats

OLDEST = 80
"""The last class of the age net, which stands for all that are older."""
AGES: Floats = np.array([0.25, *range(1, OLDEST + 1)])
"""What each of its 81 classes stands for, in years."""


@dataclass(frozen=True)
class Calibration:
    """`temperature` divides the logits. At an estimate of `ages[i]` years, the true age lies between `low[i]` and
    `high[i]` years from it in 80 % of the faces; linear in between.
    """

    temperature: float
    ages: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def soften(self, probabilities: Floats) -> Floats:
        """The distribution at the temperature, along the last axis."""
        logits = np.log(np.maximum(probabilities, 1e-9)) / self.temperature
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def interval(self, years: float) -> tuple[int, int]:
        """The 80 % interval around an estimate, in whole years within 0 to 80."""
        low = years + float(np.interp(years, self.ages, self.low))
        high = years + float(np.interp(years, self.ages, self.high))
        return max(0, round(low)), min(OLDEST, round(high))


def load_calibration(name: str) -> Calibration:
    """The constants that lie beside a model as `NAME.toml`."""
    text = resources.files("faceattr_aio.pipelines.faces").joinpath(f"{name}.toml").read_text()
    values = tomllib.loads(text)
    return Calibration(values["temperature"], tuple(values["ages"]), tuple(values["low"]), tuple(values["high"]))
