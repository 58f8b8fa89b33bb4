import asyncio
import logging
import re
import time
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families

from faceattr_aio.telemetry.metrics import LoopLagSampler, Metrics, resident
from faceattr_aio.telemetry.record import RequestRecord


def families(metrics: Metrics) -> Iterable[Metric]:
    return text_string_to_metric_families(metrics.expose()[0].decode())


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    """The value of the only sample with at least these labels."""
    found = [
        sample.value
        for family in families(metrics)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def record_with(status: int = 200, kind: str = "", method: str = "POST") -> RequestRecord:
    return RequestRecord("id", method, pipeline="faces", route="/analyze", status=status, kind=kind, seconds=0.03)


def test_counts_a_request_by_method_route_status_and_error() -> None:
    metrics = Metrics()
    metrics.add(record_with())
    metrics.add(record_with(422, "unreadable-image"))
    name = "http_server_request_duration_seconds"
    labels = {"http_request_method": "POST", "http_route": "/analyze", "http_response_status_code": "200"}
    assert value(metrics, f"{name}_count", **labels, error_type="") == 1
    assert value(metrics, f"{name}_sum", **labels) == 0.03
    assert value(metrics, f"{name}_bucket", **labels, le="0.025") == 0
    assert value(metrics, f"{name}_bucket", **labels, le="0.05") == 1
    assert value(metrics, f"{name}_count", http_response_status_code="422", error_type="unreadable-image") == 1


def test_the_buckets_are_those_of_opentelemetry() -> None:
    metrics = Metrics()
    metrics.add(record_with())
    bounds = re.findall(r'http_server_request_duration_seconds_bucket{.*le="([^"]+)"', metrics.expose()[0].decode())
    assert [float(bound) for bound in bounds] == [
        *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
        float("inf"),
    ]


def test_unknown_methods_share_one_label() -> None:
    metrics = Metrics()
    for number in range(100):
        metrics.add(record_with(405, "method-not-allowed", f"BREW{number}"))
    assert value(metrics, "http_server_request_duration_seconds_count", http_request_method="_OTHER") == 100


def test_counts_refusals_by_reason_and_no_other_failures() -> None:
    metrics = Metrics()
    for status, kind in ((503, "overloaded"), (503, "overloaded"), (429, "rate-limited"), (500, "internal")):
        metrics.add(record_with(status, kind))
    assert value(metrics, "faceattr_requests_rejected_total", reason="overloaded") == 2
    assert value(metrics, "faceattr_requests_rejected_total", reason="rate-limited") == 1
    assert value(metrics, "faceattr_requests_rejected_total", reason="internal") is None


def test_observes_the_stages_and_counts_of_each_picture() -> None:
    metrics = Metrics(["faces"])
    record = record_with()
    record.pictures = 2
    record.timings = [{"upload": 5.0}, {"decode": 10.0}, {"decode": 20.0}]
    record.counts.update({"faces": 7})
    metrics.add(record)
    assert value(metrics, "faceattr_stage_duration_seconds_count", pipeline="faces", stage="decode") == 2
    assert value(metrics, "faceattr_stage_duration_seconds_sum", stage="decode") == pytest.approx(0.03)
    assert value(metrics, "faceattr_stage_duration_seconds_count", stage="upload") == 1
    assert value(metrics, "faceattr_faces_total") == 7
    assert value(metrics, "faceattr_pictures_total", pipeline="faces") == 2


def test_takes_readings_when_metrics_are_exposed() -> None:
    metrics, slots = Metrics(), [1.0]
    restarts = {"crashed": 2.0}
    metrics.watch("slots", "Slots in use.", lambda: slots[0])
    metrics.watch_totals("restarts", "By reason.", "reason", ["crashed", "scaled"], lambda: restarts)
    metrics.describe("model", "In use.", lambda: [{"name": "a", "sha256": "b"}])
    assert (value(metrics, "slots"), value(metrics, "restarts_total", reason="crashed")) == (1, 2)
    assert value(metrics, "restarts_total", reason="scaled") == 0
    slots[0], restarts["crashed"] = 4.0, 5.0
    assert (value(metrics, "slots"), value(metrics, "restarts_total", reason="crashed")) == (4, 5)
    assert value(metrics, "model_info", name="a", sha256="b") == 1


def test_the_accept_header_selects_the_format() -> None:
    metrics = Metrics()
    text, kind = metrics.expose("application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert metrics.expose()[1].startswith("text/plain")


def test_two_apps_have_separate_metrics_and_a_registry_accepts_one() -> None:
    one, other = Metrics(), Metrics()
    one.add(record_with(503, "overloaded"))
    assert value(other, "faceattr_requests_rejected_total", reason="overloaded") is None
    registry = CollectorRegistry()
    Metrics(registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Metrics(registry=registry)


def test_process_metrics_are_left_out_of_a_registry_of_the_host() -> None:
    assert value(Metrics(), "process_resident_memory_bytes")
    assert value(Metrics(registry=CollectorRegistry()), "process_resident_memory_bytes") is None


async def test_measures_the_lag_of_a_blocked_loop_and_takes_readings() -> None:
    metrics, taken = Metrics(), asyncio.Event()
    metrics.watch("reading", "Any.", lambda: taken.set() or 7.0)  # type: ignore[func-returns-value]  # for its effect
    sampling = asyncio.create_task(LoopLagSampler(metrics).run())
    await asyncio.wait_for(taken.wait(), 30)
    taken.clear()
    time.sleep(0.8)  # noqa: ASYNC251  # blocks the loop on purpose
    async with asyncio.timeout(30):
        await taken.wait()
    sampling.cancel()
    assert (value(metrics, "faceattr_event_loop_lag_seconds_sum") or 0) >= 0.25
    assert value(metrics, "faceattr_event_loop_lag_seconds_count") == 1
    assert value(metrics, "reading") == 7


def test_resident_memory_is_in_bytes() -> None:
    before = resident()
    ballast = bytearray(b"x" * (64 << 20))
    assert 60 << 20 <= resident() - before < 200 << 20
    del ballast


async def test_sampling_survives_a_failing_reading_and_logs_it_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics, taken, faults = Metrics(), list[float](), [OSError(5, "broken"), None, ValueError("worse")]

    def read_broken() -> float:
        if fault := faults[0]:
            raise fault
        return 3.0

    metrics.watch("broken", "Fails at first.", read_broken)
    metrics.watch("reading", "Taken after the one that fails.", lambda: taken.append(1.0) or 7.0)  # type: ignore[func-returns-value]  # for its effect
    sampler = LoopLagSampler(metrics)
    for lag_s in (None, 0.25):
        sampler.sample(lag_s)
    assert len(taken) == 2
    for _ in range(2):
        del faults[0]
        sampler.sample()
    assert len(taken) == 4
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2  # once for each series of failures
    faults[0] = None
    assert value(metrics, "faceattr_event_loop_lag_seconds_count") == 1
    assert (value(metrics, "broken"), value(metrics, "reading")) == (3, 7)


async def test_the_sampling_task_goes_on_after_a_failing_round(caplog: pytest.LogCaptureFixture) -> None:
    metrics, rounds, third = Metrics(), list[float](), asyncio.Event()

    def fail() -> float:
        rounds.append(time.monotonic())
        if len(rounds) == 3:
            third.set()
        raise ZeroDivisionError

    metrics.watch("broken", "Always fails.", fail)
    sampling = asyncio.create_task(LoopLagSampler(metrics).run())
    await asyncio.wait_for(third.wait(), 30)
    assert not sampling.done()
    sampling.cancel()
    assert rounds[2] - rounds[0] >= 0.9
    assert len(caplog.records) == 1
