import re
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families

from faceattr_aio.telemetry.metrics import Metrics
from faceattr_aio.telemetry.record import RequestRecord


def families(metrics: Metrics) -> Iterable[Metric]:
    return text_string_to_metric_families(metrics.expose()[0].decode())


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    """Of one sample with at least these labels."""
    found = [
        sample.value
        for family in families(metrics)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def story(status: int = 200, kind: str = "", method: str = "POST") -> RequestRecord:
    return RequestRecord("id", method, pipeline="faces", route="/analyze", status=status, kind=kind, seconds=0.03)


def test_a_request_is_counted_under_method_route_status_and_error() -> None:
    metrics = Metrics()
    metrics.tell(story())
    metrics.tell(story(422, "unreadable-image"))
    name = "http_server_request_duration_seconds"
    labels = {"http_request_method": "POST", "http_route": "/analyze", "http_response_status_code": "200"}
    assert value(metrics, f"{name}_count", **labels, error_type="") == 1
    assert value(metrics, f"{name}_sum", **labels) == 0.03
    assert value(metrics, f"{name}_bucket", **labels, le="0.025") == 0
    assert value(metrics, f"{name}_bucket", **labels, le="0.05") == 1
    assert value(metrics, f"{name}_count", http_response_status_code="422", error_type="unreadable-image") == 1


def test_the_buckets_are_those_of_opentelemetry() -> None:
    metrics = Metrics()
    metrics.tell(story())
    bounds = re.findall(r'http_server_request_duration_seconds_bucket{.*le="([^"]+)"', metrics.expose()[0].decode())
    assert [float(bound) for bound in bounds] == [
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        float("inf"),
    ]


def test_methods_that_clients_invent_share_one_label() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.tell(story(405, "method-not-allowed", f"BREW{number}"))
    assert value(metrics, "http_server_request_duration_seconds_count", http_request_method="_OTHER") == 100


def test_refusals_are_counted_by_reason_and_other_failures_are_not() -> None:
    metrics = Metrics()
    for status, kind in ((503, "overloaded"), (503, "overloaded"), (429, "rate-limited"), (500, "internal")):
        metrics.tell(story(status, kind))
    assert value(metrics, "faceattr_requests_rejected_total", reason="overloaded") == 2
    assert value(metrics, "faceattr_requests_rejected_total", reason="rate-limited") == 1
    assert value(metrics, "faceattr_requests_rejected_total", reason="internal") is None


def test_stages_are_observed_for_each_picture_and_what_is_found_is_counted() -> None:
    metrics = Metrics(["faces"])
    told = story()
    told.pictures = 2
    told.laps = [{"upload": 5.0}, {"decode": 10.0}, {"decode": 20.0}]
    told.counts.update({"faces": 7})
    metrics.tell(told)
    assert value(metrics, "faceattr_stage_duration_seconds_count", pipeline="faces", stage="decode") == 2
    assert value(metrics, "faceattr_stage_duration_seconds_sum", stage="decode") == pytest.approx(0.03)
    assert value(metrics, "faceattr_stage_duration_seconds_count", stage="upload") == 1
    assert value(metrics, "faceattr_faces_total") == 7
    assert value(metrics, "faceattr_pictures_total", pipeline="faces") == 2


def test_readings_are_taken_when_they_are_asked_for() -> None:
    metrics, held = Metrics(), [1.0]
    restarts = {"crashed": 2.0}
    metrics.watch("slots", "Held.", lambda: held[0])
    metrics.watch_totals("restarts", "By reason.", "reason", ["crashed", "scaled"], lambda: restarts)
    metrics.describe("model", "In use.", lambda: [{"name": "a", "sha256": "b"}])
    assert (value(metrics, "slots"), value(metrics, "restarts_total", reason="crashed")) == (1, 2)
    assert value(metrics, "restarts_total", reason="scaled") == 0
    held[0], restarts["crashed"] = 4.0, 5.0
    assert (value(metrics, "slots"), value(metrics, "restarts_total", reason="crashed")) == (4, 5)
    assert value(metrics, "model_info", name="a", sha256="b") == 1


def test_the_form_is_the_one_that_is_asked_for() -> None:
    metrics = Metrics()
    text, kind = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert metrics.expose()[1].startswith("text/plain")


def test_two_apps_have_metrics_of_their_own_and_one_registry_takes_one_only() -> None:
    one, other = Metrics(), Metrics()
    one.tell(story(503, "overloaded"))
    assert value(other, "faceattr_requests_rejected_total", reason="overloaded") is None
    registry = CollectorRegistry()
    Metrics(registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Metrics(registry=registry)


def test_a_process_tells_what_it_uses_unless_the_registry_is_the_hosts() -> None:
    assert value(Metrics(), "process_resident_memory_bytes")
    assert value(Metrics(registry=CollectorRegistry()), "process_resident_memory_bytes") is None
