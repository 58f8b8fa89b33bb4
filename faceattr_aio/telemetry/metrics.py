"""Prometheus metrics from request records and readings. The values of every label come from a short list."""

import asyncio
import logging
import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from faceattr_aio.pipeline import Source
from faceattr_aio.telemetry.record import RequestRecord

log = logging.getLogger("faceattr_aio.metrics")

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which several processes add up their metrics."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of the semantic conventions of OpenTelemetry for HTTP."""
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"})
_PERIOD_S = 0.5

Info = Callable[[], Iterable[Mapping[str, str]]]


class Metrics:
    """All metrics of one app. Each name in `counts`, the counts of the pipelines, becomes `faceattr_NAME_total`.

    With a registry of the host, the host decides what else it contains and how it is exposed. Raises ValueError when
    the registry has these metrics already.
    """

    def __init__(self, counts: Iterable[str] = (), registry: CollectorRegistry | None = None) -> None:
        self._readings: list[Callable[[], None]] = []
        self._registry = self._exposed = CollectorRegistry() if registry is None else registry
        if registry is None and SHARED in os.environ:
            self._exposed = CollectorRegistry()
            MultiProcessCollector(self._exposed)  # type: ignore[no-untyped-call]  # the library has no annotation
        elif registry is None:
            ProcessCollector(registry=self._registry)
        counter, histogram = partial(Counter, registry=self._registry), partial(Histogram, registry=self._registry)
        self._requests = histogram(
            "http_server_request_duration_seconds",
            "Time from the first line of a request to the first byte of its response.",
            ("http_request_method", "http_route", "http_response_status_code", "error_type"),
            buckets=_SECONDS,
        )
        self._stages = histogram(
            "faceattr_stage_duration_seconds",
            "Time of the stages of a picture: upload, queue, and the stages of its pipeline.",
            ("pipeline", "stage"),
            buckets=_STAGE_SECONDS,
        )
        self._rejected = counter(
            "faceattr_requests_rejected", "Requests refused with a request to try again later.", ("reason",)
        )
        self.lag = histogram(
            "faceattr_event_loop_lag_seconds", "Delay of the event loop after a timer is due.", buckets=_LAG_SECONDS
        )
        self._pictures = counter("faceattr_pictures", "Pictures received.", ("pipeline",))
        self._cache = counter("faceattr_cache_results", "Results by source.", ("outcome",))
        for source in get_args(Source):
            self._cache.labels(source)
        self._counts = {name: counter(f"faceattr_{name}", f"Found in pictures: {name}.") for name in counts}

    def add(self, record: RequestRecord) -> None:
        """Count one request."""
        method = record.method if record.method in _METHODS else "_OTHER"
        self._requests.labels(method, record.route, str(record.status), record.kind).observe(record.seconds)
        if record.refused:
            self._rejected.labels(record.kind).inc()
        if not record.in_parts:
            self.add_work(record)

    def add_work(self, record: RequestRecord) -> None:
        """Count the pictures, stages, sources and findings of a request or of a part of it."""
        if record.pictures:
            self._pictures.labels(record.pipeline).inc(record.pictures)
        for timing in record.timings:
            for stage, ms in timing.items():
                self._stages.labels(record.pipeline, stage).observe(ms / 1e3)
        for source, number in record.sources.items():
            self._cache.labels(source).inc(number)
        for name, number in record.counts.items():
            self._counts[name].inc(number)

    def before_sample(self, act: Callable[[], None]) -> None:
        """Call `act` before readings are taken, and so before metrics are exposed."""
        self._readings.insert(0, act)

    def watch(
        self, name: str, text: str, read: Callable[[], float], of_several: Literal["livesum", "livemax"] = "livesum"
    ) -> None:
        """Add a gauge. For several processes it is the sum, or the maximum when all report the same value."""
        gauge = Gauge(name, text, registry=self._registry, multiprocess_mode=of_several)
        self._readings.append(lambda: gauge.set(read()))

    def watch_totals(
        self, name: str, text: str, label: str, values: Iterable[str], read: Callable[[], Mapping[str, float]]
    ) -> None:
        """Add counters with totals from `read`, by the values of one label; each starts at 0."""
        counter, last = Counter(name, text, (label,), registry=self._registry), dict[str, float]()
        for value in values:
            counter.labels(value)

        def sample() -> None:
            for value, total in read().items():
                counter.labels(value).inc(total - last.get(value, 0.0))
                last[value] = total

        self._readings.append(sample)

    def describe(self, name: str, text: str, read: Info) -> None:
        """Add a metric of constant 1 with labels from `read`; the same in every process."""
        self._exposed.register(_InfoCollector(name, text, read))

    def sample(self) -> None:
        """Take all readings. Raises ExceptionGroup after the last one when some of them failed."""
        errors = []
        for read in self._readings:
            try:
                read()
            except Exception as error:  # noqa: BLE001  # the others are taken first
                errors.append(error)
        if errors:
            raise ExceptionGroup("metrics could not be read", errors)

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Take all readings; return the metrics in a format chosen by the Accept header, and its content type."""
        self.sample()
        encode, content_type = choose_encoder(accept)
        return encode(self._exposed), content_type


class LoopLagSampler:
    """Takes the readings of `metrics` every 0.5 s and measures how late the event loop is.

    An exception is logged, once for several failures in a row, and does not end the sampling.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._failing = False

    async def run(self) -> None:
        """Sample until cancelled."""
        lag_s = None
        while True:
            self.sample(lag_s)
            due = time.monotonic() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            lag_s = max(0.0, time.monotonic() - due)

    def sample(self, lag_s: float | None = None) -> None:
        """Count a lag of the event loop and take the readings. Logs an exception instead of raising it."""
        try:
            if lag_s is not None:
                self._metrics.lag.observe(lag_s)
            self._metrics.sample()
        except Exception:
            if not self._failing:
                log.exception("metrics could not be sampled")
            self._failing = True
        else:
            self._failing = False


class _InfoCollector(Collector):
    def __init__(self, name: str, text: str, read: Info) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterable[InfoMetricFamily]:
        family = InfoMetricFamily(self._name, self._text)
        for labels in self._read():
            family.add_metric(list(labels), dict(labels))
        return [family]


def resident() -> int:
    """Bytes of memory that this process uses."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
