import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from faceattr_aio.errors import DeadlineExceeded, InternalError, StartError, UnreadableImage, WorkerGone
from faceattr_aio.inference.process import ProcessWorker, WorkerCrashed, WorkerHandle, process_starter
from faceattr_aio.inference.worker import ProcessLimits
from faceattr_aio.pipeline import Task
from tests.support.gate import PATIENCE_S
from tests.support.pipelines import TrickOptions
from tests.support.workers import MODULES, load_specs, processes, threads


@pytest.fixture
def process() -> Iterator[ProcessWorker]:
    worker = processes()()
    assert isinstance(worker, ProcessWorker)
    worker.ready()
    yield worker
    worker.close()


def ask(worker: WorkerHandle, file: Path, timeout_s: float = PATIENCE_S, **options: str) -> int:
    """The process that answered."""
    reply = worker.call("trick", Task(file, TrickOptions.model_validate(options)), timeout_s)
    return int(reply.result["pid"])


def test_a_process_runs_apart_and_niced(process: ProcessWorker, file: Path) -> None:
    assert process.models == {"trick": "0" * 64}
    assert ask(process, file) == process.pid != os.getpid()
    assert process.pid is not None
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5


def test_a_thread_runs_tasks_in_the_caller(file: Path) -> None:
    worker = threads()()
    worker.ready()
    assert worker.models == {"trick": "0" * 64}
    assert ask(worker, file) == os.getpid()


def test_failures_are_raised_and_the_process_stays(process: ProcessWorker, file: Path) -> None:
    with pytest.raises(UnreadableImage):
        ask(process, file, do="refuse")
    with pytest.raises(InternalError) as failed:
        ask(process, file, do="raise")
    assert "ZeroDivisionError" in failed.value.log
    assert ask(process, file) == process.pid


def test_a_process_that_is_killed_fails_its_task(process: ProcessWorker, file: Path) -> None:
    with pytest.raises(WorkerCrashed) as failed:
        ask(process, file, do="die")
    assert (failed.value.status, failed.value.kind) == (InternalError.status, InternalError.kind)
    assert f"{process.pid} exited during its task" in failed.value.log
    assert not process.alive


def test_a_process_killed_while_idle_is_gone_before_its_next_task(process: ProcessWorker, file: Path) -> None:
    assert process.pid is not None
    exited, seen = threading.Event(), list[bool]()

    def on_exit() -> None:
        seen.append(process.alive)
        exited.set()

    process.watch(on_exit)
    assert ask(process, file) == process.pid
    assert not exited.is_set()
    os.kill(process.pid, signal.SIGKILL)
    assert exited.wait(PATIENCE_S)
    assert seen == [False]
    with pytest.raises(WorkerGone):
        ask(process, file)


def test_a_thread_ends_when_it_is_closed() -> None:
    worker = threads()()
    worker.watch(lambda: pytest.fail("it did not exit by itself"))
    worker.kill()
    assert worker.alive
    worker.close()
    assert not worker.alive


def test_a_process_that_does_not_answer_in_time_is_ended(process: ProcessWorker, file: Path) -> None:
    with pytest.raises(DeadlineExceeded):
        ask(process, file, timeout_s=0.2, do="hang")
    assert not process.alive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_group_ends_neither_a_worker_nor_the_fork_server(
    number: signal.Signals, process: ProcessWorker, file: Path
) -> None:
    assert process.pid is not None
    fork_server = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    for pid in (process.pid, fork_server):
        os.kill(pid, number)
    assert ask(process, file) == process.pid
    another = processes()()
    another.ready()
    assert Path(f"/proc/{fork_server}").exists()
    another.close()


def test_a_process_that_cannot_load_reports_why(tmp_path: Path) -> None:
    worker = processes(broken_while=tmp_path)()
    with pytest.raises(StartError, match="repair it"):
        worker.ready()
    worker.close()
    assert not worker.alive


def test_a_decoder_can_allocate_its_budget_of_memory_and_no_more(tmp_path: Path) -> None:
    worker = process_starter(load_specs, MODULES, ProcessLimits(nice=0, memory=64 << 20))()
    worker.ready()
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
