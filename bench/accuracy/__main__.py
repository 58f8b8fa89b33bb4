"""Accuracy on labelled faces: the share of faces that are found, and the errors of gender, age and their probabilities.

python -m bench.accuracy FOLDER [--detector blazeface|yunet|ssd] [--backend cv2|openvino]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.accuracy.calibrate import bracket_of, fit_intervals
from bench.support.labelled import Estimates, Truth, estimate, read_labels
from faceattr_aio.pipelines.faces.attributes import bracket_masses, load_calibration

Numbers = npt.NDArray[np.integer[Any]]

GROUPS = ((0, 5), (5, 15), (15, 25), (25, 35), (35, 45), (45, 60), (60, 81))
ADULT = 15
FOLDS, ROUNDS = 5, 10


def mean_error(estimates: Estimates) -> float:
    """Mean absolute error of the age, in years."""
    return float(np.abs(estimates.years - estimates.true_ages).mean())


def gender_right(estimates: Estimates, from_age: float = 0) -> float:
    """Share of faces with the correct gender, from an age on; the likelier gender counts, whatever its probability."""
    likelier = np.where(estimates.female >= 0.5, "female", "male")  # noqa: PLR2004  # the likelier of two
    right = np.array([truth.gender == one for truth, one in zip(estimates.truths, likelier, strict=True)])
    return float(right[estimates.true_ages >= from_age].mean())


def intervals(estimates: Estimates) -> tuple[float, float]:
    """Share of true ages within their interval, and its mean width in years. Cross-validated: each face is judged by
    constants that were fitted without it.
    """
    held, widths = zip(*_cross_validated(estimates), strict=True)
    return float(np.mean(held)), float(np.mean(widths))


def _cross_validated(estimates: Estimates) -> Iterator[tuple[bool, int]]:
    random = np.random.default_rng(0)
    for _ in range(ROUNDS):
        order = random.permutation(len(estimates.truths))
        for fold in range(FOLDS):
            judged, learnt = order[fold::FOLDS], np.delete(order, np.s_[fold::FOLDS])
            calibration, part = fit_intervals(_part(estimates, learnt)), _part(estimates, judged)
            for years, age in zip(part.years, part.true_ages, strict=True):
                low, high = calibration.interval(years)
                yield bool(low <= age <= high), high - low


def _part(estimates: Estimates, chosen: Numbers) -> Estimates:
    return Estimates([estimates.truths[i] for i in chosen], estimates.ages[chosen], estimates.female[chosen])


def brackets(estimates: Estimates) -> tuple[float, float]:
    """Share of correct brackets among the faces with an age in a bracket, and the mean probability of the estimated
    bracket. Uses the constants of the package, of which only the temperature matters here.
    """
    masses = [bracket_masses(soft) for soft in load_calibration("age-v1").soften(estimates.ages)]
    judged = [
        (one, bracket)
        for one, age in zip(masses, estimates.true_ages, strict=True)
        if (bracket := bracket_of(age)) is not None
    ]
    right = [one.argmax() == bracket for one, bracket in judged]
    return float(np.mean(right)), float(np.mean([one.max() for one, _ in judged]))


def report(truths: list[Truth], estimates: Estimates) -> Iterator[str]:
    """The figures, one in each line."""
    held, width = intervals(estimates)
    right, sure = brackets(estimates)
    yield f"found                       {len(estimates.truths) / len(truths):6.1%} of {len(truths)}"
    yield f"mean absolute age error     {mean_error(estimates):6.2f} years"
    yield f"gender correct, all ages     {gender_right(estimates):6.1%}"
    yield f"gender correct, from age 15  {gender_right(estimates, ADULT):6.1%}"
    yield f"true age within interval    {held:6.1%} (cross-validated; target: 80 %)"
    yield f"width of the interval       {width:6.1f} years on average"
    yield f"bracket correct              {right:6.1%} at a mean probability of {sure:.2f}"
    yield ""
    yield "age      faces  age error  gender correct"
    for low, high in GROUPS:
        (chosen,) = np.nonzero((estimates.true_ages >= low) & (estimates.true_ages < high))
        part = _part(estimates, chosen)
        yield f"{low:2}-{high - 1:2}    {len(chosen):6}  {mean_error(part):9.1f}  {gender_right(part):12.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy on labelled faces.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="blazeface", choices=["blazeface", "yunet", "ssd"])
    parser.add_argument("--backend", default="cv2", choices=["cv2", "openvino"])
    arguments = parser.parse_args()
    truths = read_labels(arguments.folder)
    print("\n".join(report(truths, estimate(truths, arguments.detector, backend=arguments.backend))))


if __name__ == "__main__":
    main()
