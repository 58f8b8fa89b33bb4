"""The services that are measured: this package's server, a server with an unbounded queue, or a running one."""

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import requests

from bench.peers.catalogue import PEERS
from bench.stress.measurements import Start
from bench.stress.templates import Request
from bench.support.served import QUIET, UNCACHED, Server, server_core, start_program, start_server

SETTINGS = f"{UNCACHED}[inference]\nworkers = 1\nlimit = 4\n"
"""One worker for the one core of the server."""
OURS, UNBOUNDED = "faceattr-aio", "plain aiohttp, unbounded queue"
PATIENCE_S, LOOK_S, HOT = 60.0, 0.02, 10


class ServiceFailedError(Exception):
    """The measured service does not answer as expected."""


@dataclass(frozen=True)
class Service:
    """`pid` is None if its process is not accessible."""

    name: str
    url: str
    pid: int | None
    settings: str
    start: Start | None = None


Serve = Callable[[Request], AbstractContextManager[Service]]
"""Starts a service and waits for the answer to a first request; stops it afterwards."""


@contextmanager
def serve_ours(request: Request, settings: str = SETTINGS) -> Iterator[Service]:
    """Start this package's server on the first core that this process may use; programs started meanwhile run on the
    others.
    """

    def launch(folder: Path) -> Server:
        with (folder / "log").open("w") as log:
            return start_server(folder, settings, QUIET, {core}, log)

    with server_core() as core, _started(OURS, launch, request, settings) as service:
        yield service


@contextmanager
def serve_unbounded(request: Request) -> Iterator[Service]:
    """Start the same pipeline behind plain aiohttp with an unbounded queue, also on the first core."""
    peer = next(peer for peer in PEERS if peer.name == "aiohttp")

    def launch(folder: Path) -> Server:
        port = free_port()
        with (folder / "log").open("w") as log:
            return start_program(peer.command(port, folder), f"http://127.0.0.1:{port}", folder, {}, {core}, log)

    with server_core() as core, _started(UNBOUNDED, launch, request, "one thread, unbounded queue") as service:
        yield service


@contextmanager
def found(request: Request, url: str, pid: int | None = None) -> Iterator[Service]:
    """Use a running service."""
    began = time.perf_counter()
    _until_answered(url, request)
    yield Service(url, url, pid, "unknown", _start(url, request, 0.0, time.perf_counter() - began))


def serve_at(url: str, pid: int | None) -> Serve:
    return partial(found, url=url, pid=pid)


@contextmanager
def _started(name: str, launch: Callable[[Path], Server], request: Request, settings: str) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        began = time.perf_counter()
        server = launch(Path(folder))
        try:
            first_s = _until_answered(server.url, request, server)
            launch_s = time.perf_counter() - began
            yield Service(name, server.url, server.pid, settings, _start(server.url, request, launch_s, first_s))
        finally:
            server.kill_all()


def _start(url: str, request: Request, launch_s: float, first_s: float) -> Start:
    hot_s = median(send(url, request)[1] for _ in range(HOT))
    return Start(launch_s=launch_s, first_ms=first_s * 1e3, hot_ms=hot_s * 1e3)


def _until_answered(url: str, request: Request, server: Server | None = None) -> float:
    """Seconds of the first answer. Raises ServiceFailedError."""
    end, last = time.monotonic() + PATIENCE_S, "no connection"
    while time.monotonic() < end and (server is None or server.process.poll() is None):
        try:
            status, seconds = send(url, request)
        except requests.ConnectionError:
            time.sleep(LOOK_S)
            continue
        if status < 400:  # noqa: PLR2004  # the first status of a failure
            return seconds
        last = f"{status}"
        time.sleep(LOOK_S)
    raise ServiceFailedError(f"{url}{request.path} did not accept {request.method} {request.name!r}: {last}.")


def send(url: str, request: Request) -> tuple[int, float]:
    """Send the request. Return the status, and the seconds until the last byte."""
    began = time.perf_counter()
    response = requests.request(
        request.method, url + request.path, data=request.body, headers=request.headers, timeout=PATIENCE_S
    )
    return response.status_code, time.perf_counter() - began


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
