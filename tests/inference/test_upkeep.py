import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceattr_aio.admission.limiter import Limiter
from faceattr_aio.errors import StartError
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import process_starter, thread_starter
from faceattr_aio.inference.scaling import Scaling
from faceattr_aio.inference.upkeep import Recycling, Upkeep
from faceattr_aio.pipeline import Task
from tests.inference.test_process import LIMITS
from tests.inference.test_worker import MODULES, plan
from tests.support.gate import PATIENCE_S
from tests.support.pipelines import TrickOptions

NEVER = Recycling(0, 0)


@pytest.fixture(params=["process", "thread"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    """One worker."""
    processes = request.param == "process"
    pool = Pool(process_starter(plan, MODULES, LIMITS) if processes else thread_starter(plan), 1)
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"12345")
    return tmp_path / "file"


def upkeep(pool: Pool, recycling: Recycling = NEVER, scaling: Scaling | None = None) -> Upkeep:
    limiter = Limiter(8, pool.size)
    return Upkeep(pool, limiter, recycling, scaling or Scaling(1, 1), lambda: None)


def work(pool: Pool, file: Path, tasks: int) -> None:
    for _ in range(tasks):
        with pool.lend(PATIENCE_S) as worker:
            worker.call("trick", Task(file, TrickOptions()), PATIENCE_S)


def test_a_worker_is_replaced_once_it_has_done_its_number_of_tasks(pool: Pool, file: Path) -> None:
    looking = upkeep(pool, Recycling(after=3, over_bytes=0))
    work(pool, file, 2)
    looking.look()
    assert pool.restarts == {}
    work(pool, file, 1)
    looking.look()
    looking.look()
    assert pool.restarts == {"recycled": 1}
    with pool.lend(1) as worker:
        assert worker.served == 0


def test_a_process_over_its_memory_is_replaced_after_a_hundred_tasks_and_a_thread_never(pool: Pool, file: Path) -> None:
    looking = upkeep(pool, Recycling(after=0, over_bytes=1 << 20))
    work(pool, file, 99)
    looking.look()
    assert pool.restarts == {}
    work(pool, file, 1)
    with pool.lend(1) as worker:
        is_process = worker.resident > 0
    looking.look()
    assert pool.restarts == ({"recycled": 1} if is_process else {})


def test_a_process_under_its_memory_stays(pool: Pool, file: Path) -> None:
    work(pool, file, 100)
    upkeep(pool, Recycling(after=0, over_bytes=1 << 40)).look()
    assert pool.restarts == {}


def test_the_number_of_workers_follows_the_load_and_each_change_is_told(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now, sizes = iter(range(100)), list[int]()
    limiter = Limiter(8, 1)
    scaling = Scaling(1, 2, up_s=2, down_s=2, clock=lambda: float(next(now)))
    looking = Upkeep(pool, limiter, NEVER, scaling, lambda: sizes.append(pool.size))
    releases = [limiter.acquire() for _ in range(8)]
    for _ in range(5):
        looking.look()
    assert pool.size == 2
    for release in releases:
        release()
    for _ in range(5):
        looking.look()
    assert pool.size == 1
    assert sizes == [2, 1]
    assert [record.message for record in caplog.records] == ["more to do: 2 workers", "less to do: 1 workers"]


def test_it_looks_by_itself_until_it_is_stopped(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faceattr_aio.inference.upkeep._PERIOD_S", 0.001)
    monkeypatch.setattr("faceattr_aio.inference.upkeep._PAUSE_S", 0.001)
    looking, looked = upkeep(pool), threading.Semaphore(0)

    def look() -> None:
        looked.release()
        raise StartError("The trick is broken: mend it.")

    monkeypatch.setattr(looking, "look", look)
    looking.start()
    for _ in range(3):
        assert looked.acquire(timeout=PATIENCE_S)
    looking.stop()
    while any(thread.name == "faceattr-upkeep" for thread in threading.enumerate()):
        pass
    assert "to replace one or to join: The trick is broken: mend it." in caplog.text
