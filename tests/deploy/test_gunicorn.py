"""Runs the app under gunicorn with the worker of aiohttp, by the command and the code of docs/scale.md."""

import asyncio
import os
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession, ClientTimeout

from bench.support.served import children
from tests.deploy.daemon import Daemon, Launch, free_port
from tests.support.gate import Gate
from tests.support.process import PATIENCE_S, ROOT, TRICK

RAW = {"Content-Type": "image/png"}
WORKERS = 2


@pytest.fixture
async def served(launch: Launch, gate: Gate, tmp_path: Path, client: ClientSession, png: bytes) -> tuple[str, Daemon]:
    """The URL, and gunicorn with the application and the command of the page."""
    text = (ROOT / "docs" / "scale.md").read_text()
    (application,) = re.findall(r"```python[^\n]*\n(.+?)```", text[text.index("## gunicorn") :], re.DOTALL)
    (command,) = re.findall(r"^    gunicorn (.+)$", text, re.MULTILINE)
    port = free_port()
    (tmp_path / "application.py").write_text(application)
    (tmp_path / "conf").mkdir()
    limits = "[inference]\nworkers = 1\nlimit = 4\ntimeout_s = 60\n"
    steady = "[pipelines.steady]\nfactory = 'tests.support.pipelines:Trick'\npath = '/steady'\n"
    settings = f"{limits}{steady}{TRICK}gate = '{gate.folder}'\n"
    (tmp_path / "conf" / "faceattr.toml").write_text(settings)
    words = (
        command.replace("127.0.0.1:5000", f"127.0.0.1:{port}").replace("--workers 4", f"--workers {WORKERS}").split()
    )
    gunicorn = launch([sys.executable, "-m", "gunicorn", *words])
    url = f"http://127.0.0.1:{port}"
    await gunicorn.answers(client, f"{url}/readyz")
    await all_answer(url, gunicorn, png)  # a process that is still starting would miss a signal
    return url, gunicorn


async def ask(url: str, png: bytes) -> tuple[int, int]:
    """Return status and process id, over a new connection, so that any worker may accept it."""
    async with ClientSession() as client, client.post(f"{url}/steady", data=png, headers=RAW) as response:
        return response.status, (await response.json())["pid"]


async def all_answer(url: str, gunicorn: Daemon, png: bytes) -> None:
    """Wait until each process of gunicorn has answered. The workers of the executor are threads of these processes."""
    answered: set[int] = set()
    async with asyncio.timeout(PATIENCE_S):
        while len(answered) < WORKERS:
            with suppress(ClientConnectionError):  # the connection was in the backlog of a killed process
                status, process = await ask(url, png)
                assert status == 200
                answered.add(process)
    assert answered == set(children(gunicorn.pid))


async def test_every_worker_serves_and_a_killed_one_is_replaced(served: tuple[str, Daemon], png: bytes) -> None:
    url, gunicorn = served
    before = children(gunicorn.pid)
    os.kill(before[0], signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while len(now := children(gunicorn.pid)) < WORKERS or before[0] in now:
            await asyncio.sleep(0.02)
    await all_answer(url, gunicorn, png)


async def test_accepted_requests_are_answered_before_gunicorn_stops(
    served: tuple[str, Daemon], gate: Gate, client: ClientSession, png: bytes
) -> None:
    url, gunicorn = served
    asked = asyncio.create_task(client.post(f"{url}/trick", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    stopping = asyncio.create_task(asyncio.to_thread(gunicorn.stop))
    async with asyncio.timeout(PATIENCE_S):
        while await answers(url):
            await asyncio.sleep(0.02)
    gate.open()
    assert (await asked).status == 200
    assert await stopping == 0


async def answers(url: str) -> bool:
    """Return whether the server answers. While a worker stops, the system still accepts connections."""
    try:
        async with ClientSession(timeout=ClientTimeout(1)) as client, client.get(f"{url}/livez"):
            return True
    except (ClientConnectionError, TimeoutError):
        return False
