import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faceattr_aio.errors import DeadlineExceeded, FaceattrError, InternalError, StartError, Unavailable, WorkerGone
from faceattr_aio.inference.pool import Pool
from faceattr_aio.inference.process import Starter, WorkerHandle, process_starter, thread_starter
from faceattr_aio.pipeline import Task
from tests.inference.test_process import LIMITS
from tests.inference.test_worker import MODULES, plan
from tests.support.gate import PATIENCE_S
from tests.support.pipelines import TrickOptions


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    """Two processes, which cannot be started while the file `broken` exists."""
    pool = Pool(process_starter(lambda: plan(broken_while=tmp_path / "broken"), MODULES, LIMITS), 2)
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"12345")
    return tmp_path / "file"


def idle(pool: Pool) -> set[int]:
    """The ids of the processes of the workers that are idle now."""
    return {worker.pid for worker in tuple(pool._lending._idle)}  # type: ignore[attr-defined]  # they are processes


def start_with(pool: Pool, start: Starter) -> None:
    """From now on, where a worker has ended."""
    for seat in pool._seats:
        seat.start = start


def die(pool: Pool, file: Path) -> None:
    with pytest.raises(InternalError), pool.lend(PATIENCE_S) as worker:
        worker.call("trick", Task(file, TrickOptions(do="die")), PATIENCE_S)


def fault_of(pool: Pool) -> str:
    """Waits until there is one."""
    while pool.fault is None:
        time.sleep(0.01)
    return pool.fault


def all_workers(pool: Pool) -> set[int]:
    """Waits until every worker is idle, and gives the ids of their processes."""
    with pool.lend(PATIENCE_S) as one, pool.lend(PATIENCE_S) as other:
        return {one.pid, other.pid}  # type: ignore[attr-defined]  # they are processes


def test_a_lent_worker_is_nobody_elses(pool: Pool) -> None:
    with pool.lend(1) as one, pool.lend(1) as other:
        assert one is not other
        with pytest.raises(DeadlineExceeded), pool.lend(0.05):
            pass
    assert len(all_workers(pool)) == 2


def test_a_dead_worker_is_replaced_and_the_other_stays(pool: Pool, file: Path) -> None:
    before = all_workers(pool)
    die(pool, file)
    after = all_workers(pool)
    assert len(before & after) == 1
    assert len(after) == 2


def test_all_workers_can_die_and_all_come_back(pool: Pool, file: Path) -> None:
    before = all_workers(pool)
    die(pool, file)
    die(pool, file)
    assert len(all_workers(pool) - before) == 2


