"""A short measurement of three instances behind nginx with the configuration file of this project."""

import shutil

import pytest

from bench.load import instances


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_three_instances_do_more_than_two_and_a_lost_one_causes_only_503(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "LEAST_TIMES", 2.0)  # on a machine with other work
    assert instances.main(["--rounds=1", "--seconds=1"]) == 0
    output = capsys.readouterr().out
    assert "3 instances: " in output
    assert "while one was lost: 200: " in output


def test_a_low_ratio_or_an_unexpected_outcome_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for ratio, counts, status in ((2.8, {"200": 5, "503": 1}, 0), (2.6, {"200": 5}, 1), (2.8, {"502": 1}, 1)):
        monkeypatch.setattr(instances, "measure", lambda *_, ratio=ratio, counts=counts: ([ratio], counts))
        assert instances.main([]) == status
