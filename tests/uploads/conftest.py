"""A spool in a temporary directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faceattr_aio.uploads.spool import IoThreads, Spool


@pytest.fixture
def threads() -> Iterator[IoThreads]:
    with IoThreads(2) as threads:
        yield threads


@pytest.fixture
def spool(tmp_path: Path, threads: IoThreads) -> Iterator[Spool]:
    """A started spool, which must be empty after the test."""
    spool = Spool(tmp_path, 1 << 22, threads)
    spool.start()
    yield spool
    assert spool.used == 0
