"""A real Prometheus with the files of conf/ scrapes a real server under a fixed load: each panel shows the values that
follow from the load, and an alert starts and stops firing.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pytest
from aiohttp import ClientSession

from faceattr_aio.config.schema import Config
from tests.deploy.daemon import installed
from tests.deploy.dashboard import BOARD, PANELS
from tests.deploy.load import LIMIT, UPLOADS, WORKERS, Sender, configure
from tests.deploy.prometheus import RULES, Prometheus
from tests.deploy.scenario import Readings, Scenario, Shown
from tests.support.gate import Gate
from tests.support.process import Server, start_server

Range = tuple[float, float]

COUNTED = {
    "Requests": {"requests": 34},
    "Requests by status": {"200": 24, "422": 2, "500": 4, "503": 4},
    "Refusals by reason": {"deadline": 4},
    "Failures by type": {"422 unreadable-image": 2, "500 internal": 4},
    "Pictures and faces": {
        "pictures for sleep": 12,
        "pictures for long": 2,
        "pictures for faces": 6,
        "pictures for trick": 11,
        "faces": 6,
    },
}
"""Increases during the load: the rate of a series multiplied by the duration."""

MEASURED: dict[str, dict[str, Range]] = {
    "Refused": {"refused": (0.1176, 0.1177)},  # 4 of 34
    "Failed": {"failed": (0.1333, 0.1334)},  # 4 of 30
    "Time to answer": {"median": (0.1, 0.5), "95 %": (0.5, 5), "99 %": (0.5, 5)},
    "Stages, median": {"sleep sleep": (0.16, 0.2), "long sleep": (0.5, 1), "trick trick": (0, 0.1)},
    "Stages, slowest 1 %": {"sleep sleep": (0.24, 2.5), "long sleep": (0.5, 2.5)},
    "Event loop lag": {"server median": (0, 0.25), "server 99 %": (0, 5)},
}
"""Bounds of values at the end of the load. Where a duration is known they are those of its bucket, within which
percentiles are interpolated. Only some of the stages are listed."""

HELD = {
    "Instances": {"server": 1},
    "In flight": {"in flight": LIMIT, "waiting": LIMIT - WORKERS, "limit": LIMIT},
    "Uploads in progress": {"uploads": 1, "limit": UPLOADS},
}
"""Values while all slots are in use and one upload is halted."""


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory, png: bytes) -> Iterator[Readings]:
    installed("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("watched")
    with ExitStack() as started:
        started.callback((gate := Gate(folder / "gate")).close)
        started.callback((server := start_server(folder, configure(gate), {})).kill)
        yield asyncio.run(watch(server, gate, png, folder))


async def watch(server: Server, gate: Gate, picture: bytes, folder: Path) -> Readings:
    async with ClientSession() as client:
        prometheus = Prometheus(client, folder, server.url.removeprefix("http://"))
        try:
            return await Scenario(Sender(client, server, picture), prometheus, gate).play()
        finally:
            prometheus.end()


def values(shown: Shown, title: str) -> dict[str, float]:
    """Return the values of a panel by the names of its series, which must be unique."""
    panel = shown.panels[title]
    named = {name: series.value for name, series in panel}
    assert len(named) == len(panel)
    return named


@pytest.mark.parametrize("title", COUNTED)
def test_rates_match_the_load(readings: Readings, title: str) -> None:
    counted = {name: rate * readings.worked.seconds for name, rate in values(readings.worked, title).items()}
    assert counted == pytest.approx(COUNTED[title], rel=0.01)


@pytest.mark.parametrize("title", MEASURED)
def test_measured_values_are_within_their_bounds(readings: Readings, title: str) -> None:
    measured = values(readings.worked, title)
    for name, (low, high) in MEASURED[title].items():
        assert low < measured[name] <= high, name


@pytest.mark.parametrize("title", HELD)
def test_panels_show_slots_in_use_and_their_limit(readings: Readings, title: str) -> None:
    assert values(readings.held, title) == HELD[title]


def test_no_slot_is_in_use_after_the_load(readings: Readings) -> None:
    assert values(readings.worked, "In flight") == {"in flight": 0, "waiting": 0, "limit": LIMIT}


def test_refusals_are_counted_by_reason_while_all_slots_are_in_use(readings: Readings) -> None:
    rates = values(readings.held, "Refusals by reason")
    counted = {name: rate * readings.held.seconds for name, rate in rates.items()}
    assert counted == pytest.approx({"deadline": 0, "overloaded": 6}, rel=0.01)


def test_workers_were_busy_at_least_while_they_slept_and_at_most_the_whole_time(readings: Readings) -> None:
    shown = values(readings.worked, "Workers")
    assert shown["workers"] == WORKERS
    assert 12 * 0.12 + 2 * 0.6 < shown["busy"] * readings.worked.seconds < WORKERS * readings.worked.seconds


def test_the_spool_contains_the_pictures_in_progress(readings: Readings, png: bytes) -> None:
    assert values(readings.held, "Spool") == {"used": LIMIT * len(png), "limit": Config().upload.max_spool_bytes}


def test_cpu_and_memory_match_the_values_of_the_system(readings: Readings) -> None:
    cpu = values(readings.worked, "CPU")
    assert readings.cpu_s / 2 < cpu["server"] * readings.worked.seconds < readings.cpu_s * 2
    shown = values(readings.held, "Memory")
    assert shown["server"] == pytest.approx(readings.memory, rel=0.2)
    assert shown["server workers"] > WORKERS * 20e6


def test_versions_and_models_are_those_in_use(readings: Readings) -> None:
    ((_, build),) = readings.worked.panels["Versions"]
    assert build.labels["version"] == metadata.version("faceattr-aio")
    assert build.labels["aiohttp"] == metadata.version("aiohttp")
    models = {series.labels["name"]: series.labels["sha256"] for _, series in readings.worked.panels["Models"]}
    assert models.pop("trick") == "0" * 64
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in models.values())
    assert "blazeface-full-range" in models


def test_the_variables_offer_the_job_and_its_instance(readings: Readings) -> None:
    assert readings.choices["job"] == ["faceattr"]
    assert len(readings.choices["instance"]) == 1


def test_every_panel_has_a_test() -> None:
    singly = {"Workers", "Spool", "CPU", "Memory", "Versions", "Models", "Alerts", "Worker restarts and reloads"}
    assert COUNTED.keys() | MEASURED.keys() | HELD.keys() | singly == PANELS.keys()


def test_the_server_has_every_metric_that_rules_and_panels_use(readings: Readings) -> None:
    asked = set(re.findall(r"\b(?:faceattr|http_server|process)_\w+(?={)", RULES.read_text() + json.dumps(BOARD)))
    assert asked <= readings.metrics


def test_a_killed_worker_is_counted_as_crashed(readings: Readings) -> None:
    shown = values(readings.worked, "Worker restarts and reloads")
    assert {what: number for what, number in shown.items() if number} == {"worker crashed": pytest.approx(1, abs=0.1)}


def test_an_alert_fires_while_the_server_is_full_and_none_while_it_is_idle(readings: Readings) -> None:
    before, full, after = readings.alerts
    assert before == after == set()
    assert "FaceattrSaturated" in full
    assert "FaceattrSaturated" in [series.labels["alertname"] for _, series in readings.held.panels["Alerts"]]


def test_every_rule_can_be_evaluated(readings: Readings) -> None:
    assert readings.faults == {}
