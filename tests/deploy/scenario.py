"""Runs the fixed load against a real server, and reads every panel and the alerts from a real Prometheus."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from bench.support.served import resident
from tests.deploy.dashboard import PANELS, VARIABLES, fill_in, legend
from tests.deploy.load import LIMIT, LOAD, WORKERS, Sender
from tests.deploy.prometheus import PERIOD_S, Prometheus, Series
from tests.support.gate import Gate
from tests.support.process import PATIENCE_S

_CRASHED = "faceattr_worker_restarts_total{reason='crashed'}"
_POSTS = "sum(http_server_request_duration_seconds_count{http_request_method='POST'})"
_REFUSED = 6


@dataclass
class Shown:
    """The series of each panel over the last `seconds`, with their legends; those of a table have none."""

    seconds: float
    panels: dict[str, list[tuple[str, Series]]]


@dataclass
class Readings:
    """The readings of a run.

    `worked` is read at the end of the load, for which the server used `cpu_s` seconds of CPU; `held` while all slots
    are in use, one upload is halted, and six requests are refused. `memory` is in bytes. `alerts` are those that fire
    at the beginning, while the slots are in use, and at the end. `faults` are errors of rules, `metrics` the names of
    the metrics of the server.
    """

    worked: Shown
    cpu_s: float
    held: Shown
    memory: int
    choices: dict[str, list[str]]
    alerts: list[set[str]]
    faults: dict[str, str]
    metrics: set[str]


@dataclass
class Scenario:
    sender: Sender
    prometheus: Prometheus
    gate: Gate

    async def play(self) -> Readings:
        await self.prometheus.started()
        await self._until(lambda: self._is("sum(count_over_time(up[1m])) >= bool 15", 1))
        before = await self.prometheus.alerts()
        worked, cpu_s = await self._work()
        held, full = await self._hold()
        await self._until(self._calm)
        return Readings(
            worked,
            cpu_s,
            held,
            resident(self.sender.server.pid),
            {name: await self._choices(name) for name in ("job", "instance")},
            [before, full, await self.prometheus.alerts()],
            await self.prometheus.faults(),
            await self._metrics(),
        )

    async def _work(self) -> tuple[Shown, float]:
        for path, status in LOAD:  # the first increment creates a series: a rate shows only the later ones
            await self.sender.post(path, status)
        await self._until(lambda: self._is(_CRASHED, 1))
        since, cpu_s = await self.prometheus.scraped(), self.sender.server.cpu_s()
        await self.sender.work()
        await self._until(lambda: self._is(_CRASHED, 2))
        until, cpu_s = await self.prometheus.scraped(), self.sender.server.cpu_s() - cpu_s
        assert await self._is(_POSTS, len(LOAD) + sum(LOAD.values()) + 1)
        return await self._show(since, until), cpu_s

    async def _hold(self) -> tuple[Shown, set[str]]:
        go_on = asyncio.Event()
        sent = [asyncio.create_task(self.sender.post_halting(go_on))]
        await self._until(lambda: self._is("faceattr_uploads_in_progress", 1))
        sent += [asyncio.create_task(self.sender.post("/held", 200)) for _ in range(LIMIT)]
        await asyncio.to_thread(self.gate.wait_for, WORKERS)
        await self._until(lambda: self._is("faceattr_in_flight", LIMIT))
        shown = await self._refuse()
        full = await self.prometheus.alerts()
        self.gate.open()
        go_on.set()
        await asyncio.gather(*sent)
        return shown, full

    async def _refuse(self) -> Shown:
        await self.sender.post("/sleep", 503)
        since = await self.prometheus.scraped()
        for _ in range(_REFUSED):
            await self.sender.post("/sleep", 503)
        await self._until(lambda: self._is("ALERTS{alertname='FaceattrSaturated', alertstate='firing'}", 1))
        return await self._show(since, await self.prometheus.scraped())

    async def _show(self, since: float, until: float) -> Shown:
        """Read all panels for the time between two scrapes, both included."""
        interval, address = f"{(until - since) * 1e3 + 1:.0f}ms", self.sender.server.url.removeprefix("http://")
        panels: dict[str, list[tuple[str, Series]]] = {}
        for title, panel in PANELS.items():
            panels[title] = []
            for target in panel["targets"]:
                query = fill_in(target["expr"], __rate_interval=interval, job="faceattr", instance=".*")
                for one in await self.prometheus.query(query, until):
                    panels[title].append((legend(target, one.labels).replace(address, "server"), one))
        return Shown(until - since, panels)

    async def _choices(self, variable: str) -> list[str]:
        """Return the values that a variable offers."""
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", fill_in(VARIABLES[variable]["query"], job="faceattr"))
        assert query
        return await self.prometheus.values(label=query[2], match=query[1])

    async def _metrics(self) -> set[str]:
        async with self.sender.client.get(f"{self.sender.server.url}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
        return {sample.name for family in families for sample in family.samples}

    async def _is(self, query: str, value: float) -> bool:
        return [one.value for one in await self.prometheus.query(query)] == [value]

    async def _calm(self) -> bool:
        return not await self.prometheus.alerts()

    async def _until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await ready():
                await asyncio.sleep(PERIOD_S)
