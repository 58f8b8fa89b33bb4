"""Workers that are replaced, added or removed on request: there is always one ready before another one ends."""

import os
import signal
import threading
from pathlib import Path

import pytest

from faceattr_aio.errors import StartError
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerCrashed
from faceattr_aio.pipeline import Reply, Task
from tests.inference.conftest import StartPool
from tests.support.gate import PATIENCE_S, Gate
from tests.support.pipelines import TrickOptions
from tests.support.workers import BROKEN, RecordingStarter, make_batch, processes, threads, until

Threads = tuple[Pool, RecordingStarter]


def crash(pool: Pool, file: Path) -> None:
    assert isinstance(pool.call("trick", Task(file, TrickOptions(do="die")), PATIENCE_S), WorkerCrashed)


def until_alive(*alive: tuple[RecordingStarter, int]) -> None:
    """Wait until so many workers of each starter are alive: a replaced one ends soon after, in its thread."""
    until(lambda: all(starter.alive == number for starter, number in alive))


def test_a_reload_replaces_all_workers_one_after_another_and_never_below_the_size(pool_of_threads: Threads) -> None:
    (pool, old), new, ready = pool_of_threads, RecordingStarter(), list[int]()
    new.on_start = lambda: ready.append(old.alive + new.alive)
    pool.reload(new)
    assert min(ready) >= 3
    assert len(ready) == 3
    until_alive((old, 0), (new, 3))
    assert pool.restarts == {"reloaded": 3}
    assert pool.size == 3


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_reload_that_fails_puts_back_workers_of_the_previous_kind(failing: int, pool_of_threads: Threads) -> None:
    (pool, old), new, ready = pool_of_threads, RecordingStarter(failing=(failing,)), list[int]()
    old.on_start = new.on_start = lambda: ready.append(old.alive + new.alive)
    with pytest.raises(StartError, match="repair it"):
        pool.reload(new)
    until_alive((old, 3), (new, 0))
    assert min(ready) >= 3
    assert len(ready) == 2 * failing + 1
    assert pool.fault is None
    pool.recycle(lambda _: True)
    assert len(new.started) == failing  # the next ones are of the previous kind too


