"""The interpretation of measurements and the report, on made-up ones with a known knee and known faults."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench.stress import compare, report, sections
from bench.stress.knee import crossing, find_knee
from bench.stress.measurements import Measurements, Run, latest, read
from bench.stress.shapes import SPECIFIED
from bench.stress.verdict import first_bottleneck, last_safe, verdicts
from tests.bench.stressed import GROWING, TARGETS, measured, run, step


def law(users: float, a: float = 8.0, b: float = 0.02, c: float = 0.0005) -> float:
    return a * users / (1 + b * (users - 1) + c * users * (users - 1))


def test_finds_the_knee_of_a_known_curve_with_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 1.5, len(SPECIFIED))
    true = find_knee(SPECIFIED, [law(users) for users in SPECIFIED])
    found = find_knee(SPECIFIED, [law(users) + error for users, error in zip(SPECIFIED, noise, strict=True)])
    assert true.law.b == pytest.approx(0.02, rel=0.01)
    assert true.users == pytest.approx(25.6, abs=0.3)  # nine tenths of the maximum, which is at 44
    assert true.low == pytest.approx(true.users, abs=0.5)
    assert found.low <= true.users <= found.high
    assert 0 < found.high - found.low < 15


def test_the_knee_of_a_curve_that_becomes_flat_is_near_the_bend() -> None:
    assert 10 < find_knee(SPECIFIED, [min(3.0 * users, 60) for users in SPECIFIED]).users < 35


def test_three_levels_have_no_knee() -> None:
    with pytest.raises(ValueError, match="4 levels"):
        find_knee([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize(("bound", "users"), [(5, 1), (150, 15), (1000, None)])
def test_finds_the_crossing_between_two_levels(bound: float, users: float | None) -> None:
    assert crossing([1, 10, 20], [10, 100, 200], bound) == users


def test_judges_the_worst_level_and_the_best_goodput() -> None:
    found = {one.target: one.kept for one in verdicts(run(*GROWING), TARGETS)}
    assert found == {
        "goodput >= 40.0/s": True,
        "mean of accepted answers <= 300 ms": False,
        "P99 of accepted answers <= 250 ms": False,
        "failed <= 0.50%": True,
    }


def test_the_last_safe_load_is_before_the_first_unsafe_one() -> None:
    safe = last_safe(run(*GROWING), TARGETS)
    assert safe is not None
    assert safe.users == 20
    assert last_safe(run(step(1, failed=5)), TARGETS) is None


@pytest.mark.parametrize(
    ("part", "value", "name"),
    [
        ("cpu_workers", 0.95, "the workers' CPU"),
        ("cpu_server", 0.95, "the server's own process"),
        ("cpu_load", 0.95, "the load generator"),
        ("loop_lag_ms", 80.0, "the event loop"),
        ("most_memory_bytes", 200e6, "memory"),
    ],
)
def test_names_the_first_bottleneck_with_its_load(part: str, value: float, name: str) -> None:
    strained = step(20)
    assert strained.usage
    usage = strained.usage.model_copy(update={part: value})
    found = first_bottleneck(run(step(1), step(10), strained.model_copy(update={"usage": usage})))
    assert found is not None
    assert found[0].users == 20
    assert found[1].name.startswith(name)


def test_growing_waits_without_refusals_are_a_queue() -> None:
    found = first_bottleneck(run(step(1, ms=20), step(50, ms=900)))
    assert found is not None
    assert found[1].name.startswith("the queue: answers")


def test_refusals_are_caused_by_the_limit_or_by_busy_cores() -> None:
    refusing = step(50, ms=60, refused=100)
    found = first_bottleneck(run(step(1, ms=20), refusing))
    assert found is not None
    assert found[1].name.startswith("the limit")
    assert refusing.usage is not None
    refusing.usage.cores, refusing.usage.cpu_server, refusing.usage.cpu_workers = 1, 0.2, 0.7
    found = first_bottleneck(run(step(1, ms=20), refusing))
    assert found is not None
    assert found[1].name.startswith("CPU")


def test_answers_after_clients_gave_up_are_a_queue() -> None:
    found = first_bottleneck(run(step(1), step(80, goodput=0, failed=70)))
    assert found is not None
    assert "given up" in found[1].name


@pytest.mark.parametrize(
    ("now", "worse"),
    [
        (run(*GROWING), []),
        (run(*(one.model_copy(update={"goodput_per_s": one.goodput_per_s * 0.8}) for one in GROWING)), ["goodput"]),
        (run(*GROWING[:-1], step(80, 55, 700, refused=150)), ["P99"]),
        (run(*GROWING[:-1], step(80, 55, 400, refused=130, failed=20)), ["failures"]),
        (run(*GROWING[:3]), []),
    ],
)
def test_reports_regressions(now: Run, worse: list[str]) -> None:
    found = compare.regressions(measured(), measured(now))
    assert len(found) == len(worse)
    assert all(word in sentence for word, sentence in zip(worse, found, strict=True))


def test_compares_two_reports_and_fails_for_a_worse_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "A", tmp_path / "B"]
    slower = run(*(one.model_copy(update={"goodput_per_s": one.goodput_per_s / 2}) for one in GROWING))
    for folder, found in zip(folders, (measured(), measured(slower)), strict=True):
        folder.mkdir()
        found.write(folder)
    assert compare.main([str(folders[0]), str(folders[0])]) == 0
    assert compare.main([str(folders[0]), str(folders[1])]) == 1
    output = capsys.readouterr().out
    assert "| ours | 20 | 55.0 -> 27.5 |" in output
    assert "| cores | 2 | 2 |" in output


def test_finds_the_latest_earlier_report(tmp_path: Path) -> None:
    for name in ("2026-01-01", "2026-01-03", "2026-01-02"):
        (tmp_path / name).mkdir()
        measured(made=name).write(tmp_path / name)
    (tmp_path / "2026-01-09").mkdir()
    assert latest(tmp_path, [tmp_path / "2026-01-03"]) == tmp_path / "2026-01-02"
    assert latest(tmp_path / "nowhere") is None
    assert read(tmp_path / "2026-01-02").made == "2026-01-02"


def test_a_report_has_everything_in_one_file(tmp_path: Path) -> None:
    flat = run(*GROWING)
    fallen = run(step(1), step(10), step(40, 2, failed=60), step(80, 0, failed=90), name="unbounded")
    found = measured(flat, fallen.model_copy(update={"stopped": "90 of the last 90 requests failed"}))
    page = report.write(found, tmp_path, measured()).read_text()
    for heading in (
        "Targets", "Comparison with the specifications", "The knee", "Throughput against latency", "Errors by type",
        "First bottleneck", "CPU, network, disk, connections: ours", "Cold and hot start",
        "Comparison with the last run", "Configuration and versions",
    ):  # fmt: skip
        assert f"<h2>{heading}" in page, heading
    assert page.count("<svg") == 5
    assert "<img" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "90 of the last 90 requests failed" in page
    assert "nothing is worse" in page
    text = (tmp_path / report.TEXT).read_text()
    assert "| 40 | 18.3 | 342 | 520 | 1.2% | 89% | 56.0 | 200 | 200 | 41.7% | 0.0% | 20% |" in text
    assert (tmp_path / "goodput.svg").exists()


@pytest.mark.parametrize(("others", "reported"), [(0.1, False), (0.9, True)])
def test_reports_that_other_programs_disturbed_the_run(others: float, reported: bool) -> None:
    disturbed = step(1)
    assert disturbed.usage
    usage = disturbed.usage.model_copy(update={"cpu_others": others})
    found = measured(run(step(1), disturbed.model_copy(update={"usage": usage})))
    assert any("**Unreliable**" in line for line in sections.overview(found, None, None)) == reported


def test_writes_a_report_again_from_its_measurements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "2026-01-31"
    folder.mkdir()
    measured(run(step(1), step(2))).write(folder)
    assert report.main([str(folder)]) == 0
    assert capsys.readouterr().out.strip() == str(folder / report.PAGE)
    assert "Too few levels" in (folder / report.PAGE).read_text()


def test_the_readme_explains_every_field_of_the_measurements() -> None:
    text = (Path(report.__file__).parent / "README.md").read_text()
    for definition in Measurements.model_json_schema()["$defs"].values():
        for name in definition["properties"]:
            assert name in text, name
    assert json.loads(measured().model_dump_json())["runs"][0]["steps"][0]["users"] == 1
