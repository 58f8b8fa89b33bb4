"""Starts a real server in a separate process, and measures it from outside: memory, CPU time, open files, processes."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
UNCACHED = "[cache]\nbackend = 'none'\n"
"""Setting for measurements that send the same picture again and again."""
QUIET = {"FACEATTR_LOGGING__LEVEL": "warning"}
"""Environment without a log line for each request, for measurements that exclude its cost."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> int:
        """Send SIGTERM. Return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        if self.process.stdout:
            self.process.stdout.close()

    def kill_all(self) -> None:
        """Send SIGKILL to the server and to all processes that it started, even if the server has ended; wait for their
        ends.
        """
        started = [handle for pid in self.descendants() if (handle := _handle(pid)) is not None]
        self.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for handle in started:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            select.select([handle], [], [], PATIENCE_S)
            os.close(handle)

    def open_files(self) -> list[str]:
        """Paths of the regular files that it has open."""
        targets = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed in the meantime
                targets.append(str(descriptor.readlink()))
        return [target for target in targets if target.startswith("/") and "/dev/" not in target]

    def descriptors(self) -> int:
        """Number of open descriptors, including sockets and pipes."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def spread(self) -> list[int]:
        """Number of open sockets of each serving process, including the listening one."""
        return [sockets(pid) for pid in self.serving()]

    def descendants(self) -> list[int]:
        """The ids of all processes that it started, directly or indirectly."""
        return descendants(self.pid)

    def children(self) -> list[int]:
        """The ids of its child processes."""
        return children(self.pid)

    def memory(self) -> dict[int, int]:
        """Resident bytes of the server and of each process that it started, by id."""
        return {pid: resident(pid) for pid in (self.pid, *self.descendants())}

    def proportional(self) -> int:
        """Bytes of memory of the server and of all processes that it started; shared pages count once."""
        return sum(proportional(pid) for pid in (self.pid, *self.descendants()))

    def cpu_s(self) -> float:
        """CPU seconds of the server's own process: the event loop and its threads, without the workers."""
        return cpu_s(self.pid)

    def serving(self) -> list[int]:
        """The ids of the serving processes: its own, or its children if there are several."""
        return [pid for pid in self.children() if _is_serving(pid)] or [self.pid]

    def peak(self) -> int:
        """Peak memory of its own process in bytes since `forget_peak`, or since its start."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def forget_peak(self) -> None:
        """Restart the measurement of `peak` from the current memory."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def _handle(pid: int) -> int | None:
    """A descriptor that refers to this process and not to a later one with its id; None if it has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def children(pid: int) -> list[int]:
    """The ids of a process's children; empty if it has ended."""
    found: list[str] = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended in the meantime
                found += (task / "children").read_text().split()
    return [int(child) for child in found]


def descendants(pid: int) -> list[int]:
    """The ids of a process's children and of their descendants."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def _is_serving(pid: int) -> bool:
    """Return whether the process is one of `server.processes`, not a helper of Python."""
    with suppress(FileNotFoundError):
        return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def sockets(pid: int) -> int:
    """Number of open sockets of a process."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of a process with all its threads, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident(pid: int) -> int:
    """Bytes of resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def proportional(pid: int) -> int:
    """Bytes of memory, each page divided by the number of processes that share it; 0 if the process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    return 0


def environment(**more: str) -> dict[str, str]:
    """The environment without settings of the package, with this checkout on the import path."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FACEATTR_")}
    return ours | {"PYTHONPATH": str(ROOT)} | more


def start_server(
    folder: Path, config: str, more: Mapping[str, str], cores: set[int] | None = None, log: IO[str] | None = None
) -> Server:
    """Start a server on a free port with `config` (TOML), pinned to `cores` if they are given, and return when it
    accepts requests. It logs to standard error, or to `log`.
    """
    file = folder / "faceattr.toml"
    file.write_text(config)
    command = [sys.executable, "-m", "faceattr_aio", "serve", "--port", "0", "--config", str(file)]
    process = _launch(command, folder, more, cores, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "serving on" in line, f"the server did not start: {line!r}"
    return Server(process, line.split()[-1])


def start_program(
    command: Sequence[str], url: str, folder: Path, more: Mapping[str, str], cores: set[int], log: IO[str]
) -> Server:
    """Start any program that serves at `url`, pinned to `cores` unless they are empty. Does not wait until it answers.
    Stop it with `kill_all`.
    """
    return Server(_launch(command, folder, more, cores, stdout=log, stderr=log, start_new_session=True), url)


@contextmanager
def server_core() -> Iterator[int]:
    """Yield the first core that this process may use, for a server, and move this process to the others meanwhile."""
    first, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise SystemExit("This needs two cores: one for the server, one for the load.")
    os.sched_setaffinity(0, others)
    try:
        yield first
    finally:
        os.sched_setaffinity(0, [first, *others])


def _launch(
    command: Sequence[str], folder: Path, more: Mapping[str, str], cores: set[int] | None, **streams: Any
) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603  # programs of the measurements
        command,
        text=True,
        cwd=folder,
        env=environment(**more),
        preexec_fn=_pin_to(cores) if cores else None,  # noqa: PLW1509  # it needs no lock that another thread could hold
        **streams,
    )


def _pin_to(cores: set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)
