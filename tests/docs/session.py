"""Follows a page from top to bottom: runs programs in a folder with pictures and keeps servers running. The ports of a
page are replaced by free ones.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support.process import PATIENCE_S, ROOT, environment

MAIN_PORT = "5000"
_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d{4,5}|(?<=port=)\d{4,5}|(?<=listen )\d{4,5}")
_SERVE = ("faceattr-aio", "serve")


class Session:
    """The state while a page is followed. `output` is that of the last program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = ""
        self._ports: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for shared in ("README.md", "bench", "conf", "docs"):
            (folder / shared).symlink_to(ROOT / shared)
        (folder / "photos").mkdir()
        for own in ("one.jpg", "photos/two.jpg", "photos/three.jpg"):
            shutil.copy(ROOT / "docs" / "astronaut.jpg", folder / own)

    def localize(self, text: str) -> str:
        """Return the text with the ports of this session."""
        return _PORT.sub(lambda found: str(self._port(found[0])), text)

    def keep(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(self.localize(text))
        return path

    def run(self, *command: str) -> None:
        """Run a program to its end. Fails with its output when it fails."""
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self._environment(),
            timeout=PATIENCE_S,
        )
        assert ended.returncode == 0, f"exit status {ended.returncode}\n{ended.stdout}{ended.stderr}"
        self.output = ended.stdout

    def serve(self, port: str, *command: str) -> None:
        """Start a server in the background and wait for its port. Stops the server that used this port before."""
        self._stop(port)
        process = subprocess.Popen(command, cwd=self.folder, env=self._environment())
        self._running[port] = process
        ends = time.monotonic() + PATIENCE_S
        while not _answers(self._port(port)):
            assert process.poll() is None, f"the server has exited with {process.returncode}"
            assert time.monotonic() < ends, "the port does not answer"
            time.sleep(0.05)

    def provide(self, text: str) -> None:
        """Start `faceattr-aio serve` if the text sends requests to it and it does not run."""
        if f"127.0.0.1:{MAIN_PORT}" in text and MAIN_PORT not in self._running:
            self.serve(MAIN_PORT, *_SERVE)

    def close(self) -> None:
        for port in list(self._running):
            self._stop(port)

    def _stop(self, port: str) -> None:
        if process := self._running.pop(port, None):
            process.terminate()
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                process.terminate()  # a second SIGTERM ends the server without its drain
                process.wait(PATIENCE_S)

    def _port(self, named: str) -> int:
        if named not in self._ports:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self._ports[named] = listener.getsockname()[1]
        return self._ports[named]

    def _environment(self) -> dict[str, str]:
        """Return the environment of programs: this environment first in PATH, settings for the port and the models."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
        return environment(
            PATH=path,
            HOME=str(self.folder),
            FACEATTR_SERVER__PORT=str(self._port(MAIN_PORT)),
            FACEATTR_MODELS__DIR=str(ROOT / "models"),
        )


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
