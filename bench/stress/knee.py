"""Where more users bring no more: the Universal Scalability Law fitted to throughput, with how sure that is; and where
the 99th percentile passes a bound. Knows no service.

X(N) = a N / (1 + b (N - 1) + c N (N - 1)): `a` is what one user gets, `b` what users wait for each other, `c` what it
costs to keep them apart (Gunther, 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

NEAR = 0.9
"""The knee is where the fitted curve has so much of its highest."""
ROUNDS = 200
CONFIDENCE = 0.9
LEAST_POINTS = 4
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """The coefficients."""

    a: float
    b: float
    c: float

    def __call__(self, users: Points | float) -> Points:
        return _law(np.asarray(users, float), self.a, self.b, self.c)


@dataclass(frozen=True)
class Knee:
    """Users at the knee, the interval that holds it with 90 % by bootstrap, and the throughput of the fit there."""

    law: Law
    users: float
    low: float
    high: float
    throughput: float


def _law(users: Points, a: float, b: float, c: float) -> Points:
    return a * users / (1 + b * (users - 1) + c * users * (users - 1))


def fit(users: Sequence[float], throughput: Sequence[float], near: Law | None = None) -> Law:
    """By least squares, with coefficients of zero or more; it is found sooner `near` another. Raises ValueError when
    there are too few points, or none fits.
    """
    if len(set(users)) < LEAST_POINTS:
        raise ValueError(f"The knee takes {LEAST_POINTS} levels of load at least.")
    x, y = np.asarray(users, float), np.asarray(throughput, float)
    begin = (near.a, near.b, near.c) if near else (max(float((y / x).max()), 1e-9), 0.01, 1e-4)
    try:
        found, _ = curve_fit(_law, x, y, p0=begin, bounds=(0, (np.inf, np.inf, np.inf)), max_nfev=5000)
    except (RuntimeError, OptimizeWarning) as error:
        raise ValueError("No curve fits what was measured.") from error
    return Law(*map(float, found))


def find_knee(users: Sequence[float], throughput: Sequence[float], seed: int = 1) -> Knee:
    """Within the levels that were measured. Raises ValueError."""
    law = fit(users, throughput)
    x, y = np.asarray(users, float), np.asarray(throughput, float)
    residuals, random, knees = y - law(x), np.random.default_rng(seed), []
    for _ in range(ROUNDS):
        again = np.clip(law(x) + random.choice(residuals, len(x)), 0, None)
        knees.append(_near_top(fit(users, list(again), law), x.max()))
    low, high = np.quantile(knees, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    at = _near_top(law, x.max())
    return Knee(law, at, float(low), float(high), float(law(at)))


def _near_top(law: Law, most: float) -> float:
    """The fewest users with nearly the highest throughput that any number up to `most` has."""
    users = np.linspace(1, most, max(2, round(most * 4)))
    curve = law(users)
    return float(users[np.argmax(curve >= NEAR * curve.max())])


def crossing(users: Sequence[float], values: Sequence[float], bound: float) -> float | None:
    """Where a line through the points first passes `bound`; None if it never does."""
    previous: tuple[float, float] | None = None
    for x, y in zip(users, values, strict=True):
        if y > bound:
            if previous is None:
                return x
            left, below = previous
            return left + (x - left) * (bound - below) / (y - below)
        previous = (x, y)
    return None
