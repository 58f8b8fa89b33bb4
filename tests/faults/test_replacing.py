"""Short runs of bench.faults.reload and bench.faults.killing, which measure requests while workers are replaced."""

import os

import pytest

from bench.faults import killing, reload
from bench.support.openloop import Record

TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core for the server, one for the load")


def recorded(**counts: int) -> Record:
    record = Record()
    for outcome, count in counts.items():
        for _ in range(count):
            record.add(outcome.strip("_"), 0.05)
    return record


@TWO_CORES
async def test_during_reloads_every_request_is_answered_or_refused() -> None:
    measured = await reload.measure(3.0)
    before, during, after, goodput, reloads = reload.report(measured)
    assert [good for _, good in (before, during, after)] == [True] * 3
    assert "goodput" in goodput[0]
    assert measured.during.counts["200"]
    assert measured.log.count(reload.ROLLED_BACK) == 1
    assert reloads[1]


@TWO_CORES
async def test_kills_fail_only_the_request_in_the_worker_and_readiness_is_accurate() -> None:
    seen = await killing.measure(7.0)
    lines = list(killing.report(seen))
    assert [line for line, good in lines if not good] == []
    assert 3 <= seen.killed <= 7  # one per second, and both workers once; fewer when a worker starts slowly
    assert seen.not_ready > 0


def test_the_report_on_reloads_marks_each_missed_bound() -> None:
    good, log = recorded(_200=100, _503=20), f"{reload.RELOADED} {reload.ROLLED_BACK} " + reload.RELOADED * 3
    kept = reload.Measured(good, recorded(_200=90), good, log)
    assert [good for _, good in reload.report(kept)] == [True] * 5
    worse = reload.Measured(good, recorded(_200=89), good, log)
    assert [good for _, good in reload.report(worse)] == [True, True, True, False, True]
    failing = reload.Measured(good, recorded(_200=95, _500=1), good, reload.RELOADED * 5)
    assert [good for _, good in reload.report(failing)] == [True, False, True, True, False]
    assert reload.Measured(recorded(_200=90), good, recorded(_200=110), log).spread == pytest.approx(0.2)


def test_the_report_on_kills_marks_each_missed_bound() -> None:
    good = killing.Seen(recorded(_200=50, _500=3, _503=2), killed=3, back=True)
    assert all(kept for _, kept in killing.report(good))
    bad = killing.Seen(recorded(_200=50, _500=4, _504=1), 3, untrue=1, back=False, grown=1 << 30, descriptors=1)
    assert not any(kept for _, kept in killing.report(bad))
