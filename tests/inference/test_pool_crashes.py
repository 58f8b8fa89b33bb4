"""Workers that exit, crash or cannot be started: the cost for requests, and the recovery."""

import os
import signal
import threading
from functools import partial
from pathlib import Path

import pytest

from faceattr_aio.errors import StartError, Unavailable, WorkerGone
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import WorkerCrashed, WorkerHandle
from faceattr_aio.pipeline import Reply, Task
from tests.inference.conftest import StartPool
from tests.support.gate import PATIENCE_S, Gate
from tests.support.pipelines import TrickOptions
from tests.support.workers import BROKEN, RecordingStarter, make_batch, processes, resources, threads, until

DIE = TrickOptions(do="die")


def crash(pool: Pool, file: Path) -> None:
    assert isinstance(pool.call("trick", Task(file, DIE), PATIENCE_S), WorkerCrashed)


def until_restarted(pool: Pool, crashes: int) -> None:
    until(lambda: pool.restarts["crashed"] == crashes)
    assert pool.fault is None


def cannot_start(pool: Pool) -> bool:
    try:
        pool.check()
    except Unavailable:
        return True
    return False


def test_a_crash_costs_one_picture(pool_of_processes: tuple[Pool, RecordingStarter], file: Path, task: Task) -> None:
    pool, _ = pool_of_processes
    others = [pool.submit(make_batch(task)) for _ in range(5)]
    mixed = pool.submit(make_batch(task, Task(file, DIE), task))
    more = [pool.submit(make_batch(task)) for _ in range(5)]
    assert [type(outcome) for outcome in mixed.result(PATIENCE_S)] == [Reply, WorkerCrashed, Reply]
    assert {type(work.result(PATIENCE_S)[0]) for work in (*others, *more)} == {Reply}
    until_restarted(pool, crashes=1)


def test_a_worker_that_crashed_is_replaced_and_the_other_stays(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path
) -> None:
    pool, starter = pool_of_processes
    before = starter.pids
    crash(pool, file)
    until_restarted(pool, crashes=1)
    assert len(before & starter.pids) == 1
    assert len(starter.pids) == 2


def test_all_workers_can_crash_and_all_are_replaced(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path
) -> None:
    pool, starter = pool_of_processes
    before = starter.pids
    crash(pool, file)
    crash(pool, file)
    until_restarted(pool, crashes=2)
    assert len(starter.pids - before) == 2


def test_a_worker_that_exits_while_idle_is_replaced_though_nothing_is_submitted(
    pool_of_processes: tuple[Pool, RecordingStarter],
) -> None:
    pool, starter = pool_of_processes
    before = starter.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until_restarted(pool, crashes=2)
    assert len(starter.pids) == 2
    assert not starter.pids & before


