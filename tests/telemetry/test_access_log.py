import logging
import time

import pytest

from faceattr_aio.telemetry.access_log import log_request
from faceattr_aio.telemetry.record import RequestRecord


def logged(caplog: pytest.LogCaptureFixture, record: RequestRecord) -> str:
    """Log the request and return the line."""
    caplog.set_level(logging.DEBUG, "faceattr_aio.access")
    record.since -= 100  # the record was in the buffer for 100 s
    log_request(record)
    assert 90 < time.time() - caplog.records[-1].created < 160  # noqa: TID251  # a point in time
    return caplog.messages[-1]


def test_a_line_has_status_sizes_id_counts_and_stages(caplog: pytest.LogCaptureFixture) -> None:
    record = RequestRecord(
        "my-id", "POST", "/analyze", pipeline="faces", status=200, received=70, sent=50, seconds=0.0151
    )
    record.timings, record.pictures = [{"upload": 1.0, "decode": 2.5}], 1
    record.counts.update({"faces": 3})
    assert logged(caplog, record) == (
        "POST /analyze 200 15.1 ms in=70 out=50 id=my-id pictures=1 faces=3 [upload;dur=1.00, decode;dur=2.50]"
    )
    assert caplog.records[-1].__dict__["request"]["faces"] == 3


def test_a_failure_has_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    line = logged(caplog, RequestRecord("my-id", "POST", "/analyze", status=503, kind="overloaded"))
    assert line == "POST /analyze 503 0.0 ms in=0 out=0 id=my-id kind=overloaded"


def test_escapes_and_shortens_the_path(caplog: pytest.LogCaptureFixture) -> None:
    line = logged(caplog, RequestRecord("my-id", "GET", "/a\nb\x1b[31m\udce9é" + 10_000 * "x", status=404))
    assert line.startswith("GET /a\\nb\\x1b[31m\\udce9\\xe9xxx")
    assert line.isascii()
    assert len(line) < 350


def test_logs_probes_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    logged(caplog, RequestRecord("my-id", "GET", "/livez", status=200))
    assert caplog.records[-1].levelno == logging.DEBUG
    logged(caplog, RequestRecord("my-id", "GET", "/readyz", status=503, kind="x"))
    assert caplog.records[-1].levelno == logging.INFO


def test_formats_nothing_when_the_level_is_disabled(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestRecord, "fields", lambda _: pytest.fail("it was formatted"))
    caplog.set_level(logging.WARNING, "faceattr_aio.access")
    log_request(RequestRecord("my-id", "POST", status=200, pipeline="faces"))
    assert not caplog.records
