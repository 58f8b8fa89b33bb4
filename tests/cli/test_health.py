"""Output and exit status of `health` for servers in different states."""

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
from tests.conftest import Serve, StartServer
from tests.support.cli import run
from tests.support.gate import PATIENCE_S, Gate
from tests.support.process import TRICK
from tests.support.serving import hold

TIMEOUT_S = 0.5
Ended = tuple[int, str]


async def health(*arguments: str) -> Ended:
    """Return exit status and output. Runs in a thread, because the server may be in the loop of the test."""
    ended = await asyncio.to_thread(run, Path("/"), "health", *arguments)
    return ended.returncode, ended.stdout + ended.stderr


def test_finds_the_server_of_the_settings(start: StartServer, tmp_path: Path) -> None:
    port = start(TRICK).url.rpartition(":")[2]
    ended = run(tmp_path, "health", FACEATTR_SERVER__HOST="0.0.0.0", FACEATTR_SERVER__PORT=port)  # noqa: S104
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"http://127.0.0.1:{port} is ready\n", "")
    (tmp_path / "other.toml").write_text(f"[server]\nport = {port}\n")
    assert run(tmp_path, "health", "--config", "other.toml").returncode == 0


async def test_a_full_server_is_ready_and_a_draining_one_is_not(
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


async def test_names_the_failed_checks(serve: Serve) -> None:
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
        f"faceattr-aio: {url} is not a faceattr-aio server (its response was 404); check the path of the URL.\n",
    )


async def test_the_timeout_limits_a_server_that_is_silent_or_slow(serve: Serve) -> None:
    async def send_slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(TIMEOUT_S / 5)

    app = web.Application()
    app.router.add_get("/readyz", send_slowly)
    slow = await serve(app)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for url in (slow, f"http://127.0.0.1:{silent.getsockname()[1]}"):
            began = time.monotonic()
            ended = await health(url, "--timeout", str(TIMEOUT_S))
            assert ended == (1, f"faceattr-aio: {url} has not answered within {TIMEOUT_S:g} s.\n")
            assert time.monotonic() - began < 10 * TIMEOUT_S


async def test_reports_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    status, output = await health(f"http://127.0.0.1:{port}")
    assert (status, len(output.splitlines())) == (1, 1)
    assert f"http://127.0.0.1:{port} cannot be reached: " in output


async def test_reports_a_server_that_does_not_speak_http() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        status, output = await health(url)
    assert (status, len(output.splitlines())) == (1, 1)
    assert f"{url} is not an HTTP server: " in output


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (
            ["localhost:5000"],
            {},
            "localhost:5000 is not the URL of a server; it has to begin with http:// or https://.",
        ),
        (["http://[::1"], {}, "http://[::1 is not a URL"),
        ([], {"FACEATTR_SERVER__PORT": "0"}, "give the URL of the server"),
        ([], {"FACEATTR_SERVER__PORT": "x"}, "server.port = 'x', from environment"),
    ],
)
def test_refuses_an_invalid_url_or_port(
    arguments: list[str], variables: dict[str, str], message: str, tmp_path: Path
) -> None:
    ended = run(tmp_path, "health", *arguments, **variables)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
