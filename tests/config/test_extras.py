import pytest

from faceattr_aio.config import extras
from faceattr_aio.errors import StartError


def test_what_is_missing_is_said_with_what_to_install() -> None:
    with pytest.raises(StartError, match=r"^No module named 'nowhere': pip install 'faceattr-aio\[some\]', or do"):
        extras.load("nowhere", "some")


def test_what_is_there_is_loaded() -> None:
    assert extras.load("faceattr_aio.telemetry.tracing", "otel").Traces
