"""Shared parts of the tests of the stress kit: requests for a sleeping pipeline, a server with an unbounded queue, and
made-up measurements.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from bench.stress.measurements import Machine, Measurements, Picture, Run, Step, Targets, Usage, Waits
from bench.support.sleeper import SLEEP

SERVED = "[inference]\nworkers = 1\nlimit = 2\n" + SLEEP
"""Settings of a server; append `seconds`."""
SLEEP_S = 0.05
_PRESET = """
think_s = [0.0, 0.02]
[[request]]
name = "sleep"
path = "%s"
check = { type = "application/json", has = ["seconds"] }
"""


def sleep_preset(folder: Path, path: str = "/sleep") -> str:
    """Write a preset with a request for a sleeping pipeline. Return its name."""
    file = folder / "sleep.toml"
    file.write_text(_PRESET % path)
    return str(file)


class _Sleeper(BaseHTTPRequestHandler):
    """Processes one request at a time in their order, also those of clients that have disconnected."""

    protocol_version = "HTTP/1.1"
    working: ClassVar[threading.Lock] = threading.Lock()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.working:
            time.sleep(SLEEP_S)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "16")
        self.end_headers()
        self.wfile.write(b'{"seconds": 0.0}')

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """Ignore disconnected clients."""


@contextmanager
def unbounded() -> Iterator[str]:
    """Yield the address of a server with an unbounded queue."""
    with _Server(("127.0.0.1", 0), _Sleeper) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def waits(ms: float, count: int = 100) -> Waits:
    """Waits of the same duration."""
    return Waits(count=count, mean_ms=ms, p50_ms=ms, p95_ms=ms, p99_ms=ms)


def step(users: int, goodput: float = 50.0, ms: float = 20.0, refused: float = 0.0, failed: float = 0.0) -> Step:
    """A made-up level of load."""
    return Step(
        users=users,
        seconds=10.0,
        requests_per_s=goodput + refused + failed,
        goodput_per_s=goodput,
        refused_per_s=refused,
        failed_per_s=failed,
        accepted=waits(ms, round(goodput * 10)),
        outcomes={"200": round(goodput * 10), "503": round(refused * 10), "timed out": round(failed * 10)},
        usage=Usage(cpu_server=0.1, cpu_workers=0.3, cpu_load=0.2, memory_bytes=100e6, most_memory_bytes=101e6),
    )


def run(*steps: Step, name: str = "ours") -> Run:
    """A made-up run."""
    return Run(
        name=name,
        service="faceattr-aio",
        preset="faceattr",
        honours_retry_after=False,
        think_s=(1.0, 3.0),
        patience_s=10.0,
        shape="steps",
        settings="[inference]\nworkers = 1",
        steps=list(steps),
    )


TARGETS = Targets(least_goodput_per_s=40.0, most_mean_ms=300.0, most_p99_ms=250.0)
GROWING = (step(1, 10), step(10, 40), step(20, 55, 100), step(40, 56, 200, refused=40), step(80, 55, 400, refused=150))


def measured(*runs: Run, made: str = "2026-01-31T12:00:00+00:00") -> Measurements:
    """A made-up stress test."""
    return Measurements(
        made=made,
        seconds=60.0,
        command="python -m bench.stress",
        machine=Machine(processor="a processor", cores=2, memory_bytes=1 << 33, system="Linux", python="3.11"),
        versions={"locust": "2"},
        pictures=[Picture(name="a.jpg", bytes=1000)],
        targets=TARGETS,
        runs=list(runs) or [run(*GROWING)],
    )
