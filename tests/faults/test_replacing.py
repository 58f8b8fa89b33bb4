"""The measuring of what replaced workers cost those who ask meanwhile. The figures themselves are `bench.reload`'s and
`bench.killing`'s own.
"""

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
async def test_under_reloads_every_answer_is_one_or_a_refusal() -> None:
    measured = await reload.measure(3.0)
    before, during, after, goodput, reloads = reload.report(measured)
    assert [good for _, good in (before, during, after)] == [True] * 3
    assert "goodput" in goodput[0]
    assert measured.during.counts["200"]
    assert measured.log.count(reload.ROLLED_BACK) == 1
    assert reloads[1]


@TWO_CORES
async def test_under_kills_every_other_request_is_answered_and_readiness_is_true() -> None:
    seen = await killing.measure(7.0)
    said = list(killing.report(seen))
    assert [line for line, good in said if not good] == []
    assert 3 <= seen.killed <= 7  # one a second, and once both; fewer where a new one is long in coming
    assert seen.not_ready > 0


def test_what_reloads_cost_too_much_is_told() -> None:
    good, log = recorded(_200=100, _503=20), f"{reload.RELOADED} {reload.ROLLED_BACK} " + reload.RELOADED * 3
    kept = reload.Measured(good, recorded(_200=90), good, log)
    assert [good for _, good in reload.report(kept)] == [True] * 5
    worse = reload.Measured(good, recorded(_200=89), good, log)
    assert [good for _, good in reload.report(worse)] == [True, True, True, False, True]
    failing = reload.Measured(good, recorded(_200=95, _500=1), good, reload.RELOADED * 5)
    assert [good for _, good in reload.report(failing)] == [True, False, True, True, False]
    assert reload.Measured(recorded(_200=90), good, recorded(_200=110), log).spread == pytest.approx(0.2)


def test_what_is_lost_by_kills_is_told() -> None:
    good = killing.Seen(recorded(_200=50, _500=3, _503=2), killed=3, back=True)
    assert all(kept for _, kept in killing.report(good))
    bad = killing.Seen(recorded(_200=50, _500=4, _504=1), 3, untrue=1, back=False, grown=1 << 30, descriptors=1)
    assert not any(kept for _, kept in killing.report(bad))
