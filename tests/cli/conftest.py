"""Fixtures of the tests of the command line."""

import pytest


@pytest.fixture
def decoder_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the variables that a command sets for its workers."""
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "1")
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "ERROR")
