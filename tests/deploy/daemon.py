"""Starts programs of the system for a test: in the folder of the test, on a free port, stopped at its end."""

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from tests.support.process import PATIENCE_S, ROOT, environment

CONF = ROOT / "conf"
_SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def installed(program: str, package: str) -> str:
    """Return the path of a program of the system, or skip the test."""
    found = shutil.which(program, path=_SYSTEM)
    if found is None:
        pytest.skip(f"{program} is not installed: it is in the Debian package {package}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Daemon:
    """A program that runs in the foreground. `log` is its output."""

    def __init__(self, command: Sequence[str], folder: Path, more: Mapping[str, str]) -> None:
        self._log = folder / "daemon.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=environment(**more))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def answers(self, client: ClientSession, url: str) -> None:
        """Wait until `url` is answered with 200; fail when the program exits or after PATIENCE_S."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._process.poll() is None and not await _is_answered(client, url):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"{url} does not answer: {self.log}")
        assert self._process.poll() is None, self.log

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def end(self) -> None:
        """Send SIGTERM, so that the program stops its child processes; send SIGKILL when it does not exit."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)


Launch = Callable[..., Daemon]
"""Starts a daemon: the command, and variables of its environment."""


async def _is_answered(client: ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as response:
            return response.status == 200
    except (ClientError, OSError):
        return False
