"""The measurement of the cache, with seconds instead of minutes; its figures are not asserted."""

import shutil

import pytest

from bench.speed import caching
from bench.support.openloop import Record


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
def test_measures_hits_misses_and_a_stopped_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert caching.main(["--seconds=0.5", "--pictures=20"]) in {0, caching.FAILED}
    output = capsys.readouterr().out
    assert "a hit by its digest" in output
    assert "cache in memory: " in output
    assert "Redis stopped for 0.5 s: {'200': " in output


def test_an_expensive_hit_and_a_long_wait_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow, failed = Record(), Record(), Record()
    for record, outcome, seconds in ((quick, "200", 0.02), (slow, "200", 0.06), (failed, "500", 0.02)):
        record.add(outcome, seconds)
    for cheap, meanwhile, status in ((True, quick, 0), (False, quick, 1), (True, slow, 1), (True, failed, 1)):
        monkeypatch.setattr(caching, "report_costs", lambda _, cheap=cheap: cheap)
        monkeypatch.setattr(caching, "report_zipf", lambda _: None)
        monkeypatch.setattr(caching, "measure_stopped", lambda _, meanwhile=meanwhile: (quick, meanwhile))
        assert caching.main([]) == status
