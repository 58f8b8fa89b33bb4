"""Stories and readings as Prometheus metrics. Every label is out of a short list. Knows no HTTP, and not whose the
readings are.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import InfoMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from faceattr_aio.pipeline import Source
from faceattr_aio.telemetry.record import RequestRecord

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which several processes add up their metrics."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of OpenTelemetry's semantic conventions for HTTP."""
_STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"})

Info = Callable[[], Iterable[Mapping[str, str]]]


class Metrics:
    """All metrics of one app. `counts` are the names of what pipelines count: each becomes `faceattr_NAME_total`.

    With a registry that is handed in, the host decides what else is in it and how it is shown. Raises ValueError when
    these metrics are in it already.
    """

    def __init__(self, counts: Iterable[str] = (), registry: CollectorRegistry | None = None) -> None:
        self._readings: list[Callable[[], None]] = []
        self._registry = CollectorRegistry() if registry is None else registry
        self._exposed = self._registry
        if registry is None:
            self._add_process()
        self._requests = Histogram(
            "http_server_request_duration_seconds",
            "From the first line of a request to the first byte of its answer.",
            ("http_request_method", "http_route", "http_response_status_code", "error_type"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "faceattr_stage_duration_seconds",
            "Stages of a picture's way: upload, queue, and those of its pipeline.",
            ("pipeline", "stage"),
            buckets=_STAGE_SECONDS,
            registry=self._registry,
        )
        self._rejected = Counter(
            "faceattr_requests_rejected", "Requests told to come back later.", ("reason",), registry=self._registry
        )
        self._lag = Histogram(
            "faceattr_event_loop_lag_seconds",
            "How late the event loop came back to a sleeper.",
            buckets=_LAG_SECONDS,
            registry=self._registry,
        )
        self._pictures = Counter("faceattr_pictures", "Pictures taken in.", ("pipeline",), registry=self._registry)
        self._cache = Counter(
            "faceattr_cache_results", "Results by where they were from.", ("outcome",), registry=self._registry
        )
        for source in get_args(Source):
            self._cache.labels(source)
        self._counts = {
            name: Counter(f"faceattr_{name}", f"Found in pictures: {name}.", registry=self._registry) for name in counts
        }

    def tell(self, story: RequestRecord) -> None:
        """Counts one request."""
        method = story.method if story.method in _METHODS else "_OTHER"
        self._requests.labels(method, story.route, str(story.status), story.kind).observe(story.seconds)
        if story.refused:
            self._rejected.labels(story.kind).inc()
        if not story.in_parts:
            self.tell_work(story)

    def tell_work(self, story: RequestRecord) -> None:
        """Counts what was done for a request, or for a part of it."""
        if story.pictures:
            self._pictures.labels(story.pipeline).inc(story.pictures)
        for lap in story.laps:
            for stage, ms in lap.items():
                self._stages.labels(story.pipeline, stage).observe(ms / 1e3)
        for source, number in story.sources.items():
            self._cache.labels(source).inc(number)
        for name, number in story.counts.items():
            self._counts[name].inc(number)

    def tell_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def before_sample(self, act: Callable[[], None]) -> None:
        """Done before readings are taken, and so before anybody sees them."""
        self._readings.insert(0, act)

    def watch(
        self, name: str, text: str, read: Callable[[], float], of_several: Literal["livesum", "livemax"] = "livesum"
    ) -> None:
        """A gauge; of several processes their sum, or the largest when all of them say the same."""
        gauge = Gauge(name, text, registry=self._registry, multiprocess_mode=of_several)
        self._readings.append(lambda: gauge.set(read()))

    def watch_totals(
        self, name: str, text: str, label: str, values: Iterable[str], read: Callable[[], Mapping[str, float]]
    ) -> None:
        """Counters that somebody else counts, by the values of one label; each begins at 0."""
        counter, last = Counter(name, text, (label,), registry=self._registry), dict[str, float]()
        for value in values:
            counter.labels(value)

        def sample() -> None:
            for value, total in read().items():
                counter.labels(value).inc(total - last.get(value, 0.0))
                last[value] = total

        self._readings.append(sample)

    def describe(self, name: str, text: str, read: Info) -> None:
        """Words that belong together, as labels of a 1; the same in every process."""
        self._exposed.register(_Described(name, text, read))

    def sample(self) -> None:
        """Takes all readings."""
        for read in self._readings:
            read()

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, and the content type of their form, as `accept` wants it."""
        self.sample()
        encode, content_type = choose_encoder(accept)
        return encode(self._exposed), content_type

    def _add_process(self) -> None:
        """Alone, what the process uses; beside others, what they have counted too."""
        if SHARED not in os.environ:
            ProcessCollector(registry=self._registry)
            return
        self._exposed = CollectorRegistry()
        MultiProcessCollector(self._exposed)  # type: ignore[no-untyped-call]  # it is what it is


class _Described(Collector):
    def __init__(self, name: str, text: str, read: Info) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterable[InfoMetricFamily]:
        family = InfoMetricFamily(self._name, self._text)
        for labels in self._read():
            family.add_metric(list(labels), dict(labels))
        return [family]
