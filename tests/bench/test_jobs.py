"""Some hundred jobs on Celery while workers are killed and Redis and the server are restarted: the figures themselves
are `python -m bench.jobs`'s.
"""

import shutil

import pytest

from bench.load.jobs import Seen, measure, report


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
async def test_every_job_that_was_accepted_comes_to_one_result() -> None:
    lines = dict(report(await measure(300, 0.5, seconds=0.02)))
    assert all(lines.values()), lines


def seen() -> Seen:
    """Two jobs, both as they should be."""
    seen = Seen(2, {0: "a", 1: "b"}, restarted=2, done=2, seconds=1.0)
    seen.told[0], seen.told[1], seen.answers[202] = {"one"}, {"other"}, 2
    return seen


def test_what_is_lost_doubled_mixed_up_or_unexpected_is_past_its_bound() -> None:
    assert all(good for _, good in report(seen()))
    lost, doubled, mixed, unexpected, left = (seen() for _ in range(5))
    del lost.told[1]
    doubled.told[1].add("another")
    mixed.wrong = 1
    unexpected.answers[500] += 1
    left.left = 1
    for one in (lost, doubled, mixed, unexpected, left):
        assert sum(not good for _, good in report(one)) >= 1
