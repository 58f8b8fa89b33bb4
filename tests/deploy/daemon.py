"""Other people's daemons for tests: in a folder of the test, on a free port, ended with it."""

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
    """The path of a program of the system. Skips the test where it is not installed."""
    found = shutil.which(program, path=_SYSTEM)
    if found is None:
        pytest.skip(f"there is no {program}: install Debian's package {package}")
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Daemon:
    """A program in the foreground; what it says is in `log`."""

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
        """Returns once `url` is answered with 200."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self._process.poll() is None and not await _is_answered(client, url):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"{url} is not answered: {self.log}")
        assert self._process.poll() is None, self.log

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def end(self) -> None:
        """SIGTERM, so that it ends what it has started; SIGKILL if that does not help."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE_S)


Launch = Callable[..., Daemon]
"""Starts one."""


async def _is_answered(client: ClientSession, url: str) -> bool:
    try:
        async with client.get(url) as response:
            return response.status == 200
    except (ClientError, OSError):
        return False