def test_a_worker_stays_as_reloaded_when_none_of_the_previous_kind_can_be_started(
    pool_of_threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    pool, old = pool_of_threads
    old.failing = (3,)
    new = RecordingStarter(failing=(2,))
    with pytest.raises(StartError):
        pool.reload(new)
    until_alive((old, 2), (new, 1))
    assert f"rollback failed, one slot keeps a worker with the new models: {BROKEN}" in caplog.text


def test_a_worker_at_its_task_is_replaced_at_once_and_ends_after_it(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    old, new = (RecordingStarter(threads(gate=gate.folder)) for _ in range(2))
    pool = start_pool(old, 3)
    busy = pool.submit(make_batch(task))
    gate.wait_for(1)
    pool.reload(new)
    until_alive((old, 1), (new, 3))
    works = [pool.submit(make_batch(task)) for _ in range(3)]
    gate.wait_for(3)  # each new one has a task
    assert sum(worker.served for worker in new.started) == 3
    gate.open()
    assert isinstance(busy.result(PATIENCE_S)[0], Reply)
    for work in works:
        work.result(PATIENCE_S)
    until_alive((old, 0), (new, 3))
    assert sum(worker.served for worker in old.started) == 1


def test_a_worker_that_is_replaced_twice_during_its_task_ends_once_after_it(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    starter = RecordingStarter(threads(gate=gate.folder))
    pool = start_pool(starter, 1)
    busy = pool.submit(make_batch(task, task))
    gate.wait_for(1)
    pool.reload(starter)
    pool.reload(starter)
    until_alive((starter, 2))
    gate.open()
    assert [type(outcome) for outcome in busy.result(PATIENCE_S)] == [Reply, Reply]
    until_alive((starter, 1))
    assert [worker.served for worker in starter.started] == [1, 0, 1]


def test_a_reload_gives_a_worker_to_a_slot_that_has_none(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path, tmp_path: Path
) -> None:
    pool, _ = pool_of_processes
    new = RecordingStarter(processes())
    (tmp_path / "broken").touch()
    crash(pool, file)
    crash(pool, file)
    until(lambda: pool.fault == BROKEN)
    pool.reload(new)
    assert pool.fault is None
    pool.check()
    assert len(new.pids) == 2
    assert isinstance(pool.call("trick", Task(file, TrickOptions()), PATIENCE_S), Reply)


def test_a_worker_that_exits_while_it_is_replaced_has_one_successor(
    pool_of_processes: tuple[Pool, RecordingStarter],
) -> None:
    pool, old = pool_of_processes
    new, running = RecordingStarter(processes()), threading.active_count()

    def kill_the_first() -> None:
        if not new.started:
            os.kill(old.started[0].pid, signal.SIGKILL)  # type: ignore[attr-defined]  # a process
            until(lambda: not old.started[0].alive)

    new.on_start = kill_the_first
    pool.reload(new)
    until(lambda: threading.active_count() <= running)  # the thread of the one that exited starts none
    assert [worker.alive for worker in new.started] == [True, True]
    assert old.alive == 0
    assert pool.restarts == {"reloaded": 2}


def test_a_worker_that_came_with_a_reload_is_replaced_by_one_of_its_kind(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path
) -> None:
    pool, _ = pool_of_processes
    new = RecordingStarter(processes())
    pool.reload(new)
    crash(pool, file)
    until(lambda: pool.restarts == {"reloaded": 2, "crashed": 1})
    assert len(new.started) == 3
    assert len(new.pids) == 2


def test_recycling_replaces_one_worker_that_is_due_and_no_other(pool_of_threads: Threads) -> None:
    (pool, starter), ready = pool_of_threads, list[int]()
    starter.on_start = lambda: ready.append(starter.alive)
    due = starter.started[1:]
    assert [pool.recycle(lambda worker: worker in due) for _ in range(2)] == [True, True]
    until_alive((starter, 3))
    assert not pool.recycle(lambda worker: worker in due)
    assert [worker.alive for worker in starter.started] == [True, False, False, True, True]
    assert min(ready) >= 3
    assert len(ready) == 2
    assert pool.restarts == {"recycled": 2}


def test_a_worker_that_cannot_be_recycled_stays(pool_of_threads: Threads) -> None:
    pool, starter = pool_of_threads
    starter.failing = (3,)
    with pytest.raises(StartError):
        pool.recycle(lambda _: True)
    assert starter.alive == 3
    assert pool.fault is None
    assert pool.restarts == {}


def test_it_grows_and_shrinks_by_one_worker(start_pool: StartPool, gate: Gate, task: Task) -> None:
    starter = RecordingStarter(threads(gate=gate.folder))
    pool = start_pool(starter, 3)
    pool.grow()
    assert (pool.size, starter.alive) == (4, 4)
    pool.shrink()
    pool.shrink()
    until_alive((starter, 2))
    assert pool.size == 2
    assert pool.restarts == {"scaled": 3}
    works = [pool.submit(make_batch(task)) for _ in range(3)]
    gate.wait_for(2)
    assert not gate.has_arrival()
    gate.open()
    for work in works:
        work.result(PATIENCE_S)


def test_a_pool_that_cannot_grow_does_not_change(pool_of_threads: Threads) -> None:
    pool, starter = pool_of_threads
    starter.failing = (3,)
    with pytest.raises(StartError):
        pool.grow()
    assert (pool.size, starter.alive) == (3, 3)
    assert pool.fault is None


def test_a_worker_that_is_removed_ends_after_its_task_and_is_not_replaced(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    starter = RecordingStarter(threads(gate=gate.folder))
    pool = start_pool(starter, 3)
    works = [pool.submit(make_batch(task)) for _ in range(3)]
    gate.wait_for(3)
    pool.shrink()
    assert starter.alive == 3
    gate.open()
    for work in works:
        assert isinstance(work.result(PATIENCE_S)[0], Reply)
    until_alive((starter, 2))
    assert len(starter.started) == 3


def test_closing_in_the_middle_of_a_reload_ends_all_workers(pool_of_threads: Threads) -> None:
    (pool, old), new = pool_of_threads, RecordingStarter()
    new.on_start = pool.close
    with pytest.raises(StartError, match="being ended"):
        pool.reload(new)
    assert (old.alive, new.alive) == (0, 0)
    assert len(new.started) == 1


def test_closing_while_it_grows_ends_the_new_worker_and_starts_no_other(pool_of_threads: Threads) -> None:
    pool, starter = pool_of_threads
    starter.on_start = pool.close
    pool.grow()
    assert starter.alive == 0
    until(lambda: not any(thread.name == "faceattr-worker" for thread in threading.enumerate()))
    assert len(starter.started) == 4
