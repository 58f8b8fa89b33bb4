"""Real nginx with the file of conf/nginx in front of a real server; only addresses and paths differ."""

import asyncio
import getpass
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector

from faceattr_aio.config.schema import Config
from tests.deploy.daemon import CONF, Daemon, free_port, installed
from tests.support.gate import PATIENCE_S, Gate
from tests.support.http_clients import CLIENTS
from tests.support.process import TRICK, Server, start_server
from tests.support.serving import RAW

FILE = CONF / "nginx" / "faceattr.conf"
PROBLEM = "application/problem+json"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
UNITS = {"s": 1, "m": 1 << 20}
ESTABLISHED = "01"


@dataclass
class Behind:
    """A server behind nginx at `url`. The spool of the server and access.log of nginx are in `folder`."""

    url: str
    server: Server
    folder: Path


Put = Callable[[str], Awaitable[Behind]]


@asynccontextmanager
async def behind_nginx(folder: Path, settings: str) -> AsyncIterator[Behind]:
    """Start a server with these settings, and nginx in front of it."""
    program, port = installed("nginx", "nginx"), free_port()
    server = start_server(folder, settings, {})
    ours = FILE.read_text().replace("listen 80;", f"listen 127.0.0.1:{port};")
    (folder / "faceattr.conf").write_text(ours.replace("127.0.0.1:5000", server.url.removeprefix("http://")))
    (folder / "nginx.conf").write_text(
        f"user {getpass.getuser()};\ndaemon off;\npid nginx.pid;\nerror_log stderr info;\nevents {{}}\nhttp {{\n"
        + "".join(f"{kind}_temp_path {kind};\n" for kind in TEMPORARY)
        + "log_format ids $faceattr_request_id;\naccess_log access.log ids;\ninclude faceattr.conf;\n}\n"
    )
    nginx = Daemon([program, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], folder, {})
    try:
        async with ClientSession() as client:
            await nginx.answers(client, f"http://127.0.0.1:{port}/readyz")
        yield Behind(f"http://127.0.0.1:{port}", server, folder)
    finally:
        nginx.end()
        server.kill()


@pytest.fixture
async def put(tmp_path: Path) -> AsyncIterator[Put]:
    """Starts a server with these settings, and nginx in front of it."""
    async with AsyncExitStack() as started:

        async def put_one(settings: str) -> Behind:
            return await started.enter_async_context(behind_nginx(tmp_path, settings))

        yield put_one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    """A server that the tests share. Its limit of bytes is higher than that of nginx."""
    folder = tmp_path_factory.mktemp("behind")
    (folder / "spool").mkdir()
    settings = f"[upload]\nmax_bytes = 40000000\ndir = '{folder / 'spool'}'\n[pipelines.faces]\n{TRICK}"
    async with behind_nginx(folder, settings) as behind:
        yield behind


def held(gate: Gate) -> str:
    return f"[inference]\nworkers = 1\nlimit = 1\ntimeout_s = 60\n{TRICK}gate = '{gate.folder}'\n"


def values(directive: str) -> list[str]:
    """Return the values of a directive in the whole file."""
    return re.findall(rf"^\s*{directive} (.+?);", FILE.read_text(), re.MULTILINE)


def number(directive: str) -> int:
    """Return the value of a directive in seconds or bytes."""
    (value,) = values(directive)
    return int(value[:-1]) * UNITS[value[-1]]


def test_timeouts_and_sizes_match_the_settings() -> None:
    config = Config()
    assert number("client_max_body_size") == config.upload.max_bytes
    assert number("client_body_timeout") == config.upload.timeout_s
    assert number("proxy_send_timeout") == config.upload.timeout_s
    assert number("proxy_read_timeout") > config.inference.timeout_s * config.upload.max_batch
    assert number("keepalive_timeout") < config.server.keepalive_s
    assert values("server") == [f"{config.server.host}:{config.server.port}"]
    documents = [json.loads(text) for text in re.findall(r"return \d+ '(.+)';", FILE.read_text())]
    assert {one["status"] for one in documents} == {413, 503, 504}


async def test_nginx_and_the_server_log_the_same_request_id_and_metrics_are_not_public(
    behind: Behind, client: ClientSession, png: bytes
) -> None:
    answered = []
    for sent, kept in ((None, False), ("order-66", True), ('"; drop', False)):
        headers = RAW | ({"X-Request-ID": sent} if sent else {})
        async with client.post(f"{behind.url}/analyze", data=png, headers=headers) as response:
            document = await response.json()
            assert (response.status, len(document["faces"])) == (200, 1)
            assert response.headers["X-Request-ID"] == document["id"]
            assert (document["id"] == sent) is kept
            answered.append(document["id"])
    async with client.get(f"{behind.url}/metrics") as response:
        assert response.status == 404
        assert "nginx" in await response.text()
    assert [line for line in (behind.folder / "access.log").read_text().split() if line in answered] == answered


