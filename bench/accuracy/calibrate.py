"""Fits the constants of age intervals and bracket probabilities, and writes them next to the age model.

    python -m bench.calibrate FOLDER [--write faceattr_aio/pipelines/faces/age-v1.toml]

The temperature is the one with the greatest likelihood of the true brackets. The interval is conformal and depends on
the estimated age: at each of a few ages, the tenth and the ninetieth percentile of the error among faces with a similar
estimate.
"""

import argparse
from pathlib import Path

import numpy as np

from bench.support.labelled import Estimates, estimate, read_labels
from faceattr_aio.pipelines.faces.attributes import BRACKETS, Calibration, bracket_masses
from faceattr_aio.pipelines.imaging import Floats

KNOTS = (0.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 75.0)
TEMPERATURES = np.arange(1.0, 4.01, 0.25)
_TAIL = 0.1
_NEAR, _NEARER = 3.0, 0.15
"""Width of the Gaussian kernel that weights faces by their estimate: 3 years + 15 % of the age."""


def bracket_of(age: float) -> int | None:
    """The number of the bracket of an age; None in a gap."""
    return next((i for i, (low, high) in enumerate(BRACKETS) if low <= age <= high), None)


def fit_temperature(estimates: Estimates) -> float:
    """The temperature with the least mean negative log-likelihood of the true bracket."""
    true = [(i, bracket) for i, age in enumerate(estimates.true_ages) if (bracket := bracket_of(age)) is not None]

    def loss(temperature: float) -> float:
        soft = Calibration(temperature, (0.0,), (0.0,), (0.0,)).soften(estimates.ages)
        return -float(np.mean([np.log(bracket_masses(soft[i])[bracket] + 1e-9) for i, bracket in true]))

    return float(min(TEMPERATURES, key=loss))


def fit_interval(years: Floats, errors: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The offsets at each knot, from estimates and their errors (truth minus estimate), both of n faces."""
    order = np.argsort(errors)
    low, high = [], []
    for knot in KNOTS:
        weights = np.exp(-0.5 * ((years[order] - knot) / (_NEAR + _NEARER * knot)) ** 2)
        share = weights.cumsum() / weights.sum()
        first, last = np.searchsorted(share, (_TAIL, 1 - _TAIL)).clip(0, len(order) - 1)
        low.append(round(float(errors[order][first]), 1) + 0.0)
        high.append(round(float(errors[order][last]), 1))
    return tuple(low), tuple(high)


def fit_intervals(estimates: Estimates, temperature: float = 1.0) -> Calibration:
    """The calibration of the intervals of these faces, which do not depend on the temperature."""
    low, high = fit_interval(estimates.years, estimates.true_ages - estimates.years)
    return Calibration(temperature, KNOTS, low, high)


def fit(estimates: Estimates) -> Calibration:
    """The calibration of these faces."""
    return fit_intervals(estimates, fit_temperature(estimates))


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the calibration of the age model.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default="UTKFace, 200x200, padded by 60 pixels (research use only)", metavar="NAME")
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    estimates = estimate(read_labels(arguments.folder))
    text = as_toml(fit(estimates), len(estimates.truths), arguments.data)
    if arguments.write:
        arguments.write.write_text(text)
    print(text, end="")


def as_toml(calibration: Calibration, faces: int, data: str) -> str:
    """The calibration file, with the source of its numbers."""
    rows = {"ages": calibration.ages, "low": calibration.low, "high": calibration.high}
    return "\n".join(
        [
            f"# Fitted on {faces} labelled faces of {data} by",
            "#   python -m bench.calibrate FOLDER --write faceattr_aio/pipelines/faces/age-v1.toml",
            "# At an estimate of ages[i] years, 80 % of the true ages lie between low[i] and high[i] years from it.",
            "",
            f"temperature = {calibration.temperature}",
            *(f"{name} = {list(values)}" for name, values in rows.items()),
            "",
        ]
    )


if __name__ == "__main__":
    main()
