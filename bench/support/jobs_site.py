"""The programs that `bench.jobs` kills and restarts: Redis with its append-only file, one server, and workers."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.support.served import PATIENCE_S, descendants, environment

SETTINGS = """
[server]
port = {port}
drain_s = 5
[inference]
workers = 2
[jobs]
backend = "celery"
url = "redis://127.0.0.1:{redis}/0"
waiting = 500
visibility_s = 2
[logging]
level = "warning"
[pipelines.numbered]
factory = "bench.support.numbered:Numbered"
path = "/numbered"
seconds = {seconds}
"""


class Program:
    """A program that can be restarted."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command, self._folder = command, folder
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # the programs of this module
                self._command, cwd=self._folder, env=environment(), stdout=log, stderr=log, start_new_session=True
            )

    def restart(self, number: int) -> None:
        """Send the signal, and start the program again after its exit."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self.process = self._start()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


class JobSite:
    """Redis, one server and workers, on free ports."""

    def __init__(self, folder: Path, workers: int, seconds: float, resources: ExitStack) -> None:
        self.redis_port, port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = folder / "settings.toml"
        settings.write_text(SETTINGS.format(port=port, redis=self.redis_port, seconds=seconds))
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self.redis = Program(["redis-server", "--port", str(self.redis_port), *durable], folder)
        command = [sys.executable, "-m", "faceattr_aio"]
        self.server = Program([*command, "serve", "--config", str(settings)], folder)
        self.workers = [Program([*command, "worker", "--config", str(settings)], folder) for _ in range(workers)]
        for program in (self.redis, self.server, *self.workers):
            resources.callback(program.end)

    def kill_one(self, number: int) -> None:
        """Kill a worker, or every third time one of its processes."""
        worker = self.workers[number % len(self.workers)]
        if number % 3:
            worker.restart(signal.SIGKILL)
        elif processes := descendants(worker.process.pid):
            with suppress(ProcessLookupError):
                os.kill(random.choice(processes), signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def start_site(workers: int, seconds: float) -> Iterator[JobSite]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as resources:
        yield JobSite(Path(folder), workers, seconds, resources)
