"""Measurements, the recommendation that follows from them, and the command."""

import re
import tomllib
from pathlib import Path

import pytest

from faceattr_aio.cli import main
from faceattr_aio.cli import tune as tune_module
from faceattr_aio.cli.tune import Measurement, _measure_all, backends, candidates, find_knee, recommend, table
from faceattr_aio.config.schema import Config
from faceattr_aio.pipeline import Task
from tests.support.process import TRICK


@pytest.mark.parametrize(("cores", "numbers"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_measures_powers_of_two_up_to_the_cores(cores: int, numbers: list[int]) -> None:
    assert candidates(cores) == numbers


def test_recommends_the_fewest_workers_with_nearly_the_best_rate() -> None:
    measured = [
        Measurement("", 1, 50, 0.02),
        Measurement("", 2, 99, 0.02),
        Measurement("", 4, 101, 0.04),
        Measurement("", 8, 103, 0.08),
    ]
    assert find_knee(measured).workers == 2
    assert find_knee(measured[:1]).workers == 1


def test_the_limit_follows_from_the_longest_wait() -> None:
    assert tomllib.loads(recommend(Measurement("", 2, 100, 0.02), "faces", 0.25))["inference"] == {
        "workers": 2,
        "limit": 25,
    }
    assert tomllib.loads(recommend(Measurement("", 2, 1, 2.0), "faces", 0.25))["inference"] == {
        "workers": 2,
        "limit": 2,
    }


def test_recommends_a_backend_if_the_pipeline_has_several() -> None:
    settings = tomllib.loads(recommend(Measurement("openvino", 2, 100, 0.02), "faces", 0.25))
    assert settings["pipelines"] == {"faces": {"backend": "openvino"}}
    assert backends(Config(), "faces") == ["cv2", "openvino"]


async def test_skips_a_backend_that_does_not_start(
    png_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_module, "backends", lambda *_: ["cv2", "none"])
    measured = await _measure_all(Config(), "faces", Task(png_file), 0.1)
    assert {one.backend for one in measured} == {"cv2"}
    assert "not measured: " in capsys.readouterr().err


def test_the_table_has_a_line_for_each_measurement() -> None:
    assert len(table([Measurement("", 1, 50, 0.02), Measurement("", 2, 99, 0.02)]).splitlines()) == 3


def tune(folder: Path, *arguments: str) -> int:
    settings = folder / "settings.toml"
    settings.write_text(f"{TRICK}sleep_s = 0.02\n")
    return main(["tune", "--seconds", "0.3", "--config", str(settings), *arguments])


def test_measures_recommends_and_writes_the_settings(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path, "--output", str(tmp_path / "tuned.toml"), str(png_file)) == 0
    output = capsys.readouterr().out
    rates = [float(rate) for rate in re.findall(r"^ +\d+ +([\d.]+)", output, re.MULTILINE)]
    assert all(10 < rate < 50 * workers for workers, rate in zip((1, 2, 4, 8, 16), rates, strict=False))
    recommended = tomllib.loads((tmp_path / "tuned.toml").read_text())["inference"]
    assert 1 <= recommended["workers"] <= recommended["limit"]
    assert f"limit = {recommended['limit']}" in output


def test_does_not_overwrite_a_file(png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path, "--output", str(png_file), str(png_file)) == 2
    assert "already exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing.jpg"], "No such file"), (["--pipeline", "other", "a.jpg"], "no pipeline 'other'")],
)
def test_reports_what_cannot_be_measured(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err
