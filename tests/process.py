"""`faceattr-aio serve` in a process of its own, as users run it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
PATIENCE_S = 60.0
TRICK = """
[pipelines.trick]
factory = "tests.pipelines:Trick"
path = "/trick"
"""


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

    def open_files(self) -> list[str]:
        """What its descriptors of regular files stand for."""
        folder = Path(f"/proc/{self.pid}/fd")
        targets = [str(descriptor.readlink()) for descriptor in folder.iterdir()]
        return [target for target in targets if target.startswith("/") and "/dev/" not in target]

    def descendants(self) -> list[int]:
        """The ids of all processes that it started, directly or not."""
        return descendants(self.pid)


def descendants(pid: int) -> list[int]:
    """The ids of the process's children and of theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def environment(**more: str) -> dict[str, str]:
    """Ours without settings of the product, with the tests' own modules within reach."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FACEATTR_")}
    return ours | {"PYTHONPATH": str(ROOT)} | more


def start_server(folder: Path, config: str, more: Mapping[str, str], log: IO[str] | None = None) -> Server:
    """Serves on a free port with `config` (TOML) and returns once it answers. Its log goes to `log`, or to ours."""
    file = folder / "faceattr.toml"
    file.write_text(config)
    process = subprocess.Popen(
        [sys.executable, "-m", "faceattr_aio", "serve", "--port", "0", "--config", str(file)],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=folder,
        env=environment(**more),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "serving on" in line, f"the server did not start: {line!r}"
    return Server(process, line.split()[-1])
