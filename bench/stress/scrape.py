"""Runs a real Prometheus, if it is installed, that scrapes the service once a second, and returns its counts."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests

from bench.stress.measurements import Counted
from bench.stress.services import free_port

PROGRAM = "prometheus"
PATIENCE_S, LOOK_S = 20.0, 0.1
ANSWERS = "sum by (http_response_status_code) (http_server_request_duration_seconds_count)"
IN_FLIGHT = "max(max_over_time(faceattr_in_flight[1h]))"
EVER_UP = "max(max_over_time(up{job='service'}[1h]))"
SCRAPED = "max(timestamp(up{job='service'} == 1))"


class Prometheus:
    """A running Prometheus at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def count(self) -> Counted | None:
        """The counts of a scrape that starts after this call; None if the service has no metrics."""
        now, end = self.ask("time()")[""], time.monotonic() + PATIENCE_S
        while self.ask(SCRAPED).get("", 0.0) <= now:
            if time.monotonic() > end or self.ask(EVER_UP).get("") == 0:
                return None
            time.sleep(LOOK_S)
        build = requests.get(f"{self.url}/api/v1/status/buildinfo", timeout=PATIENCE_S).json()
        most = self.ask(IN_FLIGHT).get("", 0.0)
        return Counted(version=build["data"]["version"], answers=self.ask(ANSWERS), most_in_flight=most)

    def ask(self, query: str) -> dict[str, float]:
        """The values of an expression, by their one label or by an empty string."""
        response = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=PATIENCE_S)
        data = response.json()["data"]
        if data["resultType"] == "scalar":
            return {"": float(data["result"][1])}
        return {"".join(one["metric"].values()): float(one["value"][1]) for one in data["result"]}


@contextmanager
def scrape(url: str, folder: Path) -> Iterator[Prometheus | None]:
    """Run Prometheus; yields None if it is not installed."""
    if shutil.which(PROGRAM) is None:
        yield None
        return
    port = free_port()
    process = subprocess.Popen(  # noqa: S603  # the program on the path
        [
            PROGRAM,
            f"--config.file={_configure(url, folder)}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ],
        cwd=folder,
    )
    try:
        yield _ready(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()


def _configure(url: str, folder: Path) -> Path:
    """Write the configuration as JSON, which is valid YAML."""
    job = {"job_name": "service", "static_configs": [{"targets": [urlsplit(url).netloc]}]}
    file = folder / "prometheus.yml"
    file.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}))
    return file


def _ready(url: str, process: "subprocess.Popen[bytes]") -> Prometheus | None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"{url}/-/ready", timeout=PATIENCE_S).ok:
                return Prometheus(url)
        except requests.ConnectionError:
            pass
        time.sleep(LOOK_S)
    return None
