"""Real nginx and HAProxy with the files of conf/ in front of three real servers; only addresses and paths differ."""

import asyncio
import getpass
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from aiohttp import ClientSession

from faceattr_aio.config.schema import Config
from tests.deploy.daemon import CONF, Daemon, free_port, installed
from tests.support.gate import Gate
from tests.support.process import PATIENCE_S, TRICK, Server, start_server

NGINX, HAPROXY = CONF / "nginx" / "faceattr-instances.conf", CONF / "haproxy" / "haproxy.cfg"
RAW = {"Content-Type": "image/png"}
PROBLEM = "application/problem+json"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
STEADY = "[pipelines.steady]\nfactory = 'tests.support.pipelines:Trick'\npath = '/steady'\n"
UNITS = {"s": 1, "m": 1 << 20}


@dataclass
class Behind:
    """Three servers behind a load balancer at `url`."""

    url: str
    servers: list[Server]


def by_nginx(folder: Path, servers: list[Server], port: int) -> list[str]:
    """Write the configuration of nginx and return its command."""
    ours = NGINX.read_text().replace("listen 80;", f"listen 127.0.0.1:{port};")
    (folder / "ours.conf").write_text(addressed(ours, servers))
    (folder / "nginx.conf").write_text(
        f"user {getpass.getuser()};\ndaemon off;\npid nginx.pid;\nerror_log stderr info;\nevents {{}}\nhttp {{\n"
        + "".join(f"{kind}_temp_path {kind};\n" for kind in TEMPORARY)
        + "access_log off;\ninclude ours.conf;\n}\n"
    )
    return [installed("nginx", "nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]


def by_haproxy(folder: Path, servers: list[Server], port: int) -> list[str]:
    """Write the configuration of HAProxy and return its command."""
    ours = HAPROXY.read_text().replace("bind :80 ", f"bind 127.0.0.1:{port} ")
    (folder / "haproxy.cfg").write_text(addressed(ours, servers).replace("/etc/haproxy/", f"{HAPROXY.parent}/"))
    return [installed("haproxy", "haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


def addressed(text: str, servers: list[Server]) -> str:
    for number, server in enumerate(servers):
        text = text.replace(f"127.0.0.1:{5000 + number} ", f"{server.url.removeprefix('http://')} ")
        text = text.replace(f"127.0.0.1:{5000 + number}\n", f"{server.url.removeprefix('http://')}\n")
    return text


BALANCERS = {"nginx": by_nginx, "haproxy": by_haproxy}
both = pytest.mark.parametrize("balancer", BALANCERS)


@contextmanager
def three_servers(folder: Path, settings: str) -> Iterator[list[Server]]:
    """Start three servers with these settings at the same time."""

    def start(number: int) -> Server:
        own = folder / f"server-{number}"
        own.mkdir()
        return start_server(own, settings, {})

    with ThreadPoolExecutor(3) as threads:
        servers = list(threads.map(start, range(3)))
    try:
        yield servers
    finally:
        for server in servers:
            server.kill()


async def balance(kind: str, servers: list[Server], folder: Path) -> tuple[Daemon, Behind]:
    """Start a load balancer in front of the servers and wait until it answers."""
    port = free_port()
    daemon = Daemon(BALANCERS[kind](folder, servers, port), folder, {})
    async with ClientSession() as client:
        await daemon.answers(client, f"http://127.0.0.1:{port}/readyz")
    return daemon, Behind(f"http://127.0.0.1:{port}", servers)


@pytest.fixture
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Server]]:
    """Three servers that the test may stop, with the settings STEADY; `gated(gate)` if the test has a gate."""
    settings = gated(request.getfixturevalue("gate")) if "gate" in request.fixturenames else STEADY
    with three_servers(tmp_path, settings) as servers:
        yield servers


@pytest.fixture
async def behind(servers: list[Server], balancer: str, tmp_path: Path) -> AsyncIterator[Behind]:
    """The servers of the test behind a load balancer."""
    daemon, behind = await balance(balancer, servers, tmp_path)
    yield behind
    daemon.end()


@dataclass
class Shared:
    """Three servers that no test stops, behind each of the load balancers; one gate holds their pipeline `trick`."""

    gate: Gate
    behind: dict[str, Behind]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def all_shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    folder = tmp_path_factory.mktemp("shared")
    gate = Gate(folder / "gate")
    with three_servers(folder, gated(gate)) as servers:
        started = {}
        for kind in BALANCERS:
            (own := folder / kind).mkdir()
            started[kind] = await balance(kind, servers, own)
        yield Shared(gate, {kind: behind for kind, (_, behind) in started.items()})
        gate.close()
        for daemon, _ in started.values():
            daemon.end()


@pytest.fixture
def shared(all_shared: Shared) -> Shared:
    """The shared servers, with the gate closed."""
    all_shared.gate.shut()
    return all_shared


@pytest.fixture
def balancer() -> str:
    return "nginx"


def gated(gate: Gate, limit: int = 1) -> str:
    return f"[inference]\nworkers = 1\nlimit = {limit}\ntimeout_s = 60\n{STEADY}{TRICK}gate = '{gate.folder}'\n"


async def ask(client: ClientSession, url: str, data: bytes) -> tuple[int, dict[str, object]]:
    async with client.post(url, data=data, headers=RAW) as response:
        return response.status, await response.json(content_type=None)


async def ask_once(url: str, data: bytes) -> tuple[int, dict[str, object]]:
    """Send a picture over a new connection."""
    async with ClientSession() as client:
        return await ask(client, url, data)


async def in_flight(client: ClientSession, server: Server) -> bool:
    async with client.get(f"{server.url}/metrics") as response:
        return "faceattr_in_flight 1.0" in await response.text()


def seconds(text: str, name: str) -> float:
    found = re.search(rf"^\s*{name}\s+(\d+)s\b", text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_timeouts_and_sizes_match_the_settings() -> None:
    config, nginx, haproxy = Config(), NGINX.read_text(), HAPROXY.read_text()
    longest = config.inference.timeout_s * config.upload.max_batch
    for text, read, idle in ((nginx, "proxy_read_timeout", "keepalive_timeout"), (haproxy, "timeout server", "")):
        assert seconds(text, read) > longest
        assert not idle or seconds(text, idle) < config.server.keepalive_s
    for text, name in ((nginx, "proxy_send_timeout"), (nginx, "client_body_timeout"), (haproxy, "timeout client")):
        assert seconds(text, name) == config.upload.timeout_s
    assert "client_max_body_size 20m;" in nginx
    assert config.upload.max_bytes == 20 << 20
    assert re.findall(r"server (?:\w+ +)?127\.0\.0\.1:(\d+)", nginx) == ["5000", "5001", "5002"]
    assert re.findall(r"server \w+ +127\.0\.0\.1:(\d+)", haproxy) == ["5000", "5001", "5002"]


def test_both_files_for_nginx_have_the_same_responses_and_headers() -> None:
    alone = (CONF / "nginx" / "faceattr.conf").read_text()
    for pattern in (r"return \d+ '.+';", r"^    proxy_set_header .+;|^        proxy_set_header .+;", r"\"~.+;"):
        found = [
            sorted(line.strip() for line in re.findall(pattern, t, re.MULTILINE)) for t in (alone, NGINX.read_text())
        ]
        assert found[0] == found[1] != []


def test_the_compose_file_has_the_servers_behind_its_nginx() -> None:
    services = yaml.safe_load((CONF / "docker" / "compose.instances.yaml").read_text())["services"]
    named = re.findall(r"s/127\.0\.0\.1:(\d+)/(\w+):5000/", services["nginx"]["command"][-1])
    assert named == [("5000", "one"), ("5001", "two"), ("5002", "three")]
    assert {name for _, name in named} <= services.keys()
    (mounted,) = services["nginx"]["volumes"]
    assert (CONF / "docker" / mounted.partition(":")[0]).samefile(NGINX)


@both
async def test_requests_go_to_the_least_loaded_server(
    shared: Shared, balancer: str, client: ClientSession, png: bytes
) -> None:
    behind, gate = shared.behind[balancer], shared.gate
    asked = [asyncio.create_task(ask(client, f"{behind.url}/trick", png)) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 3)
    gate.open()
    answers = await asyncio.gather(*asked)
    assert [status for status, _ in answers] == [200] * 3
    assert len({answer["pid"] for _, answer in answers}) == 3
    async with client.get(f"{behind.url}/metrics") as response:
        assert response.status == 404


async def test_a_request_that_a_full_server_refuses_is_answered_by_another(
    shared: Shared, balancer: str, client: ClientSession, png: bytes
) -> None:
    behind, gate = shared.behind[balancer], shared.gate
    full = asyncio.create_task(ask(client, f"{behind.servers[1].url}/trick", png))
    await asyncio.to_thread(gate.wait_for, 1)
    assert [(await ask(client, f"{behind.url}/steady", png))[0] for _ in range(9)] == [200] * 9
    gate.open()
    assert (await full)[0] == 200


@both
async def test_when_all_servers_are_full_the_client_gets_503_and_no_server_is_marked_as_failed(
    shared: Shared, balancer: str, client: ClientSession, png: bytes
) -> None:
    behind, gate = shared.behind[balancer], shared.gate
    full = [asyncio.create_task(ask(client, f"{behind.url}/trick", png)) for _ in range(3)]
    await asyncio.to_thread(gate.wait_for, 3)
    for _ in range(6):
        async with client.post(f"{behind.url}/steady", data=png, headers=RAW) as response:
            document = await response.json(content_type=PROBLEM)
            assert (response.status, document["type"]) == (503, "urn:faceattr:overloaded")
            assert int(response.headers["Retry-After"]) >= 1
    gate.open()
    assert [status for status, _ in await asyncio.gather(*full)] == [200] * 3
    assert [(await ask(client, f"{behind.url}/steady", png))[0] for _ in range(6)] == [200] * 6


@both
async def test_requests_are_answered_after_a_server_was_killed_during_a_request(
    behind: Behind, balancer: str, gate: Gate, client: ClientSession, png: bytes
) -> None:
    asked = asyncio.create_task(ask_once(f"{behind.url}/trick", png))
    await asyncio.to_thread(gate.wait_for, 1)
    (at_work,) = [server for server in behind.servers if await in_flight(client, server)]
    at_work.kill_all()
    if balancer == "nginx":  # nginx sends the request to another server
        await asyncio.to_thread(gate.wait_for, 1)
    gate.open()
    status, document = await asked
    assert (status, "pid" in document) == ((200, True) if balancer == "nginx" else (503, False))
    again = [(await ask(client, f"{behind.url}/steady", png))[0] for _ in range(6)]
    assert again == [200] * 6


@both
async def test_no_request_fails_while_a_server_stops(behind: Behind, client: ClientSession, png: bytes) -> None:
    statuses: Counter[int] = Counter()
    stopping = asyncio.create_task(asyncio.to_thread(behind.servers[0].stop))
    async with asyncio.timeout(PATIENCE_S):
        while not stopping.done() or statuses.total() < 50:
            status, _ = await ask(client, f"{behind.url}/steady", png)
            statuses[status] += 1
    assert await stopping == 0
    assert statuses.keys() == {200}


async def test_without_servers_the_client_gets_503_with_retry_after(
    behind: Behind, client: ClientSession, png: bytes
) -> None:
    for server in behind.servers:
        server.kill_all()
    async with client.post(f"{behind.url}/steady", data=png, headers=RAW) as response:
        document = await response.json(content_type=PROBLEM)
        assert (response.status, document["type"]) == (503, "urn:faceattr:unavailable")
        assert int(response.headers["Retry-After"]) >= 1
