"""The unit of conf/systemd, checked by systemd-analyze and run unchanged by a real systemd in separate namespaces."""

import asyncio
import subprocess
import sys
import sysconfig
from collections.abc import AsyncIterator
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession

from bench.support.served import children
from bench.support.sleeper import SLEEP
from faceattr_aio.config.schema import Config
from tests.deploy.daemon import CONF, Daemon, Launch, free_port, installed
from tests.support.process import PATIENCE_S, ROOT, descendants
from tests.support.serving import RAW, until_ended

FILE = CONF / "systemd" / "faceattr-aio.service"
BOOT = Path(__file__).with_name("boot.sh")
SLEEP_S = 1.5
"""Longer than the port stays open after SIGTERM, in seconds."""


@dataclass
class Machine:
    """A systemd that runs the unit and no other."""

    daemon: Daemon
    url: str

    @property
    def init(self) -> int:
        """The process id of systemd."""
        (unshare,) = children(self.daemon.pid)
        (init,) = children(unshare)
        return init

    @property
    def server(self) -> int:
        (server,) = children(self.init)
        return server

    async def control(self, *arguments: str) -> str:
        """Run systemctl and return its output."""
        command = ["nsenter", "--target", str(self.init), "--mount", "--pid", "systemctl", *arguments]
        run = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        return str(run.stdout + run.stderr).strip()


TRIAL = """
mount -t cgroup2 cgroup2 /mnt && mkdir /mnt/faceattr-trial && rmdir /mnt/faceattr-trial && umount /mnt &&
mount -t tmpfs tmpfs /mnt && mkdir /mnt/etc /mnt/work &&
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work overlay /etc
"""


def may_boot() -> bool:
    """Return whether this machine permits the namespaces and mounts of `boot.sh`."""
    command = ["unshare", "--mount", "--pid", "--fork", "--cgroup", "sh", "-c", TRIAL]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
async def machine(launch: Launch, tmp_path: Path, client: ClientSession) -> Machine:
    installed("systemctl", "systemd")
    if not may_boot():
        pytest.skip("systemd in namespaces: namespaces, control groups or overlays are not available")
    port = free_port()
    settings = f"[server]\nport = {port}\n[inference]\nworkers = 2\n[pipelines.faces]\n{SLEEP}seconds = {SLEEP_S}\n"
    (tmp_path / "faceattr.toml").write_text(settings)
    daemon = launch([str(BOOT), str(ROOT), sys.base_prefix, sysconfig.get_path("purelib"), str(tmp_path)])
    await daemon.answers(client, f"http://127.0.0.1:{port}/readyz")
    return Machine(daemon, f"http://127.0.0.1:{port}")


def status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def niceness(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])


def test_systemd_analyze_reports_nothing(tmp_path: Path) -> None:
    analyze = installed("systemd-analyze", "systemd")
    copy = tmp_path / FILE.name
    copy.write_text(FILE.read_text().replace("/opt/faceattr-aio/bin/faceattr-aio", sys.executable))
    run = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_the_stop_timeout_is_longer_than_the_drain() -> None:
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation shows
    unit.read(FILE)
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) > Config().server.drain_s + 5
    assert (service["KillMode"], service["Restart"]) == ("mixed", "on-failure")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


async def test_the_sandboxed_server_answers_pictures_and_is_restarted_after_sigkill(
    machine: Machine, client: ClientSession, png: bytes
) -> None:
    first = machine.server
    started = descendants(first)
    async with client.post(f"{machine.url}/analyze", data=png, headers=RAW) as response:
        assert (response.status, len((await response.json())["faces"])) == (200, 1)
    fields = status(first)
    assert "0" not in fields["Uid"].split()
    assert (int(fields["CapEff"], 16), fields["NoNewPrivs"], fields["Seccomp"]) == (0, "1", "2")
    assert sorted(map(niceness, started)).count(Config().inference.nice) == 2
    await machine.control("kill", "--signal=KILL", "--kill-who=main", "faceattr-aio")
    await until_ended([first, *started])
    await machine.daemon.answers(client, f"{machine.url}/readyz")
    assert machine.server != first


async def test_a_stopped_server_answers_requests_in_flight(machine: Machine, client: ClientSession, png: bytes) -> None:
    started = descendants(machine.server)
    admitted = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        admitted.set()
        yield png

    held = asyncio.create_task(client.post(f"{machine.url}/sleep", data=body(), headers=RAW, expect100=True))
    async with asyncio.timeout(PATIENCE_S):
        await admitted.wait()
    assert await machine.control("stop", "faceattr-aio") == ""
    assert (await held).status == 200
    shown = await machine.control("show", "--property=Result,ExecMainStatus", "faceattr-aio")
    assert sorted(shown.split()) == ["ExecMainStatus=0", "Result=success"]
    await until_ended(started)
