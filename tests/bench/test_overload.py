"""The real server under a load beyond its capacity, with a pipeline that sleeps, and with limits ten times as wide as
the targets, which `make overload` checks.
"""

import os
from collections.abc import Iterator
from functools import partial
from statistics import median

import pytest

from bench.faults import hostile
from bench.load import overload, soak
from bench.load.overload import REFUSAL_P50_MS, REFUSAL_P99_MS
from bench.support.openloop import Record, offer, post, session
from bench.support.served import Server
from bench.support.sleeper import SLEEP
from tests.support.process import start_server

TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core for the server, one for the load")
SLEEP_S, WORKERS, LIMIT, SECONDS = 0.05, 2, 4, 2.0
CAPACITY = WORKERS / SLEEP_S


@pytest.fixture(scope="module")
def sleeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = f"[inference]\nworkers = {WORKERS}\nlimit = {LIMIT}\n{SLEEP}seconds = {SLEEP_S}\n"
    server = start_server(tmp_path_factory.mktemp("server"), settings, {})
    yield server
    server.kill()


async def offered(server: Server, multiple: int) -> Record:
    async with session() as client:
        ask = partial(post, client, f"{server.url}/sleep", overload.PICTURE.read_bytes(), overload.TYPE)
        return await offer(ask, multiple * CAPACITY, SECONDS)


@pytest.mark.parametrize("multiple", [2, 8])
async def test_beyond_its_capacity_it_keeps_its_goodput_and_refuses_the_rest_at_once(
    multiple: int, sleeping: Server
) -> None:
    record = await offered(sleeping, multiple)
    assert record.unexpected() == {}
    assert record.counts["200"] > CAPACITY * SECONDS / 2
    assert record.counts["200"] + record.counts["503"] == multiple * CAPACITY * SECONDS
    assert record.ms("200", 99) < 10 * 1.5 * LIMIT / WORKERS * SLEEP_S * 1e3
    assert record.ms("503", 50) < 10 * REFUSAL_P50_MS
    assert record.ms("503", 99) < 10 * REFUSAL_P99_MS


@TWO_CORES
async def test_measures_and_reports_overload_and_a_refusal_of_100_kb_costs_little(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rounds, refusal_cpu_ms = await overload.measure(1, 0.3, 0.3, 200)
    assert refusal_cpu_ms < 10 * overload.REFUSAL_CPU_MS
    lines = [line for line, _ in overload.report(rounds, refusal_cpu_ms)]
    assert len(lines) == 2 + len(overload.MULTIPLES) + 1
    assert all(f"{multiple}x" in line for multiple, line in zip(overload.MULTIPLES, lines[2:], strict=False))
    assert capsys.readouterr().out == ""


async def test_a_missed_target_is_reported() -> None:
    good, bad, slow = Record(), Record(), Record()
    for number in range(100):
        good.add("200", 0.05)
        good.add("503", 0.001)
        bad.add("200" if number % 2 else "ClientOSError", 0.05)
        slow.add("200", 2.0)

    def kept(*records: Record) -> list[bool]:
        measured = overload.Round(100.0, 1.0, dict(zip(overload.MULTIPLES, records, strict=True)))
        return [kept for _, kept in overload.report([measured], 0.1)][2:-1]

    assert kept(good, good, good, good) == [True] * 4
    assert kept(good, bad, good, slow) == [True, False, True, False]


@TWO_CORES
async def test_a_few_seconds_of_soaking_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "SLICE_S", 5.0)
    seen, left = await soak.measure(4.0)
    assert {outcome for outcome in seen.counts if outcome not in soak.DOCUMENTED} == set()
    assert {"200", "503", soak.LEFT} <= set(seen.counts)
    assert left == 0
    assert [good for _, good in soak.report(seen, left, 0.0)][1] is True


def test_growth_is_the_slope_after_the_settling_time() -> None:
    seen = soak.Seen(memory=[(float(second), 10**9 if second < 10 else 10**6 * second) for second in range(100)])
    assert seen.growth(10) == pytest.approx(60)


@TWO_CORES
async def test_other_clients_keep_most_of_their_goodput_next_to_slow_ones() -> None:
    with overload.served(overload.SETTINGS) as server:
        shares = [await hostile.share_beside_slow_clients(server.url, "/analyze", 2.0) for _ in range(2)]
    assert median(shares) > 1 - 4 * (1 - hostile.LEAST_SHARE)
