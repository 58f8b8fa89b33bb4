"""Fixtures for tests of workers and pools."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import Starter
from faceattr_aio.pipeline import Task
from tests.support.pipelines import TrickOptions
from tests.support.workers import RecordingStarter, processes

StartPool = Callable[[Starter, int], Pool]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"12345")
    return tmp_path / "file"


@pytest.fixture
def task(file: Path) -> Task:
    return Task(file, TrickOptions())


@pytest.fixture
def start_pool() -> Iterator[StartPool]:
    """Starts pools, which are closed in the end."""
    pools: list[Pool] = []

    def start(starter: Starter, size: int) -> Pool:
        pools.append(Pool(starter, size))
        pools[-1].start()
        return pools[-1]

    yield start
    for pool in pools:
        pool.close()


@pytest.fixture
def pool_of_processes(start_pool: StartPool, tmp_path: Path) -> tuple[Pool, RecordingStarter]:
    """Two processes, which cannot be started while the file `broken` exists."""
    starter = RecordingStarter(processes(broken_while=tmp_path / "broken"))
    return start_pool(starter, 2), starter


@pytest.fixture
def pool_of_threads(start_pool: StartPool) -> tuple[Pool, RecordingStarter]:
    """Three threads."""
    starter = RecordingStarter()
    return start_pool(starter, 3), starter
