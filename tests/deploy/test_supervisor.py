"""The real supervisord with the file of conf/supervisor; only paths, user and `startsecs` differ."""

import asyncio
import os
import signal
import subprocess
import sys
from configparser import RawConfigParser
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import ClientSession

from faceattr_aio.config.schema import Config
from tests.deploy.daemon import CONF, Daemon, Launch, free_port
from tests.support.gate import Gate
from tests.support.process import PATIENCE_S, TRICK, descendants
from tests.support.serving import RAW, until_ended

FILE = CONF / "supervisor" / "faceattr.conf"
PROGRAM = "program:faceattr"
CONTROL = """
[unix_http_server]
file = control
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://control
[supervisord]
nodaemon = true
"""


def parsed(text: str) -> RawConfigParser:
    parser = RawConfigParser(inline_comment_prefixes=None)
    parser.read_string(text)
    return parser


@dataclass
class Supervised:
    """The server under supervisord."""

    daemon: Daemon
    url: str
    folder: Path

    async def control(self, *arguments: str) -> str:
        """Run supervisorctl and return its output."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", "supervisord.conf", *arguments]
        run = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, cwd=self.folder, timeout=PATIENCE_S, check=False
        )
        return str(run.stdout).strip()

    async def pid(self) -> int:
        return int(await self.control("pid", "faceattr"))

    async def until(self, state: str) -> None:
        """Wait for a state of the program, by processes of supervisorctl one after another."""
        async with asyncio.timeout(PATIENCE_S):
            while state not in await self.control("status", "faceattr"):
                await asyncio.sleep(0.05)


@pytest.fixture
async def supervised(launch: Launch, tmp_path: Path, gate: Gate, client: ClientSession) -> Supervised:
    port, settings = free_port(), tmp_path / "faceattr.toml"
    settings.write_text(f"[inference]\nworkers = 1\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    parser = parsed(FILE.read_text() + CONTROL)
    ours = parser[PROGRAM]
    ours["command"] = (
        ours["command"]
        .replace("/opt/faceattr-aio/bin/faceattr-aio", f"{sys.executable} -m faceattr_aio")
        .replace("/etc/faceattr-aio/faceattr.toml", f"{settings} --port {port}")
    )
    ours.update(user=str(os.getuid()), startsecs="1", stdout_logfile=str(tmp_path / "server.log"))
    with (tmp_path / "supervisord.conf").open("w") as file:
        parser.write(file)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
    daemon, url = launch(command), f"http://127.0.0.1:{port}"
    await daemon.answers(client, f"{url}/readyz")
    return Supervised(daemon, url, tmp_path)


def test_the_file_has_the_documented_values() -> None:
    ours = dict(parsed(FILE.read_text())[PROGRAM])
    assert int(ours["stopwaitsecs"]) > Config().server.drain_s + 5
    assert (
        ours
        | {
            "user": "www-data",
            "autostart": "true",
            "autorestart": "true",
            "startsecs": "10",
            "startretries": "3",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "5",
            "stopsignal": "TERM",
            "stopasgroup": "false",
            "killasgroup": "true",
        }
        == ours
    )


async def test_the_server_is_restarted_after_sigkill_and_no_process_is_left(
    supervised: Supervised, client: ClientSession
) -> None:
    await supervised.until("RUNNING")
    first = await supervised.pid()
    started = descendants(first)
    assert started
    os.kill(first, signal.SIGKILL)
    await until_ended(started)
    await supervised.until("RUNNING")
    await supervised.daemon.answers(client, f"{supervised.url}/readyz")
    assert await supervised.pid() != first
    assert await asyncio.to_thread(supervised.daemon.stop) == 0


async def test_a_stopped_server_answers_requests_in_flight_and_exits_with_0(
    supervised: Supervised, client: ClientSession, gate: Gate, png: bytes
) -> None:
    started = descendants(await supervised.pid())
    held = asyncio.create_task(client.post(f"{supervised.url}/trick", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(supervised.control("stop", "faceattr"))
    done, _ = await asyncio.wait([stopping], timeout=1.5)  # longer than the port stays open
    assert not done
    gate.open()
    assert (await held).status == 200
    assert await stopping == "faceattr: stopped"
    assert "stopped: faceattr (exit status 0)" in supervised.daemon.log
    await until_ended(started)
