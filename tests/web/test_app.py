"""Three ways to embed the service in a host app that has its own middlewares, routes and limits."""

import asyncio
import contextlib
import gzip
import http.client
import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientOSError, ClientSession, web

import faceattr_aio
from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import EXECUTOR, UPLOADS
from tests.conftest import Serve
from tests.support.gate import Gate
from tests.support.http import trick_config, until, until_in_flight
from tests.support.process import PATIENCE_S, environment

RAW = {"Content-Type": "image/png"}
TOKEN = {"Authorization": "Bearer host"}
MIB = 1 << 20


@web.middleware
async def authenticate(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.headers.get("Authorization") != TOKEN["Authorization"]:
        raise web.HTTPUnauthorized(text="refused by the host")
    response = await handler(request)
    response.headers["X-Host"] = "yes"
    return response


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello from the host")


def host(vision: web.Application | None = None) -> web.Application:
    """A host app with `vision` mounted below /vision."""
    app = web.Application(middlewares=[authenticate])
    app.router.add_get("/", hello)
    if vision is not None:
        app.add_subapp("/vision", vision)
    return app


async def test_a_mounted_app_serves_below_its_prefix_and_inside_the_hosts_middlewares(
    serve: Serve, client: ClientSession, png: bytes
) -> None:
    url = await serve(host(faceattr_aio.make_app(trick_config())))
    async with client.get(url, headers=TOKEN) as response:
        assert await response.text() == "hello from the host"
    async with client.post(f"{url}/vision/trick", data=png, headers=RAW | TOKEN) as response:
        assert (response.status, response.headers["X-Host"]) == (200, "yes")
        assert (await response.json())["bytes"] == len(png)
    async with client.post(f"{url}/vision/trick", data=png, headers=RAW) as response:
        assert (response.status, await response.text()) == (401, "refused by the host")
    async with client.get(f"{url}/vision/readyz", headers=TOKEN) as response:
        assert response.status == 200


async def test_only_the_mounted_app_answers_with_problem_documents(serve: Serve, client: ClientSession) -> None:
    url = await serve(host(faceattr_aio.make_app(trick_config())))
    async with client.get(f"{url}/vision/nothing", headers=TOKEN) as response:
        assert (response.status, response.content_type) == (404, "application/problem+json")
    async with client.get(f"{url}/nothing", headers=TOKEN) as response:
        assert (response.status, response.content_type) == (404, "text/plain")


async def read_body(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def test_a_mounted_app_accepts_more_than_client_max_size_of_its_host(
    serve: Serve, client: ClientSession, png: bytes
) -> None:
    app = host(faceattr_aio.make_app(trick_config()))
    app.router.add_post("/own", read_body)
    url = await serve(app)
    large = png + b"\0" * 3 * MIB
    async with client.post(f"{url}/vision/trick", data=io.BytesIO(large), headers=RAW | TOKEN) as response:
        assert (response.status, (await response.json())["bytes"]) == (200, len(large))
    for size, status in ((MIB, 200), (MIB + 1, 413)):  # the limit of the host is still the default of aiohttp
        async with client.post(f"{url}/own", data=io.BytesIO(bytes(size)), headers=TOKEN) as response:
            assert response.status == status


async def describe(request: web.Request) -> web.Response:
    """A handler of the host, which stores the file itself and uses the executor of the service."""
    path = request.app[FOLDER] / "upload.png"
    path.write_bytes(await request.read())
    executor = faceattr_aio.get_executor(request)
    try:
        reply = await executor.run("trick", faceattr_aio.Task(path))
    except faceattr_aio.FaceattrError as error:
        return web.json_response({"detail": error.detail}, status=error.status)
    return web.json_response({"mine": reply.result["bytes"]})


FOLDER: web.AppKey[Path] = web.AppKey("folder", Path)


async def test_setup_provides_an_executor_for_handlers_of_the_host(
    serve: Serve, client: ClientSession, png: bytes, tmp_path: Path
) -> None:
    app = host()
    app[FOLDER] = tmp_path
    faceattr_aio.setup(app, trick_config())
    app.router.add_post("/describe", describe)
    url = await serve(app)
    async with client.post(f"{url}/describe", data=png, headers=TOKEN) as response:
        assert await response.json() == {"mine": len(png)}
    async with client.post(f"{url}/describe", data=b"text", headers=TOKEN) as response:
        assert response.status == 415
    async with client.post(f"{url}/trick", data=png, headers=TOKEN) as response:
        assert response.status == 404  # no route was added


async def test_get_executor_finds_the_executor_of_the_parent_app(
    serve: Serve, client: ClientSession, png: bytes, tmp_path: Path
) -> None:
    app, inner = host(), web.Application()
    faceattr_aio.setup(app, trick_config())
    inner[FOLDER] = tmp_path
    inner.router.add_post("/describe", describe)
    app.add_subapp("/inner", inner)
    url = await serve(app)
    async with client.post(f"{url}/inner/describe", data=png, headers=TOKEN) as response:
        assert await response.json() == {"mine": len(png)}


async def test_get_executor_without_setup_names_setup(serve: Serve, client: ClientSession, tmp_path: Path) -> None:
    app, raised = web.Application(), list[str]()
    app[FOLDER] = tmp_path

    async def handler(request: web.Request) -> web.Response:
        with pytest.raises(RuntimeError) as failed:
            await describe(request)
        raised.append(str(failed.value))
        return web.Response()

    app.router.add_post("/", handler)
    async with client.post(await serve(app), data=b"x") as response:
        assert response.status == 200
    assert raised == ["There is no executor: call faceattr_aio.setup(app) first, before the app starts."]


def test_calling_setup_twice_raises_runtime_error() -> None:
    app = web.Application()
    faceattr_aio.setup(app, trick_config())
    with pytest.raises(RuntimeError, match="called on this app already"):
        faceattr_aio.setup(app, trick_config())


async def test_two_services_in_one_host_have_separate_limits(
    serve: Serve, client: ClientSession, png: bytes, gate: Gate
) -> None:
    app = web.Application()
    app.add_subapp(
        "/a",
        faceattr_aio.make_app(trick_config(inference={"workers": 1, "limit": 1}, trick={"gate": str(gate.folder)})),
    )
    app.add_subapp("/b", faceattr_aio.make_app(trick_config(inference={"workers": 1, "limit": 1})))
    url = await serve(app)
    held = asyncio.create_task(client.post(f"{url}/a/trick", data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    async with client.post(f"{url}/a/trick", data=png, headers=RAW) as response:
        assert response.status == 503
    async with client.post(f"{url}/b/trick", data=png, headers=RAW) as response:
        assert response.status == 200
    gate.open()
    assert (await held).status == 200


async def test_uploads_in_progress_get_503_when_the_host_stops(client: ClientSession, png: bytes) -> None:
    app, vision = web.Application(), faceattr_aio.make_app(trick_config())
    app.add_subapp("/vision", vision)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    never = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield png[:100_000]  # enough for upload.min_rate for 24 seconds
        await never.wait()

    url = f"http://127.0.0.1:{runner.addresses[0][1]}/vision/trick"
    slow = asyncio.create_task(client.post(url, data=stalled(), headers=RAW))
    await until(lambda: vision[UPLOADS].limiter.in_flight == 1)
    async with asyncio.timeout(4):
        await runner.cleanup()
        assert (await slow).status == 503


@pytest.fixture
def host_process(tmp_path: Path) -> Iterator[Callable[[int], tuple[str, int]]]:
    """Runs a host with default settings and a mounted service in a separate process. Returns URL and process id."""
    processes: list[subprocess.Popen[str]] = []

    def start(max_bytes: int) -> tuple[str, int]:
        code = f"""
import faceattr_aio
from aiohttp import web
from tests.support.http import trick_config
app = web.Application()
upload = {{"max_bytes": {max_bytes}, "dir": {str(tmp_path)!r}}}
app.add_subapp("/vision", faceattr_aio.make_app(trick_config(upload=upload)))
web.run_app(app, host="127.0.0.1", port=0, print=lambda text: print(text, flush=True))
"""
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment())
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                return f"{found[0]}/vision/trick", process.pid
        raise AssertionError("the host did not start")

    yield start
    for process in processes:
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()


def peak_memory(pid: int) -> int:
    """Return the largest resident memory of the process, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


async def zeros(size: int, sent: list[int]) -> AsyncIterator[bytes]:
    for _ in range(size // MIB):
        sent[0] += MIB
        yield bytes(MIB)


async def test_300_mb_are_stored_while_memory_stays_flat(
    host_process: Callable[[int], tuple[str, int]], client: ClientSession
) -> None:
    url, pid = host_process(400 * MIB)
    async with client.post(url, data=b"warm up", headers=RAW) as response:
        assert response.status == 415
    before, sent = peak_memory(pid), [0]
    async with client.post(url, data=zeros(300 * MIB, sent), headers=RAW) as response:
        assert response.status == 415
        assert "not a picture" in (await response.json(content_type=None))["detail"]
    assert sent == [300 * MIB]
    assert peak_memory(pid) - before < 30 * MIB


async def test_300_mb_are_refused_at_the_default_limit(host_process: Callable[[int], tuple[str, int]]) -> None:
    limit = Config().upload.max_bytes
    url, _ = host_process(limit)
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "POST /vision/trick HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    answer, sent = asyncio.create_task(reader.readuntil(b"\r\n\r\n")), 0
    while not answer.done() and sent < 300 * MIB:
        writer.write(b"%x\r\n%b\r\n" % (MIB, bytes(MIB)))
        sent += MIB
        await writer.drain()
    assert (await answer).startswith(b"HTTP/1.1 413")
    assert sent < limit + 16 * MIB  # 16 MiB may be in buffers; tests/uploads counts the bytes that are read
    writer.transport.abort()


@pytest.fixture
async def odd_host(gate: Gate) -> AsyncIterator[tuple[str, web.Application]]:
    """A host that cancels handlers, discards no bodies, limits their size, and keeps its default threads busy."""
    loop, end = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(2))
    busy = [loop.run_in_executor(None, end.wait) for _ in range(8)]
    vision = faceattr_aio.make_app(trick_config(inference={"workers": 1, "limit": 2}, trick={"gate": str(gate.folder)}))
    app = web.Application()
    app.add_subapp("/vision", vision)
    runner = web.AppRunner(app, handler_cancellation=True, lingering_time=0, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/vision/trick", vision
    end.set()
    gate.open()
    await runner.cleanup()
    await asyncio.gather(*busy)


async def test_a_large_picture_is_served_in_a_host_with_unusual_settings(
    odd_host: tuple[str, web.Application], client: ClientSession, png: bytes, gate: Gate
) -> None:
    url, _ = odd_host
    gate.open()
    async with client.post(url, data=png + bytes(MIB // 4), headers=RAW) as response:
        assert response.status == 200


async def test_clients_receive_a_refusal_in_a_host_with_unusual_settings(
    odd_host: tuple[str, web.Application], client: ClientSession, png: bytes, gate: Gate
) -> None:
    url, vision = odd_host
    loop = asyncio.get_running_loop()
    held = [asyncio.create_task(client.post(url, data=png, headers=RAW)) for _ in range(2)]
    await until_in_flight(vision, 2)
    with ThreadPoolExecutor(5) as clients:
        posts = [loop.run_in_executor(clients, post_by_http_client, url, 5 * MIB) for _ in range(5)]
        assert await asyncio.gather(*posts) == [503] * 5
    gate.open()
    assert [(await one).status for one in held] == [200, 200]


async def test_eighty_disconnecting_clients_never_exceed_the_limit_in_a_host_with_unusual_settings(
    odd_host: tuple[str, web.Application], client: ClientSession, png: bytes, gate: Gate
) -> None:
    url, vision = odd_host

    async def hang_up() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05), client.post(url, data=png, headers=RAW):
                pass

    await asyncio.gather(*(hang_up() for _ in range(80)))
    assert vision[EXECUTOR].limiter.in_flight <= 2
    gate.open()
    await until_in_flight(vision, 0)
    for _ in range(4):
        async with client.post(url, data=png, headers=RAW) as response:
            assert response.status == 200
    assert vision[UPLOADS].spool.used == 0


def post_by_http_client(url: str, size: int) -> int:
    """Post with a client that gets a broken pipe when the connection is closed before it has sent its body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    try:
        connection.request("POST", parts.path, io.BytesIO(bytes(size)), RAW | {"Content-Length": str(size)})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_a_gzip_bomb_is_refused_in_a_host_that_decompresses_bodies(serve: Serve, client: ClientSession) -> None:
    """Aiohttp inflates the part of a refused body that is discarded; that part is limited like any other body."""
    app = web.Application()
    app.add_subapp("/vision", faceattr_aio.make_app(trick_config(upload={"max_bytes": MIB})))
    url = f"{await serve(app)}/vision/trick"
    bomb = gzip.compress(bytes(1 << 28), 9)
    before = time.process_time()
    with contextlib.suppress(ClientOSError):
        async with client.post(url, data=bomb, headers=RAW | {"Content-Encoding": "gzip"}) as response:
            assert response.status == 415
    async with client.get(f"{url.removesuffix('trick')}livez") as response:
        assert response.status == 200
    assert time.process_time() - before < 0.5  # inflating the whole body takes a second
