"""What `bench.jobs` breaks: Redis with its append-only file, one server, and workers, each a program of its own."""

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
    """Something that is started, ended and started again."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._command, self._folder = command, folder
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  # our own programs
                self._command, cwd=self._folder, env=environment(), stdout=log, stderr=log, start_new_session=True
            )

    def again(self, number: int) -> None:
        """Sends the signal and starts another one at once."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self.process = self._start()

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


class Site:
    """Redis with its append-only file, one server, and workers."""

    def __init__(self, folder: Path, workers: int, seconds: float, opened: ExitStack) -> None:
        self.redis_port, port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = folder / "settings.toml"
        settings.write_text(SETTINGS.format(port=port, redis=self.redis_port, seconds=seconds))
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self.redis = Program(["redis-server", "--port", str(self.redis_port), *durable], folder)
        ours = [sys.executable, "-m", "faceattr_aio"]
        self.server = Program([*ours, "serve", "--config", str(settings)], folder)
        self.workers = [Program([*ours, "worker", "--config", str(settings)], folder) for _ in range(workers)]
        for program in (self.redis, self.server, *self.workers):
            opened.callback(program.end)

    def kill_one(self, number: int) -> None:
        """A worker, or one of the processes that it has started."""
        worker = self.workers[number % len(self.workers)]
        if number % 3:
            worker.again(signal.SIGKILL)
        elif started := descendants(worker.process.pid):
            with suppress(ProcessLookupError):
                os.kill(random.choice(started), signal.SIGKILL)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def site(workers: int, seconds: float) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        yield Site(Path(folder), workers, seconds, opened)