def test_a_worker_that_cannot_be_replaced_is_a_fault_until_it_can(
    pool: Pool, file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Event()
    real = pool._start_worker

    def start() -> WorkerHandle:
        worker = real()
        if (tmp_path / "broken").exists():
            tried.set()
        return worker

    start_with(pool, start)
    (tmp_path / "broken").touch()
    die(pool, file)
    assert tried.wait(PATIENCE_S)
    assert fault_of(pool) == "The trick is broken: mend it."
    (tmp_path / "broken").unlink()
    assert len(all_workers(pool)) == 2
    assert not pool.fault
    assert "mend it" in caplog.text


def test_a_worker_that_ends_while_idle_is_replaced_though_nobody_asks(pool: Pool) -> None:
    before = all_workers(pool)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    while len(idle(pool)) < 2 or idle(pool) & before:
        time.sleep(0.01)
    assert not all_workers(pool) & before


def test_while_all_workers_are_being_replaced_it_says_so(pool: Pool) -> None:
    go_on, real = threading.Event(), pool._start_worker

    def start() -> WorkerHandle:
        go_on.wait(PATIENCE_S)
        return real()

    start_with(pool, start)
    assert pool.fault is None
    for pid in all_workers(pool):
        os.kill(pid, signal.SIGKILL)
    assert fault_of(pool) == "All workers have ended; new ones are being started."
    go_on.set()
    assert len(all_workers(pool)) == 2
    assert pool.fault is None


def test_with_no_worker_and_none_to_come_nobody_waits(pool: Pool, file: Path, tmp_path: Path) -> None:
    pool.check()
    (tmp_path / "broken").touch()
    die(pool, file)
    die(pool, file)
    with pytest.raises(Unavailable), pool.lend(PATIENCE_S):
        pass
    with pytest.raises(Unavailable) as refused:
        pool.check()
    assert refused.value.log == "The trick is broken: mend it."
    (tmp_path / "broken").unlink()
    while pool.fault:
        time.sleep(0.01)
    assert len(all_workers(pool)) == 2


def test_a_pool_that_is_closed_while_it_starts_keeps_no_worker() -> None:
    pool = Pool(process_starter(plan, MODULES, LIMITS), 1)
    pool.close()
    pool.start()
    assert pool._lending.is_empty


def test_a_fault_lasts_until_the_last_worker_is_back(pool: Pool, file: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    die(pool, file)
    die(pool, file)
    while not all(seat.fault for seat in pool._seats):
        time.sleep(0.01)
    pool._seats[0].fault = None
    assert pool.fault == "The trick is broken: mend it."
    (tmp_path / "broken").unlink()
    assert len(all_workers(pool)) == 2


def test_a_pool_that_cannot_start_leaves_no_worker(tmp_path: Path) -> None:
    started: list[WorkerHandle] = []
    start = process_starter(lambda: plan(broken_while=tmp_path), MODULES, LIMITS)

    def remember() -> WorkerHandle:
        started.append(start())
        return started[-1]

    with pytest.raises(StartError, match="mend it"):
        Pool(remember, 2).start()
    assert [worker.alive for worker in started] == [False, False]


def test_closing_ends_idle_and_lent_workers(pool: Pool, file: Path) -> None:
    with pool.lend(1) as worker:
        pool.close()
        with pytest.raises((InternalError, WorkerGone)):
            worker.call("trick", Task(file, TrickOptions()), PATIENCE_S)
    assert not worker.alive
    with pytest.raises(Unavailable), pool.lend(0.05):
        pass


def test_threads_are_lent_in_the_same_way(file: Path) -> None:
    pool = Pool(thread_starter(plan), 1)
    pool.start()
    assert pool.models == {"trick": "0" * 64}
    with pool.lend(1) as worker:
        assert worker.call("trick", Task(file, TrickOptions()), 1).result["bytes"] == 5
    pool.close()


def test_a_worker_whose_hello_makes_no_sense_is_ended_and_a_fault(pool: Pool, file: Path) -> None:
    """Whatever goes wrong, no process is left behind and the seat is filled in the end."""
    hired: list[WorkerHandle] = []
    real = pool._start_worker

    def start() -> WorkerHandle:
        worker = real()
        hired.append(worker)
        if len(hired) == 1:
            worker.hello = lambda: 1 / 0  # type: ignore[method-assign, assignment]  # nonsense
        return worker

    start_with(pool, start)
    die(pool, file)
    assert len(all_workers(pool)) == 2
    assert [worker.alive for worker in hired] == [False, True]


def test_closing_does_not_trip_over_a_worker_that_comes_back_meanwhile() -> None:
    pool = Pool(thread_starter(plan), 2)
    pool.start()
    lent, come_back, is_back = threading.Barrier(3), threading.Event(), threading.Event()

    def borrow() -> None:
        with pool.lend(PATIENCE_S) as worker:
            worker.kill = wait_a_moment  # type: ignore[method-assign]  # at which closing is half way
            lent.wait()
            come_back.wait(PATIENCE_S)
        is_back.set()

    def wait_a_moment() -> None:
        come_back.set()
        is_back.wait(0.2)

    borrowers = [threading.Thread(target=borrow) for _ in range(2)]
    for borrower in borrowers:
        borrower.start()
    lent.wait()
    pool.close()
    for borrower in borrowers:
        borrower.join(PATIENCE_S)
    assert pool._lending.is_empty


def test_a_worker_whose_task_failed_is_lent_again(pool: Pool, file: Path) -> None:
    for _ in range(3):
        with pytest.raises(FaceattrError), pool.lend(PATIENCE_S) as worker:
            worker.call("trick", Task(file, TrickOptions(do="refuse")), PATIENCE_S)
    assert len(all_workers(pool)) == 2


class Starts:
    """Starts threads, tells of each, and fails at those whose numbers are in `failing`."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.started: list[WorkerHandle] = []
        self.looking: Callable[[], None] = lambda: None

    def __call__(self) -> WorkerHandle:
        self.looking()
        if len(self.started) in self.failing:
            self.failing = ()
            raise StartError("The trick is broken: mend it.")
        self.started.append(thread_starter(plan)())
        return self.started[-1]

    def alive(self) -> int:
        return sum(worker.alive for worker in self.started)


@pytest.fixture
def threads() -> Iterator[tuple[Pool, Starts]]:
    """Three threads."""
    first = Starts()
    pool = Pool(first, 3)
    pool.start()
    yield pool, first
    pool.close()


def test_a_reload_replaces_all_workers_one_after_another_and_never_below_the_size(
    threads: tuple[Pool, Starts],
) -> None:
    (pool, old), new, ready = threads, Starts(), list[int]()
    new.looking = lambda: ready.append(old.alive() + new.alive())
    pool.reload(new)
    assert ready == [3, 3, 3]
    assert (old.alive(), new.alive()) == (0, 3)
    assert pool.restarts == {"reloaded": 3}
    assert pool.size == 3


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_reload_that_fails_puts_back_workers_as_before(failing: int, threads: tuple[Pool, Starts]) -> None:
    (pool, old), new, ready = threads, Starts(failing), list[int]()
    old.looking = new.looking = lambda: ready.append(old.alive() + new.alive())
    with pytest.raises(StartError, match="mend it"):
        pool.reload(new)
    assert (old.alive(), new.alive()) == (3, 0)
    assert ready == [3] * (2 * failing + 1)
    assert pool.fault is None
    pool.recycle(lambda _: True)
    assert new.alive() == 0  # the next ones are as before too


def test_a_worker_stays_as_reloaded_when_none_as_before_can_be_started(
    threads: tuple[Pool, Starts], caplog: pytest.LogCaptureFixture
) -> None:
    pool, old = threads
    old.failing = (3,)
    new = Starts(2)
    with pytest.raises(StartError):
        pool.reload(new)
    assert (old.alive(), new.alive()) == (2, 1)
    assert "one worker stays as reloaded: The trick is broken: mend it." in caplog.text


def test_a_worker_at_its_task_is_replaced_at_once_and_ends_after_it(threads: tuple[Pool, Starts]) -> None:
    (pool, old), new = threads, Starts()
    with pool.lend(1) as busy:
        pool.reload(new)
        assert (old.alive(), new.alive()) == (1, 3)
        with pool.lend(1) as one, pool.lend(1) as two, pool.lend(1) as three:
            assert {one, two, three} == set(new.started)
        assert busy.alive
    assert old.alive() == 0


def test_a_reload_fills_a_seat_that_could_not_be_filled(pool: Pool, file: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    die(pool, file)
    die(pool, file)
    while pool._hopeless() is None:
        time.sleep(0.01)
    pool.reload(process_starter(plan, MODULES, LIMITS))
    assert pool.fault is None
    assert len(all_workers(pool)) == 2


def test_a_worker_that_ends_while_it_is_replaced_has_one_successor(pool: Pool) -> None:
    real, started = pool._start_worker, list[WorkerHandle]()

    def start() -> WorkerHandle:
        if not started:
            before = pool._seats[0].worker
            os.kill(before.pid, signal.SIGKILL)  # type: ignore[union-attr]  # a process
            before.wait()  # type: ignore[union-attr]  # there is one
        started.append(real())
        return started[-1]

    pool.reload(start)
    assert len(all_workers(pool)) == 2
    while sum(thread.name == "faceattr-seat" for thread in threading.enumerate()) > 2:  # who kept the one that ended
        time.sleep(0.01)
    assert [worker.alive for worker in started] == [True, True]
    assert pool.restarts == {"reloaded": 2}


def test_a_worker_put_there_by_a_reload_is_replaced_by_one_like_it(pool: Pool, file: Path) -> None:
    starts = list[int]()
    new = process_starter(plan, MODULES, LIMITS)

    def start() -> WorkerHandle:
        starts.append(1)
        return new()

    pool.reload(start)
    die(pool, file)
    assert len(all_workers(pool)) == 2
    assert len(starts) == 3
    assert pool.restarts == {"reloaded": 2, "crashed": 1}


def test_recycling_replaces_one_worker_that_is_due_and_no_other(threads: tuple[Pool, Starts]) -> None:
    (pool, starts), ready = threads, list[int]()
    starts.looking = lambda: ready.append(starts.alive())
    due = starts.started[1:]
    for _ in range(3):
        pool.recycle(lambda worker: worker in due)
    assert [worker.alive for worker in starts.started] == [True, False, False, True, True]
    assert ready == [3, 3]
    assert pool.restarts == {"recycled": 2}


def test_a_worker_that_cannot_be_recycled_stays(threads: tuple[Pool, Starts]) -> None:
    pool, starts = threads
    starts.failing = (3,)
    with pytest.raises(StartError):
        pool.recycle(lambda _: True)
    assert starts.alive() == 3
    assert pool.fault is None
    assert pool.restarts == {}


def test_it_grows_and_shrinks_by_one_worker(threads: tuple[Pool, Starts]) -> None:
    pool, starts = threads
    pool.grow()
    assert (pool.size, starts.alive()) == (4, 4)
    pool.shrink()
    pool.shrink()
    assert (pool.size, starts.alive()) == (2, 2)
    assert pool.restarts == {"scaled": 3}
    with pool.lend(1), pool.lend(1), pytest.raises(DeadlineExceeded), pool.lend(0.01):
        pass


def test_a_pool_that_cannot_grow_is_as_before(threads: tuple[Pool, Starts]) -> None:
    pool, starts = threads
    starts.failing = (3,)
    with pytest.raises(StartError):
        pool.grow()
    assert (pool.size, starts.alive()) == (3, 3)
    assert pool.fault is None


def test_a_worker_that_is_taken_away_ends_after_its_task_and_is_not_replaced(threads: tuple[Pool, Starts]) -> None:
    pool, starts = threads
    with pool.lend(1), pool.lend(1), pool.lend(1):
        pool.shrink()
        assert starts.alive() == 3
    assert starts.alive() == 2
    assert len(starts.started) == 3


def test_workers_that_came_and_went_leave_no_descriptor_and_no_thread(pool: Pool, file: Path) -> None:
    all_workers(pool)
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        die(pool, file)
        pool.reload(pool._start_worker)
        pool.grow()
        pool.shrink()
    assert len(all_workers(pool)) == 2
    while threading.active_count() > threads or len(os.listdir("/proc/self/fd")) > descriptors:
        time.sleep(0.01)


def test_closing_in_the_middle_of_a_reload_ends_all_workers(threads: tuple[Pool, Starts]) -> None:
    (pool, old), new = threads, Starts()
    new.looking = pool.close
    with pytest.raises(StartError, match="being ended"):
        pool.reload(new)
    assert (old.alive(), new.alive()) == (0, 0)
    assert len(new.started) == 1


def test_closing_while_it_grows_ends_the_new_worker_and_starts_no_other(threads: tuple[Pool, Starts]) -> None:
    pool, starts = threads
    starts.looking = pool.close
    pool.grow()
    assert starts.alive() == 0
    while any(thread.name == "faceattr-seat" for thread in threading.enumerate()):
        time.sleep(0.01)
    assert len(starts.started) == 4
