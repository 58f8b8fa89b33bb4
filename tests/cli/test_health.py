"""The exit status by which a container or an operator tells whether a server is ready."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from faceattr_aio.cli.health import find_fault
from tests.cli.test_serve import hold, run
from tests.conftest import Serve, StartServer
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK

TIMEOUT_S = 0.5
Ended = tuple[int, str]


async def health(*arguments: str) -> Ended:
    """Exit status and what was said; the server may be in our own loop."""
    ended = await asyncio.to_thread(run, Path("/"), "health", *arguments)
    return ended.returncode, ended.stdout + ended.stderr


def test_a_ready_server_is_found_by_its_settings(start: StartServer, tmp_path: Path) -> None:
    port = start(TRICK).url.rpartition(":")[2]
    ended = run(tmp_path, "health", FACEATTR_SERVER__HOST="0.0.0.0", FACEATTR_SERVER__PORT=port)  # noqa: S104
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"http://127.0.0.1:{port} is ready\n", "")
    (tmp_path / "other.toml").write_text(f"[server]\nport = {port}\n")
    assert run(tmp_path, "health", "--config", "other.toml").returncode == 0


async def test_a_server_that_is_full_is_ready_and_one_that_drains_is_not(
    start: StartServer, gate: Gate, png: bytes, client: ClientSession
) -> None:
    server = start(f"[inference]\nworkers = 1\nlimit = 1\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n")
    held = await hold(client, server, png, gate)
    assert await health(server.url) == (0, f"{server.url} is ready\n")
    os.kill(server.pid, signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
        while (fault := await find_fault(URL(server.url), PATIENCE_S)) is None:
            await asyncio.sleep(0)
    gate.open()
    await asyncio.gather(*held)
    assert fault == "is not ready: accepting: draining."


async def test_what_is_not_ready_is_named(serve: Serve) -> None:
    async def not_ready(_: web.Request) -> web.Response:
        checks = {"models": "ok", "workers": "No worker could be started.", "accepting": "draining"}
        return web.json_response({"status": "workers, accepting", "checks": checks}, status=503)

    app = web.Application()
    app.router.add_get("/vision/readyz", not_ready)
    url = await serve(app)
    assert await health(f"{url}/vision") == (
        1,
        f"faceattr-aio: {url}/vision is not ready: workers: No worker could be started; accepting: draining.\n",
    )
    assert await health(url) == (
        1,
        f"faceattr-aio: {url} answers 404, but not as a faceattr-aio server does; is there more to its path?\n",
    )


async def test_a_server_that_is_silent_or_dribbles_costs_no_more_than_the_timeout(serve: Serve) -> None:
    async def dribble(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(TIMEOUT_S / 5)

    app = web.Application()
    app.router.add_get("/readyz", dribble)
    dribbling = await serve(app)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in (dribbling, f"http://127.0.0.1:{silent.getsockname()[1]}"):
            began = time.monotonic()
            ended = await health(url, "--timeout", str(TIMEOUT_S))
            assert ended == (1, f"faceattr-aio: {url} has not answered within {TIMEOUT_S:g} s.\n")
            assert time.monotonic() - began < 10 * TIMEOUT_S


async def test_where_nobody_listens_that_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    status, said = await health(f"http://127.0.0.1:{port}")
    assert (status, len(said.splitlines())) == (1, 1)
    assert f"http://127.0.0.1:{port} cannot be reached: " in said


async def test_what_is_no_http_is_said_to_be_none() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        status, said = await health(url)
    assert (status, len(said.splitlines())) == (1, 1)
    assert f"{url} does not speak HTTP: " in said


@pytest.mark.parametrize(
    ("arguments", "more", "said"),
    [
        (["localhost:5000"], {}, "localhost:5000 is no URL of a server; one begins with http:// or https://."),
        (["http://[::1"], {}, "http://[::1 is no URL"),
        ([], {"FACEATTR_SERVER__PORT": "0"}, "give the server's URL"),
        ([], {"FACEATTR_SERVER__PORT": "x"}, "server.port = 'x', from environment"),
    ],
)
def test_whom_to_ask_has_to_be_clear(arguments: list[str], more: dict[str, str], said: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "health", *arguments, **more)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