async def test_a_body_is_passed_on_while_it_is_still_sent(behind: Behind, client: ClientSession, png: bytes) -> None:
    spool = behind.folder / "spool"
    go_on = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        yield png[:300_000]  # more than is kept in memory before a file is created
        await go_on.wait()
        yield png[300_000:]

    upload = asyncio.create_task(client.post(f"{behind.url}/trick", data=halves(), headers=RAW))
    async with asyncio.timeout(PATIENCE_S):
        while not any(str(spool) in name for name in behind.server.open_files()):
            await asyncio.sleep(0.01)
    assert not upload.done()
    go_on.set()
    assert (await upload).status == 200


async def test_connections_to_the_server_are_reused(behind: Behind, client: ClientSession, png: bytes) -> None:
    for _ in range(5):
        async with client.post(f"{behind.url}/trick", data=png, headers=RAW) as response:
            assert response.status == 200
    port = int(behind.server.url.rpartition(":")[2])
    connections = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    states = [state for _, theirs, state in connections if theirs.endswith(f":{port:04X}")]
    assert states.count(ESTABLISHED) == 1


async def test_every_client_receives_the_503_of_a_full_server(
    put: Put, client: ClientSession, gate: Gate, png: bytes
) -> None:
    behind = await put(held(gate))
    url = f"{behind.url}/trick"
    holding = asyncio.create_task(client.post(url, data=png, headers=RAW))
    await asyncio.to_thread(gate.wait_for, 1)
    for size in (10_000, 20_000_000):
        statuses = [await asyncio.to_thread(posts, url, bytes(size), 1) for posts in CLIENTS]
        assert statuses == [[503]] * len(CLIENTS)
    async with client.post(url, data=png, headers=RAW) as response:
        document = await response.json(content_type=PROBLEM)
        assert (response.status, document["type"]) == (503, "urn:faceattr:overloaded")
        assert int(response.headers["Retry-After"]) >= 1
        assert response.headers["X-Request-ID"] == document["instance"]
    gate.open()
    assert (await holding).status == 200


async def chunked(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 100_000):
        yield bytes(100_000)


@pytest.mark.parametrize("by", ["nginx", "server"])
async def test_a_large_body_gets_the_same_problem_document_from_nginx_and_the_server(
    by: str, behind: Behind, put: Put, client: ClientSession
) -> None:
    limit = Config().upload.max_bytes
    if by == "server":
        limit = 1_000_000
        behind = await put(f"[upload]\nmax_bytes = {limit}\n{TRICK}")
    size = limit + 1_000_000
    headers = RAW | {"X-Request-ID": by, "Connection": "close"}  # nginx announces keep-alive but closes it
    for body in (BytesIO(bytes(size)), chunked(size)):  # announced, and counted
        async with client.post(f"{behind.url}/trick", data=body, headers=headers) as response:
            document = await response.json(content_type=PROBLEM)
        found = response.status, document["status"], document["type"]
        assert found == (413, 413, "urn:faceattr:upload-too-large")
        assert response.headers["X-Request-ID"] == document["instance"] == by
        assert ("20 MiB" in document["detail"]) is (by == "nginx")


async def test_without_a_server_the_client_gets_503_with_retry_after(
    put: Put, client: ClientSession, png: bytes
) -> None:
    behind = await put(TRICK)
    behind.server.kill()
    async with client.post(f"{behind.url}/trick", data=png, headers=RAW) as response:
        document = await response.json(content_type=PROBLEM)
        assert (response.status, document["status"], document["type"]) == (503, 503, "urn:faceattr:unavailable")
        assert int(response.headers["Retry-After"]) >= 1


async def test_the_client_is_the_address_that_connects_to_nginx(put: Put, png: bytes) -> None:
    behind = await put(f"[clients]\nrequests_per_minute = 1\ntrusted_proxies = ['127.0.0.1/32']\n{TRICK}")

    async def ask(address: str, forged: str) -> int:
        connector, headers = TCPConnector(local_addr=(address, 0)), RAW | {"X-Forwarded-For": forged}
        async with (
            ClientSession(connector=connector) as client,
            client.post(f"{behind.url}/trick", data=png, headers=headers) as response,
        ):
            return response.status

    asked = [("127.0.0.2", "192.0.2.1"), ("127.0.0.2", "192.0.2.2"), ("127.0.0.3", "192.0.2.1")]
    assert [await ask(*one) for one in asked] == [200, 429, 200]
