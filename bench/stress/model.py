"""The model of one instance, fitted to observations: seconds of work by size of the picture, CPU of the event loop for
an answer and for a refusal, and the loss from workers that share a machine.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from bench.stress.usl import Point, Usl, fit_usl

_QUANTILES = np.arange(0.5, 100)


@dataclass(frozen=True)
class Picture:
    """A picture of the mix; `share` is its weight."""

    name: str
    bytes: int
    megapixels: float
    share: float = 1.0


@dataclass(frozen=True)
class Service:
    """Seconds of a worker: a mean by the size of the picture, times one of the ratios, each equally likely."""

    fixed_s: float
    per_megapixel_s: float
    per_megabyte_s: float
    ratios: tuple[float, ...] = (1.0,)

    def mean_s(self, picture: Picture) -> float:
        return self.fixed_s + self.per_megapixel_s * picture.megapixels + self.per_megabyte_s * picture.bytes / 1e6


@dataclass(frozen=True)
class Observed:
    """Observations of one instance with one worker on one core, in seconds.

    `services`: seconds of each picture in the worker, one at a time. `accept_s` and `refuse_s`: CPU seconds of the
    event loop for each answer and each refusal, under load. `handover_s`: additional time of a busy worker between two
    pictures. `round_trip_s`: time on the network and in the client.
    """

    pictures: tuple[Picture, ...]
    services: tuple[tuple[float, ...], ...]
    accept_s: float
    refuse_s: float
    handover_s: float
    round_trip_s: float


@dataclass(frozen=True)
class Model:
    """One instance, ready for simulation."""

    pictures: tuple[Picture, ...]
    service: Service
    accept_s: float
    refuse_s: float
    round_trip_s: float
    cores: Usl

    @property
    def mean_s(self) -> float:
        """Mean seconds of work for a picture of the mix."""
        return float(np.average([self.service.mean_s(one) for one in self.pictures], weights=self._shares))

    @property
    def mean_bytes(self) -> float:
        return float(np.average([one.bytes for one in self.pictures], weights=self._shares))

    def rate(self, workers: int) -> float:
        """Pictures a second of an instance with as many cores as workers, if no request is refused."""
        return workers / (self.mean_s / self.cores.efficiency(workers) + self.accept_s)

    @property
    def _shares(self) -> list[float]:
        return [one.share for one in self.pictures]


def fit(observed: Observed, by_cores: Sequence[Point] = ()) -> Model:
    """Fit the model. `by_cores`: pictures a second by number of cores; without it cores are assumed independent."""
    cores = fit_usl(by_cores or [(1, 1.0)])
    service = fit_service(observed.pictures, observed.services, observed.handover_s)
    return Model(observed.pictures, service, observed.accept_s, observed.refuse_s, observed.round_trip_s, cores)


def fit_service(pictures: Sequence[Picture], services: Sequence[Sequence[float]], handover_s: float = 0.0) -> Service:
    """Fit the means by non-negative least squares, with equal weight for relative errors of small and large pictures;
    the ratios are those of all pictures to their fitted means.
    """
    sizes = np.array([(1.0, one.megapixels, one.bytes / 1e6) for one in pictures])
    means = np.array([np.mean(seconds) for seconds in services]) + handover_s
    found, _ = nnls(sizes / means[:, None], np.ones(len(means)))
    fitted = sizes @ found
    ratios = np.concatenate([(np.array(one) + handover_s) / mean for one, mean in zip(services, fitted, strict=True)])
    fixed_s, per_megapixel_s, per_megabyte_s = found.tolist()
    return Service(fixed_s, per_megapixel_s, per_megabyte_s, tuple(np.percentile(ratios, _QUANTILES).tolist()))


def save(model: Model, path: Path) -> None:
    path.write_text(json.dumps(asdict(model), indent=1) + "\n")


def load(path: Path) -> Model:
    """Load a model. Raises OSError, ValueError, KeyError or TypeError if `save` did not write the file."""
    values: dict[str, Any] = json.loads(path.read_text())
    pictures = tuple(Picture(**one) for one in values.pop("pictures"))
    service = values.pop("service")
    ratios = tuple(service.pop("ratios"))
    return Model(pictures, Service(**service, ratios=ratios), cores=Usl(**values.pop("cores")), **values)
