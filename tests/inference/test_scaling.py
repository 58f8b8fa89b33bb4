"""Recycling and autoscaling: the policies alone, and the maintenance of a pool."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from faceattr_aio.admission.limiter import Limiter, Quota
from faceattr_aio.errors import StartError
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerHandle
from faceattr_aio.inference.scaling import Autoscaler, Maintenance, RecyclePolicy, WindowMean
from faceattr_aio.pipeline import Reply, Task
from tests.inference.conftest import StartPool
from tests.support.gate import PATIENCE_S
from tests.support.workers import BROKEN, RecordingStarter, processes, threads, until

STEP_S = 0.25
NEVER = RecyclePolicy(0, 0)


class Load:
    """An autoscaler between 1 and 4 workers that decides every quarter of a second."""

    def __init__(self, workers: int) -> None:
        self.now = 0.0
        self.workers = workers
        self.autoscaler = Autoscaler(1, 4, up_s=2.0, down_s=30.0, clock=lambda: self.now)

    def last(self, seconds: float, busy: float, wait: float) -> list[tuple[float, int]]:
        """Keep this load for so long; returns when the number of workers changed, and to what."""
        changes = []
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            change = self.autoscaler.decide(self.workers, busy, wait)  # type: ignore[arg-type]  # on average
            self.workers += change
            if change:
                changes.append((self.now, self.workers))
        return changes


def test_a_mean_is_known_once_values_have_been_added_for_long_enough() -> None:
    mean = WindowMean(2.0)
    assert [mean.add(float(now), float(now)) for now in range(5)] == [None, None, 1.0, 2.0, 3.0]
    mean.clear()
    assert mean.add(5.0, 5.0) is None


def test_while_requests_wait_longer_than_they_take_a_worker_is_added_every_two_seconds_up_to_the_most() -> None:
    assert Load(1).last(20, busy=1, wait=1.5) == [(2.25, 2), (4.5, 3), (6.75, 4)]


def test_a_short_burst_adds_no_worker() -> None:
    load = Load(1)
    assert load.last(0.5, busy=1, wait=3) == []
    assert load.last(20, busy=1, wait=0.3) == []


def test_at_low_load_a_worker_is_removed_every_thirty_seconds_down_to_the_fewest() -> None:
    assert Load(4).last(150, busy=0, wait=0) == [(30.25, 3), (60.5, 2), (90.75, 1)]


def test_a_short_pause_removes_no_worker() -> None:
    load = Load(4)
    assert load.last(25, busy=4, wait=0.5) == []
    assert load.last(10, busy=0, wait=0) == []
    assert load.last(10, busy=4, wait=0.5) == []


def test_a_steady_load_does_not_go_up_and_down() -> None:
    """A load that adds workers keeps those that were added busy enough to stay."""
    load = Load(1)
    assert [workers for _, workers in load.last(10, busy=1, wait=1.2)] == [2, 3, 4]
    load = Load(2)
    assert load.last(300, busy=0.6, wait=0.2) == []


def test_a_fixed_number_never_changes() -> None:
    now = iter(range(1000))
    autoscaler = Autoscaler(2, 2, clock=lambda: float(next(now)))
    assert autoscaler.is_fixed
    assert {autoscaler.decide(2, 2, 9.0) for _ in range(100)} == {0}
    assert {autoscaler.decide(2, 0, 0.0) for _ in range(100)} == {0}


@pytest.fixture(params=["process", "thread"])
def pool(request: pytest.FixtureRequest, start_pool: StartPool) -> tuple[Pool, RecordingStarter]:
    """One worker."""
    starter = RecordingStarter(processes() if request.param == "process" else threads())
    return start_pool(starter, 1), starter


def make_maintenance(
    pool: Pool,
    policy: RecyclePolicy = NEVER,
    autoscaler: Autoscaler | None = None,
    limiter: Limiter | None = None,
    on_resize: Callable[[], None] = lambda: None,
) -> Maintenance:
    limiter = limiter or Limiter(8, pool.size)
    return Maintenance(pool, limiter, autoscaler or Autoscaler(1, 1), policy, on_resize)


@contextmanager
def running(maintenance: Maintenance) -> Iterator[None]:
    maintenance.start()
    yield
    maintenance.stop()
    until(lambda: not any(thread.name == "faceattr-maintenance" for thread in threading.enumerate()))


def work(pool: Pool, task: Task, tasks: int) -> None:
    for _ in range(tasks):
        assert isinstance(pool.call("trick", task, PATIENCE_S), Reply)


def test_a_worker_is_replaced_once_it_has_done_its_number_of_tasks(
    pool: tuple[Pool, RecordingStarter], task: Task
) -> None:
    one, starter = pool
    maintenance = make_maintenance(one, RecyclePolicy(max_tasks=3, max_bytes=0))
    work(one, task, 2)
    maintenance.run_once()
    assert one.restarts == {}
    work(one, task, 1)
    maintenance.run_once()
    maintenance.run_once()
    assert one.restarts == {"recycled": 1}
    assert [worker.served for worker in starter.started] == [3, 0]


def test_a_process_above_its_memory_is_replaced_after_a_hundred_tasks_and_a_thread_never(
    pool: tuple[Pool, RecordingStarter], task: Task
) -> None:
    one, starter = pool
    maintenance = make_maintenance(one, RecyclePolicy(max_tasks=0, max_bytes=1 << 20))
    work(one, task, 99)
    maintenance.run_once()
    assert one.restarts == {}
    work(one, task, 1)
    is_process = starter.started[0].resident > 0
    maintenance.run_once()
    assert one.restarts == ({"recycled": 1} if is_process else {})


def test_a_process_below_its_memory_stays(pool: tuple[Pool, RecordingStarter], task: Task) -> None:
    one, _ = pool
    work(one, task, 100)
    make_maintenance(one, RecyclePolicy(max_tasks=0, max_bytes=1 << 40)).run_once()
    assert one.restarts == {}


def test_the_number_of_workers_follows_the_load_and_each_change_is_reported(
    pool: tuple[Pool, RecordingStarter], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (one, _), now, sizes, limiter = pool, iter(range(100)), list[int](), Limiter(8, 1)
    autoscaler = Autoscaler(1, 2, up_s=2, down_s=2, clock=lambda: float(next(now)))
    maintenance = make_maintenance(one, NEVER, autoscaler, limiter, lambda: sizes.append(one.size))
    releases = [limiter.acquire() for _ in range(8)]
    for _ in range(5):
        maintenance.run_once()
    assert one.size == 2
    for release in releases:
        release()
    for _ in range(5):
        maintenance.run_once()
    assert one.size == 1
    assert sizes == [2, 1]
    assert [record.message for record in caplog.records] == ["high load: 2 workers", "low load: 1 workers"]


def test_the_longest_queue_decides_also_that_of_a_quota(start_pool: StartPool) -> None:
    pool, now, limiter = start_pool(threads(), 2), iter(range(100)), Limiter(8, 2)
    quota = Quota(limiter, 0.5, "requests for slow")
    quota.observe(7.0)  # the queue is measured in service times
    for _ in range(2):
        quota.acquire()
    autoscaler = Autoscaler(2, 3, up_s=1, down_s=100, clock=lambda: float(next(now)))
    maintenance = make_maintenance(pool, NEVER, autoscaler, limiter)
    for _ in range(4):
        maintenance.run_once()
    assert pool.size == 3


def test_old_workers_are_replaced_without_polling(start_pool: StartPool, task: Task) -> None:
    pool = start_pool(threads(), 2)
    maintenance = make_maintenance(pool, RecyclePolicy(max_tasks=1, max_bytes=0))
    maintenance.period_s = PATIENCE_S  # longer than the test
    with running(maintenance):
        work(pool, task, 4)
        until(lambda: pool.restarts["recycled"] >= 2)


def test_without_recycling_and_scaling_the_thread_does_nothing_until_the_policy_changes(
    start_pool: StartPool, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = start_pool(threads(), 1)
    maintenance, rounds, real = make_maintenance(pool), list[int](), pool.recycle

    def recycle(is_due: Callable[[WorkerHandle], bool]) -> bool:
        rounds.append(1)
        return real(is_due)

    monkeypatch.setattr(pool, "recycle", recycle)
    maintenance.period_s = 0.001
    with running(maintenance):
        work(pool, task, 20)
        assert rounds == []
        maintenance.change_policy(RecyclePolicy(max_tasks=5, max_bytes=0))
        until(lambda: pool.restarts["recycled"] == 1)


def test_the_thread_survives_any_failure_and_reports_it_once(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    maintenance = make_maintenance(start_pool(threads(), 1), RecyclePolicy(0, 1))  # looks periodically
    maintenance.period_s = maintenance.pause_s = 0.001
    rounds, failures = threading.Semaphore(0), iter([StartError(BROKEN), ZeroDivisionError()])

    def fail_twice() -> None:
        rounds.release()
        for failure in failures:
            raise failure

    monkeypatch.setattr(maintenance, "run_once", fail_twice)
    with running(maintenance):
        for _ in range(5):
            assert rounds.acquire(timeout=PATIENCE_S)
    assert [record.message for record in caplog.records] == [
        f"no worker could be started for recycling or scaling: {BROKEN}",
        "recycling or scaling failed",
    ]


def test_after_a_failure_it_pauses_and_tries_again(
    start_pool: StartPool, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = RecordingStarter()
    pool = start_pool(starter, 1)
    starter.failing = (1,)
    maintenance, paused = make_maintenance(pool, RecyclePolicy(max_tasks=1, max_bytes=0)), threading.Event()
    maintenance.pause_s = 0.001
    real = pool.recycle

    def recycle(is_due: Callable[[WorkerHandle], bool]) -> bool:
        try:
            return real(is_due)
        except StartError:
            paused.set()
            raise

    monkeypatch.setattr(pool, "recycle", recycle)
    with running(maintenance):
        work(pool, task, 1)
        assert paused.wait(PATIENCE_S)
        until(lambda: pool.restarts["recycled"] == 1)
