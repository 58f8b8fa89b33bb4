"""A short run of `python -m bench.jobs`, and its verdicts."""

import shutil

import pytest

from bench.load.jobs import JobRecords, measure, report


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
async def test_every_accepted_job_gets_one_result() -> None:
    lines = dict(report(await measure(300, 0.5, seconds=0.02)))
    assert all(lines.values()), lines


def records() -> JobRecords:
    """Two jobs without a fault."""
    records = JobRecords(2, {0: "a", 1: "b"}, restarted=2, done=2, seconds=1.0)
    records.results[0], records.results[1], records.statuses[202] = {"one"}, {"other"}, 2
    return records


def test_a_lost_doubled_wrong_unexpected_or_unfinished_job_is_out_of_bounds() -> None:
    assert all(good for _, good in report(records()))
    lost, doubled, wrong, unexpected, left = (records() for _ in range(5))
    del lost.results[1]
    doubled.results[1].add("another")
    wrong.wrong = 1
    unexpected.statuses[500] += 1
    left.left = 1
    for one in (lost, doubled, wrong, unexpected, left):
        assert sum(not good for _, good in report(one)) >= 1
