"""A real Prometheus with the files of conf/prometheus, shorter periods and one target, queried as Grafana does."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientSession

from tests.deploy.daemon import CONF, Daemon, free_port, installed
from tests.support.process import PATIENCE_S

FILE = CONF / "prometheus" / "prometheus.yml"
RULES = CONF / "prometheus" / "alerts.yml"
PERIOD_S = 0.2
_QUICK = ((r"\[[25]m\]", "[2s]"), (r"for: \d+m", "for: 1s"))


@dataclass(frozen=True)
class Series:
    """One series of a response."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """Scrapes every 0.2 s. Its rules have windows of two seconds and wait for one second instead of minutes. The rules
    on the process keep their windows, because a busy machine could make them fire.
    """

    def __init__(self, client: ClientSession, folder: Path, target: str) -> None:
        program = installed("prometheus", "prometheus")
        self._client = client
        self._url = f"http://127.0.0.1:{free_port()}"
        (folder / FILE.name).write_text(yaml.safe_dump(_aimed_at(target)))
        (folder / RULES.name).write_text(_quickened_rules())
        flags = {
            "config.file": FILE.name,
            "storage.tsdb.path": "data",
            "web.listen-address": self._url.removeprefix("http://"),
            "log.level": "warn",
        }
        self._daemon = Daemon([program, *(f"--{flag}={value}" for flag, value in flags.items())], folder, {})

    async def started(self) -> None:
        await self._daemon.answers(self._client, f"{self._url}/-/ready")

    async def query(self, query: str, at: float | None = None) -> list[Series]:
        """Return the values of `query`, now or at a time in seconds since 1970."""
        params = {"query": query} | ({} if at is None else {"time": f"{at:.3f}"})
        result = (await self._get("query", params))["result"]
        return [Series(one["metric"], float(one["value"][1])) for one in result]

    async def values(self, label: str, match: str) -> list[str]:
        """Return the values that `label_values(match, label)` of Grafana lists."""
        found: list[str] = await self._get(f"label/{label}/values", {"match[]": match})
        return found

    async def alerts(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = (await self._get("alerts", {}))["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    async def faults(self) -> dict[str, str]:
        """Return the error of each rule that cannot be evaluated, by its name."""
        groups = (await self._get("rules", {}))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return {rule["name"]: rule.get("lastError", rule["health"]) for rule in rules if rule["health"] != "ok"}

    async def scraped(self) -> float:
        """Wait for a scrape that begins after this call and return its time."""
        (now,) = await self.query("vector(time())")
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await self.query(f"timestamp(up) > {now.value}")):
                await asyncio.sleep(PERIOD_S / 4)
        return found[0].value

    def end(self) -> None:
        self._daemon.end()

    async def _get(self, what: str, params: Mapping[str, str]) -> Any:
        async with self._client.get(f"{self._url}/api/v1/{what}", params=params) as response:
            document = await response.json()
        assert document["status"] == "success", document
        return document["data"]


def _aimed_at(target: str) -> dict[str, Any]:
    """Return the configuration with another target and shorter periods."""
    config: dict[str, Any] = yaml.safe_load(FILE.read_text())
    config["global"] = dict.fromkeys(config["global"], f"{PERIOD_S * 1e3:.0f}ms")
    (job,) = config["scrape_configs"]
    (group,) = job["static_configs"]
    group["targets"] = [target]
    return config


def _quickened_rules() -> str:
    quick, process, slow = RULES.read_text().partition("  - name: faceattr-process")
    for minutes, seconds in _QUICK:
        quick = re.sub(minutes, seconds, quick)
    return quick + process + slow
