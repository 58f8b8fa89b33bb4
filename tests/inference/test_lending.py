import threading
from contextlib import ExitStack

import pytest

from faceattr_aio.errors import DeadlineExceeded, Unavailable
from faceattr_aio.inference.lending import Lending
from faceattr_aio.inference.process import ThreadWorker, thread_starter
from tests.inference.test_worker import plan
from tests.support.gate import PATIENCE_S


def worker() -> ThreadWorker:
    started = thread_starter(plan)()
    assert isinstance(started, ThreadWorker)
    return started


def lending(*workers: ThreadWorker) -> Lending:
    made = Lending(lambda: None)
    for one in workers:
        made.admit(one)
    return made


def test_an_idle_worker_that_is_retired_ends_at_once_and_is_lent_no_more() -> None:
    one = worker()
    lent = lending(one)
    lent.retire(one)
    assert not one.alive
    with pytest.raises(DeadlineExceeded), lent.lend(0.01):
        pass


def test_a_worker_that_is_retired_at_its_task_ends_after_it() -> None:
    one, other = worker(), worker()
    lent = lending(one)
    with lent.lend(1) as borrowed:
        lent.retire(one)
        lent.admit(other)
        assert borrowed is one
        assert borrowed.alive
    assert not one.alive
    with lent.lend(1) as borrowed:
        assert borrowed is other


def test_retiring_again_does_nothing() -> None:
    one = worker()
    lent = lending(one)
    with lent.lend(1):
        lent.retire(one)
        lent.retire(one)
    lent.retire(one)
    assert lent.is_empty
    assert lent._retired == set()


def test_who_waits_is_given_a_worker_that_comes() -> None:
    one, got = worker(), list[object]()
    lent = lending()

    def borrow() -> None:
        with lent.lend(PATIENCE_S) as borrowed:
            got.append(borrowed)

    waiting = threading.Thread(target=borrow)
    waiting.start()
    lent.admit(one)
    waiting.join(PATIENCE_S)
    assert got == [one]


def test_first_come_is_first_served() -> None:
    """Also when somebody asks at the moment in which a worker comes back."""
    one, served = worker(), list[str]()
    lent = lending(one)

    def borrow(name: str) -> None:
        with lent.lend(PATIENCE_S):
            served.append(name)

    waiting = [threading.Thread(target=borrow, args=(name,)) for name in "abc"]
    with lent._changed:  # as long as this is held, nobody who waits can look
        with ExitStack() as task:
            task.enter_context(lent.lend(1))
            for number, thread in enumerate(waiting):
                thread.start()
                while len(lent._waiting) <= number:
                    lent._changed.wait(0.01)
        borrow("late")
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert served == ["a", "b", "c", "late"]


def test_when_it_has_become_hopeless_nobody_waits() -> None:
    faults, refused = list[str](), list[str]()
    lent = Lending(lambda: faults[0] if faults else None)

    def borrow() -> None:
        with pytest.raises(Unavailable) as error, lent.lend(PATIENCE_S):
            pass
        refused.append(error.value.log)

    lent.check()
    waiting = threading.Thread(target=borrow)
    waiting.start()
    faults.append("The model is gone.")
    lent.look_again()
    waiting.join(PATIENCE_S)
    assert refused == ["The model is gone."]
    with pytest.raises(Unavailable):
        lent.check()


def test_once_closed_it_keeps_none_that_comes_back_and_none_that_is_new() -> None:
    idle, busy, late = worker(), worker(), worker()
    lent = lending(busy)
    with ExitStack() as task:
        task.enter_context(lent.lend(1))
        lent.admit(idle)
        lent.close()
        assert (idle.alive, busy.alive) == (False, True)
    assert not busy.alive
    lent.admit(late)
    assert not late.alive
    with pytest.raises(Unavailable), lent.lend(PATIENCE_S):
        pass
