"""Finds the knee, the number of users from which more users bring almost no more throughput, by fitting the Universal
Scalability Law, with a confidence interval; and the number at which the 99th percentile passes a limit.

X(N) = a N / (1 + b (N - 1) + c N (N - 1)): `a` is the throughput of one user, `b` the contention and `c` the coherence
between users (Gunther, 2007).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

NEAR = 0.9
"""The knee is where the fitted curve reaches this share of its maximum."""
ROUNDS = 200
CONFIDENCE = 0.9
LEAST_POINTS = 4
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """The coefficients of the law."""

    a: float
    b: float
    c: float

    def __call__(self, users: Points | float) -> Points:
        return _law(np.asarray(users, float), self.a, self.b, self.c)


@dataclass(frozen=True)
class Knee:
    """Users at the knee, its interval of 90 % confidence by bootstrap, and the fitted throughput at the knee."""

    law: Law
    users: float
    low: float
    high: float
    throughput: float


def _law(users: Points, a: float, b: float, c: float) -> Points:
    return a * users / (1 + b * (users - 1) + c * users * (users - 1))


def fit(users: Sequence[float], throughput: Sequence[float], near: Law | None = None) -> Law:
    """Fit by least squares, with coefficients of zero or more, starting from `near` if it is given. Raises ValueError
    if there are too few points or the fit fails.
    """
    if len(set(users)) < LEAST_POINTS:
        raise ValueError(f"Too few levels of load: the knee needs {LEAST_POINTS} levels.")
    x, y = np.asarray(users, float), np.asarray(throughput, float)
    begin = (near.a, near.b, near.c) if near else (max(float((y / x).max()), 1e-9), 0.01, 1e-4)
    try:
        found, _ = curve_fit(_law, x, y, p0=begin, bounds=(0, (np.inf, np.inf, np.inf)), max_nfev=5000)
    except (RuntimeError, OptimizeWarning) as error:
        raise ValueError("No curve fits the measurements.") from error
    return Law(*map(float, found))


def find_knee(users: Sequence[float], throughput: Sequence[float], seed: int = 1) -> Knee:
    """Find the knee within the measured levels. Raises ValueError."""
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
    """The fewest users with almost the maximum throughput of all numbers up to `most`."""
    users = np.linspace(1, most, max(2, round(most * 4)))
    curve = law(users)
    return float(users[np.argmax(curve >= NEAR * curve.max())])


def crossing(users: Sequence[float], values: Sequence[float], bound: float) -> float | None:
    """The first x at which a line through the points exceeds `bound`; None if there is none."""
    previous: tuple[float, float] | None = None
    for x, y in zip(users, values, strict=True):
        if y > bound:
            if previous is None:
                return x
            left, below = previous
            return left + (x - left) * (bound - below) / (y - below)
        previous = (x, y)
    return None
