"""Three instances behind nginx with our file, for seconds: the same as is measured for longer."""

import shutil

import pytest

from bench.load import instances


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_three_do_more_than_two_could_and_one_that_is_lost_is_not_noticed_but_as_503(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "LEAST_TIMES", 2.0)  # on a machine with other work
    assert instances.main(["--rounds=1", "--seconds=2"]) == 0
    said = capsys.readouterr().out
    assert "3 instances: " in said
    assert "while one was lost: 200: " in said


def test_what_is_too_little_or_strange_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for ratio, counts, status in ((2.8, {"200": 5, "503": 1}, 0), (2.6, {"200": 5}, 1), (2.8, {"502": 1}, 1)):
        monkeypatch.setattr(instances, "measure", lambda *_, ratio=ratio, counts=counts: ([ratio], counts))
        assert instances.main([]) == status
