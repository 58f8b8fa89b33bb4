import logging
import time

import pytest

from faceattr_aio.telemetry import access_log as access
from faceattr_aio.telemetry.record import RequestRecord


def told(caplog: pytest.LogCaptureFixture, story: RequestRecord) -> str:
    caplog.set_level(logging.DEBUG, "faceattr_aio.access")
    story.since -= 100  # it has waited to be told
    access.tell(story)
    assert 90 < time.time() - caplog.records[-1].created < 160  # noqa: TID251  # a point in time
    return caplog.messages[-1]


def test_a_line_has_status_sizes_id_what_was_found_and_the_time_of_each_stage(caplog: pytest.LogCaptureFixture) -> None:
    story = RequestRecord(
        "my-id", "POST", "/analyze", pipeline="faces", status=200, received=70, sent=50, seconds=0.0151
    )
    story.laps, story.pictures = [{"upload": 1.0, "decode": 2.5}], 1
    story.counts.update({"faces": 3})
    assert told(caplog, story) == (
        "POST /analyze 200 15.1 ms in=70 out=50 id=my-id pictures=1 faces=3 [upload;dur=1.00, decode;dur=2.50]"
    )
    assert caplog.records[-1].__dict__["request"]["faces"] == 3


def test_a_failure_has_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    line = told(caplog, RequestRecord("my-id", "POST", "/analyze", status=503, kind="overloaded"))
    assert line == "POST /analyze 503 0.0 ms in=0 out=0 id=my-id kind=overloaded"


def test_a_path_cannot_begin_a_line_or_speak_to_a_terminal_or_go_on_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    line = told(caplog, RequestRecord("my-id", "GET", "/a\nb\x1b[31m\udce9é" + 10_000 * "x", status=404))
    assert line.startswith("GET /a\\nb\\x1b[31m\\udce9\\xe9xxx")
    assert line.isascii()
    assert len(line) < 350


def test_what_probes_ask_is_told_to_those_who_want_to_know_everything(caplog: pytest.LogCaptureFixture) -> None:
    told(caplog, RequestRecord("my-id", "GET", "/livez", status=200))
    assert caplog.records[-1].levelno == logging.DEBUG
    told(caplog, RequestRecord("my-id", "GET", "/readyz", status=503, kind="x"))
    assert caplog.records[-1].levelno == logging.INFO


def test_nothing_is_put_together_for_nobody(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestRecord, "fields", lambda _: pytest.fail("it was"))
    caplog.set_level(logging.WARNING, "faceattr_aio.access")
    access.tell(RequestRecord("my-id", "POST", status=200, pipeline="faces"))
    assert not caplog.records
