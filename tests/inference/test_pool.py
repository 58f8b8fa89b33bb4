"""The queue of a pool: the order of batches, cancellation, quotas, and closing."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from faceattr_aio.admission.limiter import Limiter, Quota
from faceattr_aio.errors import ClientGone, DeadlineExceeded, FaceattrError, InternalError, Unavailable
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import Starter
from faceattr_aio.pipeline import Reply, Task
from tests.inference.conftest import StartPool
from tests.support.gate import PATIENCE_S, Gate
from tests.support.pipelines import TrickOptions
from tests.support.workers import RecordingStarter, make_batch, processes, resources, threads, until


def marking(order: list[str], name: str) -> Callable[[], bool]:
    """For `is_wanted`: records each start of a picture."""

    def is_wanted() -> bool:
        order.append(name)
        return True

    return is_wanted


def test_each_worker_runs_one_picture_at_a_time(start_pool: StartPool, gate: Gate, task: Task) -> None:
    pool = start_pool(threads(gate=gate.folder), 2)
    works = [pool.submit(make_batch(task)) for _ in range(3)]
    gate.wait_for(2)
    assert not gate.has_arrival()
    gate.open()
    assert all(isinstance(work.result(PATIENCE_S)[0], Reply) for work in works)


def test_the_deadline_counts_while_a_batch_waits_for_a_worker(start_pool: StartPool, gate: Gate, task: Task) -> None:
    pool, started = start_pool(threads(gate=gate.folder), 1), list[str]()
    held = pool.submit(make_batch(task))
    gate.wait_for(1)
    late = pool.submit(make_batch(task, deadline=0.0, observe=lambda _: started.append("late")))
    gate.open()
    assert isinstance(held.result(PATIENCE_S)[0], Reply)
    assert isinstance(late.result(PATIENCE_S)[0], DeadlineExceeded)
    assert started == []


def test_first_come_is_first_served(start_pool: StartPool, gate: Gate, task: Task) -> None:
    """Also when a batch comes at the moment at which a worker becomes idle."""
    pool, order, late = start_pool(threads(gate=gate.folder), 1), list[str](), list[object]()

    def submit_late() -> None:
        late.append(pool.submit(make_batch(task, is_wanted=marking(order, "late"))))

    held = pool.submit(make_batch(task, resources=resources(submit_late)))
    gate.wait_for(1)
    works = [pool.submit(make_batch(task, is_wanted=marking(order, name))) for name in "abc"]
    gate.open()
    for work in (held, *works, *late):
        work.result(PATIENCE_S)  # type: ignore[attr-defined]  # they are futures
    assert order == ["a", "b", "c", "late"]


def test_batches_take_turns_picture_by_picture(start_pool: StartPool, gate: Gate, task: Task) -> None:
    pool, order = start_pool(threads(gate=gate.folder), 1), list[str]()
    held = pool.submit(make_batch(task))
    gate.wait_for(1)
    works = [
        pool.submit(make_batch(*[task] * pictures, is_wanted=marking(order, name)))
        for name, pictures in {"a": 3, "b": 1, "c": 2}.items()
    ]
    gate.open()
    for work in (held, *works):
        work.result(PATIENCE_S)
    assert order == ["a", "b", "c", "a", "c", "a"]


def test_a_batch_that_waits_runs_on_a_worker_that_is_added(start_pool: StartPool, gate: Gate, task: Task) -> None:
    pool = start_pool(threads(gate=gate.folder), 1)
    works = [pool.submit(make_batch(task)) for _ in range(2)]
    gate.wait_for(1)
    pool.grow()
    gate.wait_for(1)
    gate.open()
    for work in works:
        work.result(PATIENCE_S)


@pytest.mark.parametrize("start", [threads(), processes()], ids=["thread", "process"])
def test_threads_and_processes_run_tasks_in_the_same_way(start: Starter, start_pool: StartPool, task: Task) -> None:
    pool = start_pool(start, 1)
    assert pool.models == {"trick": "0" * 64}
    outcome = pool.call("trick", task, PATIENCE_S)
    assert isinstance(outcome, Reply)
    assert outcome.result["bytes"] == 5
    assert list(outcome.laps) == ["queue", "decode", "trick"]


async def test_an_event_loop_can_run_batches_in_it(start_pool: StartPool, task: Task) -> None:
    pool, batch = start_pool(threads(), 1), make_batch(task)
    (outcome,) = await asyncio.get_running_loop().run_in_executor(pool, batch)  # type: ignore[arg-type]  # see Executor
    assert isinstance(outcome, Reply)


def test_a_worker_whose_task_failed_is_used_again(pool_of_processes: tuple[Pool, RecordingStarter], file: Path) -> None:
    pool, starter = pool_of_processes
    before = starter.pids
    for _ in range(4):
        assert isinstance(pool.call("trick", Task(file, TrickOptions(do="refuse")), PATIENCE_S), FaceattrError)
    assert starter.pids == before
    assert pool.restarts == {}


def test_a_queued_batch_that_is_cancelled_closes_its_resources_at_once_and_does_not_run(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    pool, closed, started = start_pool(threads(gate=gate.folder), 1), list[str](), list[str]()
    held = pool.submit(make_batch(task, resources=resources(lambda: closed.append("held"))))
    gate.wait_for(1)
    queued = pool.submit(
        make_batch(task, resources=resources(lambda: closed.append("queued")), is_wanted=marking(started, "queued"))
    )
    last = pool.submit(make_batch(task))
    assert queued.cancel()
    assert queued.cancel()
    assert closed == ["queued"]
    assert not held.cancel()
    gate.open()
    last.result(PATIENCE_S)
    assert closed == ["queued", "held"]
    assert started == []
    assert not held.cancel()
    with pytest.raises(CancelledError):
        queued.result()


def test_a_batch_between_two_pictures_can_be_cancelled(start_pool: StartPool, gate: Gate, task: Task) -> None:
    pool, closed = start_pool(threads(gate=gate.folder), 1), list[str]()
    two = pool.submit(make_batch(task, task, resources=resources(lambda: closed.append("two"))))
    gate.wait_for(1)
    other = pool.submit(make_batch(task, is_wanted=two.cancel))  # is called between the two
    gate.open()
    other.result(PATIENCE_S)
    assert two.cancelled()
    assert closed == ["two"]


def test_resources_are_closed_by_the_work_before_its_result_is_seen(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    pool, closed = start_pool(threads(gate=gate.folder), 1), threading.Event()
    seen = list[bool]()
    work = pool.submit(make_batch(task, resources=resources(closed.set)))
    work.add_done_callback(lambda _: seen.append(closed.is_set()))
    gate.wait_for(1)
    assert not closed.is_set()
    gate.open()
    work.result(PATIENCE_S)
    assert closed.is_set()
    until(lambda: seen == [True])


def test_what_a_batch_raises_reaches_the_caller_and_closes_its_resources(start_pool: StartPool, task: Task) -> None:
    pool, closed = start_pool(threads(), 1), list[str]()

    def fail() -> bool:
        raise ZeroDivisionError

    for is_wanted, error in ((lambda: False, ClientGone), (fail, ZeroDivisionError)):
        batch = make_batch(task, resources=resources(lambda: closed.append("closed")), is_wanted=is_wanted)
        with pytest.raises(error):
            pool.submit(batch).result(PATIENCE_S)
    assert closed == ["closed"] * 2
    assert isinstance(pool.call("trick", task, PATIENCE_S), Reply)


def test_a_quota_bounds_the_workers_that_run_its_batches_and_others_pass(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    pool, order = start_pool(threads(gate=gate.folder), 3), list[str]()
    quota = Quota(Limiter(9, 3), 0.4, "requests for slow")
    slow = [pool.submit(make_batch(task, quota=quota, is_wanted=marking(order, name))) for name in "abc"]
    quick = [pool.submit(make_batch(task, is_wanted=marking(order, "quick"))) for _ in range(2)]
    gate.wait_for(3)
    assert sorted(order) == ["a", "quick", "quick"]
    gate.open()
    for work in (*slow, *quick):
        work.result(PATIENCE_S)
    assert [name for name in order if name != "quick"] == ["a", "b", "c"]


def test_a_quota_that_grows_gets_another_worker_at_once(start_pool: StartPool, gate: Gate, task: Task) -> None:
    pool, limiter = start_pool(threads(gate=gate.folder), 2), Limiter(9, 2)
    quota = Quota(limiter, 0.5, "requests for slow")
    works = [pool.submit(make_batch(task, quota=quota)) for _ in range(2)]
    gate.wait_for(1)
    assert not gate.has_arrival()
    limiter.resize(9, 4)
    pool.wake()
    gate.wait_for(1)
    gate.open()
    for work in works:
        work.result(PATIENCE_S)


def test_closing_ends_idle_and_busy_workers_and_cancels_what_is_queued(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    starter, closed = RecordingStarter(processes(gate=gate.folder)), list[str]()
    pool = start_pool(starter, 1)
    started = pool.submit(make_batch(task, task))
    gate.wait_for(1)
    queued = pool.submit(make_batch(task, resources=resources(lambda: closed.append("queued"))))
    pool.close()
    assert starter.alive == 0
    assert [type(outcome) for outcome in started.result(PATIENCE_S)][1:] == [Unavailable]
    assert isinstance(started.result()[0], InternalError)
    assert queued.cancelled()
    assert closed == ["queued"]


def test_closing_waits_for_a_thread_at_its_task_as_long_as_it_is_allowed_to(
    start_pool: StartPool, gate: Gate, task: Task
) -> None:
    starter = RecordingStarter(threads(gate=gate.folder))
    pool = start_pool(starter, 2)
    work = pool.submit(make_batch(task, task))
    gate.wait_for(1)
    pool.close(wait_s=0.01)
    until(lambda: starter.alive == 1)  # the idle one has ended
    gate.open()
    outcomes = work.result(PATIENCE_S)
    assert [type(outcome) for outcome in outcomes] == [Reply, Unavailable]
    pool.close()
    assert starter.alive == 0


def test_closing_while_workers_finish_their_tasks_ends_all(start_pool: StartPool, gate: Gate, task: Task) -> None:
    starter = RecordingStarter(threads(gate=gate.folder))
    pool = start_pool(starter, 2)
    works = [pool.submit(make_batch(task)) for _ in range(2)]
    gate.wait_for(2)
    queued = pool.submit(make_batch(task))
    for worker in starter.started:
        worker.kill = gate.open  # type: ignore[method-assign]  # they finish while it closes
    pool.close()
    assert starter.alive == 0
    assert queued.cancelled()
    assert all(isinstance(work.result(PATIENCE_S)[0], Reply) for work in works)


def test_a_closed_pool_cancels_what_is_submitted_and_closes_its_resources(start_pool: StartPool, task: Task) -> None:
    pool, closed = start_pool(threads(), 1), list[str]()
    pool.close()
    work = pool.submit(make_batch(task, resources=resources(lambda: closed.append("closed"))))
    assert work.cancelled()
    assert closed == ["closed"]
    with pytest.raises(Unavailable):
        pool.call("trick", task, PATIENCE_S)


def test_a_pool_that_is_closed_while_it_starts_keeps_no_worker() -> None:
    starter = RecordingStarter()
    pool = Pool(starter, 1)
    starter.on_start = pool.close
    pool.start()
    assert (len(starter.started), starter.alive) == (1, 0)
