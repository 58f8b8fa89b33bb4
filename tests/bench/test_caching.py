"""What measures the cache, for a few seconds; what it finds is not held against anything here."""

import shutil

import pytest

from bench.speed import caching
from bench.support.openloop import Record


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
def test_hits_misses_and_a_redis_that_stands_still_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert caching.main(["--seconds=1", "--pictures=20"]) in {0, caching.FAILED}
    said = capsys.readouterr().out
    assert "a hit whose digest is told" in said
    assert "with one in memory: " in said
    assert "Redis stands still for 1 s: {'200': " in said


def test_a_hit_that_is_dear_and_a_wait_that_is_long_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow, failed = Record(), Record(), Record()
    for record, outcome, seconds in ((quick, "200", 0.02), (slow, "200", 0.06), (failed, "500", 0.02)):
        record.add(outcome, seconds)
    for cheap, meanwhile, status in ((True, quick, 0), (False, quick, 1), (True, slow, 1), (True, failed, 1)):
        monkeypatch.setattr(caching, "tell_costs", lambda _, cheap=cheap: cheap)
        monkeypatch.setattr(caching, "tell_zipf", lambda _: None)
        monkeypatch.setattr(caching, "measure_stopped", lambda _, meanwhile=meanwhile: (quick, meanwhile))
        assert caching.main([]) == status
