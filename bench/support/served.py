"""A real server in a process of its own, as users run it, and what is seen of it from outside: memory, CPU time, open
files, processes. Knows no pipeline.
"""

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
"""In the settings, where one picture is sent over and over and each time is to be worked on."""
QUIET = {"FACEATTR_LOGGING__LEVEL": "warning"}
"""No line for each request, where its cost is not what is asked for."""
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
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self.process.kill()
        self.process.wait(PATIENCE_S)
        if self.process.stdout:
            self.process.stdout.close()

    def kill_all(self) -> None:
        """SIGKILL to the server and to whatever it has started, even if it has ended itself; waits for their ends."""
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
        """What its descriptors of regular files stand for."""
        targets = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since
                targets.append(str(descriptor.readlink()))
        return [target for target in targets if target.startswith("/") and "/dev/" not in target]

    def descriptors(self) -> int:
        """How many descriptors are open, sockets and pipes among them."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def spread(self) -> list[int]:
        """How many sockets each of the processes that serve has open, the listening one among them."""
        return [sockets(pid) for pid in self.serving()]

    def descendants(self) -> list[int]:
        """The ids of all processes that it started, directly or not."""
        return descendants(self.pid)

    def children(self) -> list[int]:
        """The ids of the processes that it started itself."""
        return children(self.pid)

    def memory(self) -> dict[int, int]:
        """Resident bytes of the server and of each process it started, by id."""
        return {pid: resident(pid) for pid in (self.pid, *self.descendants())}

    def proportional(self) -> int:
        """Bytes of memory of the server and of all that it started; what they share is counted once."""
        return sum(proportional(pid) for pid in (self.pid, *self.descendants()))

    def cpu_s(self) -> float:
        """Seconds of CPU that the server's own process has used: the loop and its threads, not the workers."""
        return cpu_s(self.pid)

    def serving(self) -> list[int]:
        """The ids of the processes that serve: its own, or those that it has started for that."""
        return [pid for pid in self.children() if _is_serving(pid)] or [self.pid]

    def peak(self) -> int:
        """The most bytes of memory that its own process has held since `forget_peak`, or ever."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def forget_peak(self) -> None:
        """From now on `peak` counts from what is held now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def _handle(pid: int) -> int | None:
    """A descriptor that stands for the process and no later one; none if it has ended."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def children(pid: int) -> list[int]:
    """The ids of the processes that a process has started; none if it has ended."""
    found: list[str] = []
    with suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended since
                found += (task / "children").read_text().split()
    return [int(child) for child in found]


def descendants(pid: int) -> list[int]:
    """The ids of the process's children and of theirs."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def _is_serving(pid: int) -> bool:
    """Whether the process is one of those that `server.processes` asks for, rather than a helper of Python's."""
    with suppress(FileNotFoundError):
        return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used with all its threads, to a hundredth."""
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
    """Ours without settings of the product, with this checkout within reach."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FACEATTR_")}
    return ours | {"PYTHONPATH": str(ROOT)} | more


def start_server(
    folder: Path, config: str, more: Mapping[str, str], cores: set[int] | None = None, log: IO[str] | None = None
) -> Server:
    """Serves on a free port with `config` (TOML), on `cores` alone if they are given, and returns once it answers. Its
    log goes to ours, or to `log`.
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
    """Any program that is to serve at `url`, on `cores` alone; whether it does is for the caller to find out. Stop it
    with `kill_all`.
    """
    return Server(_launch(command, folder, more, cores, stdout=log, stderr=log, start_new_session=True), url)


@contextmanager
def server_core() -> Iterator[int]:
    """The first core that we may use, for a server; meanwhile we keep to the others."""
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
    return subprocess.Popen(  # noqa: S603  # programs that we know
        command,
        text=True,
        cwd=folder,
        env=environment(**more),
        preexec_fn=_pin_to(cores) if cores else None,  # noqa: PLW1509  # no thread of ours holds a lock it needs
        **streams,
    )


def _pin_to(cores: set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cores)
