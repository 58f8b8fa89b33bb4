import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceattr_aio.errors import DeadlineExceeded, InternalError, StartError, UnreadableImage, WorkerGone
from faceattr_aio.inference.process import ProcessWorker, WorkerHandle, process_starter, thread_starter
from faceattr_aio.inference.worker import ProcessLimits
from faceattr_aio.pipeline import Task
from tests.inference.test_worker import MODULES, plan
from tests.support.gate import PATIENCE_S
from tests.support.pipelines import TrickOptions

LIMITS = ProcessLimits(nice=5, memory=1 << 30)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"12345")
    return tmp_path / "file"


@pytest.fixture
def process() -> Iterator[ProcessWorker]:
    worker = process_starter(plan, MODULES, LIMITS)()
    assert isinstance(worker, ProcessWorker)
    worker.hello()
    yield worker
    worker.close()


def ask(worker: WorkerHandle, file: Path, timeout_s: float = PATIENCE_S, **options: str) -> int:
    """The process that answered."""
    reply = worker.call("trick", Task(file, TrickOptions.model_validate(options)), timeout_s)
    return int(reply.result["pid"])


def test_a_process_works_apart_and_niced(process: ProcessWorker, file: Path) -> None:
    assert process.models == {"trick": "0" * 64}
    assert ask(process, file) == process.pid != os.getpid()
    assert process.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5


def test_a_thread_works_in_the_caller(file: Path) -> None:
    worker = thread_starter(plan)()
    worker.hello()
    assert worker.models == {"trick": "0" * 64}
    assert ask(worker, file) == os.getpid()


def test_failures_come_back_and_the_process_goes_on(process: ProcessWorker, file: Path) -> None:
    with pytest.raises(UnreadableImage):
        ask(process, file, do="refuse")
    with pytest.raises(InternalError) as failed:
        ask(process, file, do="raise")
    assert "ZeroDivisionError" in failed.value.log
    assert ask(process, file) == process.pid


def test_a_killed_process_fails_its_task_and_is_dead(process: ProcessWorker, file: Path) -> None:
    with pytest.raises(InternalError) as failed:
        ask(process, file, do="die")
    assert f"{process.pid} died" in failed.value.log
    assert not process.alive


def test_a_process_killed_while_idle_is_gone_before_its_next_task(process: ProcessWorker, file: Path) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not process.alive
    with pytest.raises(WorkerGone):
        ask(process, file)


def test_a_thread_ends_when_it_is_closed() -> None:
    worker = thread_starter(plan)()
    waiting = threading.Thread(target=worker.wait)
    waiting.start()
    worker.close()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    assert not worker.alive


def test_a_process_that_does_not_answer_in_time_is_ended(process: ProcessWorker, file: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        ask(process, file, timeout_s=0.2, do="hang")
    assert not process.alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_group_ends_neither_a_worker_nor_what_it_was_forked_from(
    number: signal.Signals, process: ProcessWorker, file: Path
) -> None:
    assert process.pid is not None
    forked_from = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (process.pid, forked_from):
        os.kill(pid, number)
    assert ask(process, file) == process.pid
    another = process_starter(plan, MODULES, LIMITS)()
    another.hello()
    assert Path(f"/proc/{forked_from}").exists()
    another.close()


def test_a_process_that_cannot_load_says_why(tmp_path: Path) -> None:
    worker = process_starter(lambda: plan(broken_while=tmp_path), MODULES, LIMITS)()
    with pytest.raises(StartError, match="mend it"):
        worker.hello()
    worker.close()
    assert not worker.alive


def test_a_decoder_may_take_its_budget_of_memory_and_no_more(tmp_path: Path) -> None:
    worker = process_starter(plan, MODULES, ProcessLimits(nice=0, memory=64 << 20))()
    worker.hello()
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(256 << 20)
    with pytest.raises(InternalError) as failed:
        ask(worker, large)
    assert "MemoryError" in failed.value.log
    with large.open("wb") as file:
        file.truncate(16 << 20)
    assert ask(worker, large)
    worker.close()


def test_a_closed_worker_leaves_no_process(process: ProcessWorker) -> None:
    pid = process.pid
    process.close()
    assert not Path(f"/proc/{pid}").exists()
    assert not [child for child in multiprocessing.active_children() if child.pid == pid]
