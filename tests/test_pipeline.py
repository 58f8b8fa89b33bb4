import time

import pytest

from faceattr_aio.pipeline import Clock, resolve


def test_stages_of_the_same_name_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 0.010, 0.030, 0.060])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    clock = Clock()
    for stage in ("decode", "detect", "decode"):
        clock.lap(stage)
    assert clock.laps == {"decode": pytest.approx(40.0), "detect": pytest.approx(20.0)}


def test_a_dotted_name_gives_the_object() -> None:
    assert resolve("faceattr_aio.pipeline:resolve") is resolve


@pytest.mark.parametrize("name", ["", "module", "module:", ":name"])
def test_a_name_without_module_or_attribute_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"package\.module:name"):
        resolve(name)
