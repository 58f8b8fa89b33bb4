"""Reads the measurements.json of a stress test as observations of one instance."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from bench.stress.model import Observed, Picture
from bench.stress.usl import Usl, fit_usl

_PERCENTS = (0, 50, 95, 99, 100)
_DRAWN = np.arange(0.5, 100)

Steps = Sequence[dict[str, Any]]


def newest(reports: Path) -> Path | None:
    """The latest measurements in a folder of reports."""
    return max(reports.glob("*/measurements.json"), default=None)


def read(path: Path) -> tuple[Observed, Usl]:
    """Read the first run: the observations of one instance, and the curve of goodput over users.

    Only the bytes of the pictures are known, not their pixels. Raises OSError, or ValueError if the run has too few
    figures.
    """
    document = json.loads(path.read_text())
    steps: Steps = [step for step in document["runs"][0]["steps"] if step["goodput_per_s"] > 0]
    watched = [step for step in steps if step.get("usage")]
    quiet = min(steps, key=lambda step: int(step["users"]), default=None)
    if quiet is None or not watched:
        raise ValueError(f"{path}: no step has both answers and the server's usage.")
    accept_s, refuse_s = _loop_s(watched)
    seen = {one["name"]: one["bytes"] for one in document["pictures"] if one["name"] in quiet["by_picture"]}
    if not seen:
        raise ValueError(f"{path}: the step with the fewest users has no figures of single pictures.")
    services = tuple(_spread(quiet["by_picture"][name], accept_s) for name in seen)
    pictures = tuple(Picture(name, size, 0.0) for name, size in seen.items())
    observed = Observed(pictures, services, accept_s, refuse_s, handover_s=0.0, round_trip_s=0.0)
    return observed, fit_usl([(step["users"], step["goodput_per_s"]) for step in steps])


def _loop_s(steps: Steps) -> tuple[float, float]:
    """CPU seconds of the server's own process for each answer and each refusal, by least squares."""
    requests = np.array([(step["goodput_per_s"], step["refused_per_s"]) for step in steps])
    accept_s, refuse_s = nnls(requests, np.array([step["usage"]["cpu_server"] for step in steps]))[0].tolist()
    return accept_s, refuse_s


def _spread(waits: dict[str, float], accept_s: float) -> tuple[float, ...]:
    """A hundred service times in seconds, with the mean and the percentiles of a picture's answers."""
    middle, late, last = (waits[f"p{percent}_ms"] / 1e3 for percent in (50, 95, 99))
    drawn = np.interp(_DRAWN, _PERCENTS, (min(middle, 2 * middle - late), middle, late, last, last))
    drawn *= waits["mean_ms"] / 1e3 / drawn.mean()
    return tuple(np.maximum(drawn - accept_s, 1e-4).tolist())