def test_a_picture_that_a_worker_did_not_receive_goes_to_another_one_first(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    """A worker that has exited costs nothing, and the batch keeps its turn."""
    starter, order = RecordingStarter(threads(gate=gate.folder)), list[str]()
    pool = start_pool(starter, 1)
    gone, real = starter.started[0], starter.started[0].call

    def is_gone(name: str, task: Task, timeout_s: float) -> Reply:
        real(name, task, timeout_s)  # holds the other batches at the gate
        gone.alive = False
        raise WorkerGone

    gone.call = is_gone  # type: ignore[method-assign]  # as a process that was killed behaves
    works = [pool.submit(make_batch(task, resources=resources(partial(order.append, name)))) for name in "abc"]
    gate.wait_for(1)
    gate.open()
    assert [type(work.result(PATIENCE_S)[0]) for work in works] == [Reply] * 3
    assert order == ["a", "b", "c"]
    until_restarted(pool, crashes=1)


def test_a_worker_that_cannot_be_replaced_is_a_fault_until_it_can(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool, starter = pool_of_processes
    (tmp_path / "broken").touch()
    crash(pool, file)
    until(lambda: pool.fault == BROKEN)
    pool.check()
    (tmp_path / "broken").unlink()
    until_restarted(pool, crashes=1)
    assert len(starter.pids) == 2
    assert f"a worker that exited could not be replaced: {BROKEN}" in caplog.text


def test_while_all_workers_are_being_replaced_the_pool_reports_it(
    pool_of_processes: tuple[Pool, RecordingStarter],
) -> None:
    pool, starter = pool_of_processes
    go_on = threading.Event()
    starter.on_start = partial(go_on.wait, PATIENCE_S)
    assert pool.fault is None
    for pid in starter.pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: pool.fault == "All workers have ended; new ones are being started.")
    pool.check()
    go_on.set()
    until_restarted(pool, crashes=2)
    assert len(starter.pids) == 2


def test_when_no_worker_can_be_started_work_fails_at_once_until_one_can(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path, task: Task, tmp_path: Path
) -> None:
    pool, starter = pool_of_processes
    pool.check()
    (tmp_path / "broken").touch()
    crash(pool, file)
    crash(pool, file)
    with pytest.raises(Unavailable) as refused:
        pool.call("trick", task, PATIENCE_S)
    assert refused.value.log == BROKEN
    with pytest.raises(Unavailable) as refused:
        pool.check()
    assert refused.value.log == BROKEN
    closed, work = list[str](), make_batch(task, task)
    work.resources.callback(lambda: closed.append("closed"))
    outcomes = pool.submit(work).result(timeout=0)
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 2
    assert closed == ["closed"]
    (tmp_path / "broken").unlink()
    until(lambda: pool.restarts["crashed"] == 2)
    pool.check()
    assert len(starter.pids) == 2
    assert isinstance(pool.call("trick", task, PATIENCE_S), Reply)


def test_queued_work_fails_when_the_last_worker_cannot_be_replaced(
    start_pool: StartPool, gate: Gate, task: Task, tmp_path: Path
) -> None:
    starter = RecordingStarter(processes(gate=gate.folder, broken_while=tmp_path / "broken"))
    pool, closed = start_pool(starter, 1), list[str]()
    held = pool.submit(make_batch(task, task))
    gate.wait_for(1)
    queued = pool.submit(make_batch(task, resources=resources(lambda: closed.append("queued"))))
    (tmp_path / "broken").touch()
    os.kill(starter.pids.pop(), signal.SIGKILL)
    assert [type(outcome) for outcome in held.result(PATIENCE_S)] == [WorkerCrashed, Unavailable]
    (outcome,) = queued.result(PATIENCE_S)
    assert isinstance(outcome, Unavailable)
    assert outcome.log == BROKEN
    assert closed == ["queued"]


def test_a_fault_lasts_until_the_last_worker_is_back(start_pool: StartPool, file: Path) -> None:
    starter, permits = RecordingStarter(processes()), threading.Semaphore(2)

    def start_with_permit() -> None:
        if not permits.acquire(blocking=False):
            raise StartError(BROKEN)

    starter.on_start = start_with_permit
    pool = start_pool(starter, 2)
    crash(pool, file)
    crash(pool, file)
    until(lambda: cannot_start(pool))
    permits.release()
    until(lambda: pool.restarts["crashed"] == 1)
    assert pool.fault == BROKEN
    pool.check()
    permits.release()
    until_restarted(pool, crashes=2)


def test_a_pool_that_cannot_start_leaves_no_worker(tmp_path: Path) -> None:
    starter = RecordingStarter(processes(broken_while=tmp_path))
    with pytest.raises(StartError, match="repair it"):
        Pool(starter, 2).start()
    assert [worker.alive for worker in starter.started] == [False, False]


def test_a_worker_whose_first_message_makes_no_sense_is_ended_and_replaced(
    pool_of_processes: tuple[Pool, RecordingStarter], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong, no process is left behind and the slot gets a worker in the end."""
    pool, starter = pool_of_processes
    real = type(starter.started[0]).ready

    def fail_once(worker: WorkerHandle) -> None:
        if worker is starter.started[2]:
            raise ZeroDivisionError
        real(worker)

    monkeypatch.setattr(type(starter.started[0]), "ready", fail_once)
    crash(pool, file)
    until(lambda: pool.restarts["crashed"] == 1)
    assert [worker.alive for worker in starter.started[2:]] == [False, True]
    assert len(starter.pids) == 2


def test_a_worker_whose_thread_fails_is_replaced(
    start_pool: StartPool, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    """No slot is left without a thread when the callback after a task raises."""
    starter = RecordingStarter()
    pool = start_pool(starter, 1)

    def fail(worker: WorkerHandle) -> None:
        if worker is starter.started[0]:
            worker.close = worker.resident  # type: ignore[method-assign, assignment]  # and it cannot be closed
            raise ZeroDivisionError

    pool.on_task = fail
    assert [type(pool.call("trick", task, PATIENCE_S)) for _ in range(3)] == [Reply] * 3
    until_restarted(pool, crashes=1)
    assert "the thread of a worker failed" in caplog.text
    assert "a worker could not be closed" in caplog.text
    assert [worker.served for worker in starter.started] == [1, 2]


def test_workers_that_came_and_went_leave_no_descriptor_and_no_thread(start_pool: StartPool, file: Path) -> None:
    start = processes()
    pool = start_pool(start, 2)
    descriptors, running = len(os.listdir("/proc/self/fd")), threading.active_count()
    for crashes in range(1, 4):
        crash(pool, file)
        until_restarted(pool, crashes)
        pool.reload(start)
        pool.grow()
        pool.shrink()
    until(lambda: threading.active_count() <= running and len(os.listdir("/proc/self/fd")) <= descriptors)
