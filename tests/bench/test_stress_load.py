"""Levels of load, what is recorded of them, when they are given up; and Locust itself, against real servers."""

import json
import re
import subprocess
import time
from argparse import ArgumentParser
from pathlib import Path

import pytest
import requests

from bench.stress.answers import Answer
from bench.stress.drive import LocustFailedError, Plan, drive, locust
from bench.stress.load import Load, add_options
from bench.stress.pictures import make_folder
from bench.stress.record import Recorder
from bench.stress.services import free_port
from bench.stress.shapes import SHAPES, Course, Level
from bench.stress.stop import Collapse
from bench.support.served import environment
from tests.bench.stressed import SERVED, SLEEP_S, sleep_preset, unbounded
from tests.conftest import StartServer
from tests.support.process import PATIENCE_S, ROOT

GOOD, BAD, REFUSED = Answer("accepted", "200"), Answer("failed", "timed out"), Answer("refused", "503", 1.0)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "pictures", (64,))


@pytest.mark.parametrize(
    ("shape", "numbers", "users"),
    [
        ("steps", (1, 5, 10), [1, 5, 10]),
        ("spike", (5, 100), [5, 100, 5]),
        ("ramp", (1, 10), list(range(1, 11))),
        ("rate", (20,), [40]),
    ],
)
def test_a_shape_has_these_levels(shape: str, numbers: tuple[float, ...], users: list[int]) -> None:
    levels = SHAPES[shape](numbers, 10.0, 2.0, 2.0)
    assert [level.users for level in levels] == users
    assert (levels[0].pace_s == pytest.approx(2.0)) == (shape == "rate")


def test_a_course_counts_only_when_a_level_has_settled() -> None:
    course = Course([Level(1, 10, 2), Level(5, 10, 2)])
    assert [course.counting(at) for at in (1.9, 2.0, 9.9, 10.0, 12.0, 20.0)] == [None, 0, 0, None, 1, None]
    assert [course.index(at) for at in (0, 9.9, 10, 19.9, 20)] == [0, 0, 1, 1, None]


def test_what_two_processes_recorded_adds_up() -> None:
    course = Course([Level(5, 12, 2)])
    parts = [Recorder(course), Recorder(course)]
    for recorder in parts:
        level = recorder.level(5.0)
        assert level
        for answer, seconds in ((GOOD, 0.1), (GOOD, 0.3), (REFUSED, 0.001), (BAD, 1.0)):
            level.add(answer, seconds, "a.jpg")
    parts[0].merge(json.loads(json.dumps(parts[1].export())))
    assert parts[1].levels == {}
    (step,) = parts[0].steps(1000.0, 1012.0)
    assert (step.goodput_per_s, step.refused_per_s, step.failed_per_s) == (0.4, 0.2, 0.2)
    assert step.accepted.count == step.by_picture["a.jpg"].count == 4
    assert step.accepted.mean_ms == pytest.approx(200, rel=0.01)
    assert step.outcomes == {"200": 4, "503": 2, "timed out": 2}
    assert (step.began_s, step.seconds) == (1002.0, 10.0)


def test_a_level_that_was_cut_short_counts_for_as_long_as_it_lasted() -> None:
    recorder = Recorder(Course([Level(1, 10, 2), Level(5, 10, 2), Level(9, 10, 2)]))
    assert [step.seconds for step in recorder.steps(100.0, 116.0)] == [8.0, 4.0]


def test_a_run_is_given_up_when_most_requests_fail_and_says_why() -> None:
    collapse = Collapse(10.0)
    for tick in range(300):
        collapse.add(tick / 10, GOOD if tick < 150 else BAD)
        if reason := collapse.reason(tick / 10):
            break
    assert 19 < tick / 10 < 22
    assert reason is not None
    assert reason.endswith("of them: timed out")


@pytest.mark.parametrize("answer", [GOOD, REFUSED, Answer("rejected", "400")])
def test_a_service_that_says_no_in_time_has_not_collapsed(answer: Answer) -> None:
    collapse = Collapse(10.0)
    for tick in range(300):
        collapse.add(tick / 10, answer)
    assert collapse.reason(30.0) is None


def test_a_few_requests_tell_nothing() -> None:
    collapse = Collapse(10.0)
    for tick in range(19):
        collapse.add(float(tick), BAD)
    assert collapse.reason(19.0) is None


def test_an_unbounded_queue_collapses_where_ours_stays_flat(tmp_path: Path, start: StartServer, pictures: Path) -> None:
    plan = Plan(
        sleep_preset(tmp_path), pictures, (2, 40), seconds=3, settle_s=1, think_s=(0.1, 0.2), patience_s=0.4,
        keep_going=True,
    )  # fmt: skip
    ours = start(f"{SERVED}seconds = {SLEEP_S}\n")
    flat, _ = drive(ours.url, plan, tmp_path)
    with unbounded() as url:
        collapsed, _ = drive(url, plan, tmp_path)
    assert flat[1].goodput_per_s > 0.5 * flat[0].goodput_per_s > 0
    assert flat[1].refused_per_s > 10 * flat[1].failed_per_s
    assert collapsed[0].goodput_per_s > 2
    assert collapsed[1].goodput_per_s < 0.2 * collapsed[0].goodput_per_s
    assert collapsed[1].outcomes["timed out"] > 50


def test_a_run_stops_itself_when_nothing_comes_back(tmp_path: Path, pictures: Path) -> None:
    plan = Plan(sleep_preset(tmp_path), pictures, (60,), seconds=60, settle_s=1, patience_s=0.2, window_s=2.0)
    began = time.monotonic()
    with unbounded() as url:
        steps, stopped = drive(url, plan, tmp_path)
    assert time.monotonic() - began < 40
    assert stopped is not None
    assert "failed within 2 s" in stopped
    assert steps[0].seconds < 30


def test_broken_requests_are_rejected_as_they_should_be(tmp_path: Path, start: StartServer, pictures: Path) -> None:
    server = start(f"{SERVED.replace('/sleep', '/analyze')}seconds = 0.0\n")
    (step,), stopped = drive(server.url, Plan("hostile", pictures, (4,), seconds=4, settle_s=1), tmp_path)
    assert stopped is None
    assert step.failed_per_s == step.goodput_per_s == 0
    assert step.outcomes.keys() <= {"400", "413", "415", "503", "closed by the test"}
    assert step.rejected.count > 10


def test_clients_that_honour_retry_after_wait_and_get_their_answer(
    tmp_path: Path, start: StartServer, pictures: Path
) -> None:
    server = start(f"{SERVED}seconds = 0.2\n")
    plan = Plan(sleep_preset(tmp_path), pictures, (8,), seconds=6, settle_s=1, think_s=(0.5, 1.0), honour=True)
    (step,), _ = drive(server.url, plan, tmp_path)
    assert step.refused.count > 0
    assert step.refused_per_s < 8  # each waits for a second at least
    assert step.answered_after.p99_ms >= 1000 > step.accepted.p50_ms


def test_workers_keep_a_rate_together_and_their_master_adds_up(
    tmp_path: Path, start: StartServer, pictures: Path
) -> None:
    server, port, result = start(f"{SERVED}seconds = 0.0\n"), free_port(), tmp_path / "result.json"
    plan = Plan(sleep_preset(tmp_path), pictures, (20,), "rate", seconds=5, settle_s=2, patience_s=1.0)
    shared = [f"--host={server.url}", *plan.arguments()]
    master = locust("--headless", "--only-summary", "--master", f"--master-bind-port={port}", "--expect-workers=2")
    worker = locust("--worker", f"--master-port={port}")
    commands = [[*master, f"--result={result}", *shared], [*worker, *shared], [*worker, *shared]]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    try:
        assert [process.wait(PATIENCE_S) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            process.kill()
    (step,) = json.loads(result.read_text())["steps"]
    assert step["requests_per_s"] == pytest.approx(20, rel=0.25)
    assert step["failed_per_s"] == 0


def test_the_web_page_is_there_without_headless(tmp_path: Path, pictures: Path) -> None:
    port = free_port()
    plan = Plan(sleep_preset(tmp_path), pictures)
    options = ["--host=http://127.0.0.1:9", "--web-host=127.0.0.1", f"--web-port={port}", *plan.arguments()]
    process = subprocess.Popen(locust(*options), cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                page = requests.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        assert "locust" in page.text.lower()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_mistake_in_the_preset_is_told_in_locusts_words(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(LocustFailedError, match=r"nowhere\.toml"):
        drive("http://127.0.0.1:9", Plan(str(tmp_path / "nowhere.toml"), pictures), tmp_path)


def test_the_compose_file_uses_options_that_there_are() -> None:
    parser = ArgumentParser()
    add_options(parser)
    known = (
        parser.format_help() + "--locustfile --host --master --worker --master-host --config.file --storage.tsdb.path"
    )
    used = re.findall(
        r"(--[a-z][a-z.-]+)[=\s]", (ROOT / "conf/docker/compose.stress.yaml").read_text().split("\nname:")[1]
    )
    assert len(used) > 10
    assert set(used) <= set(re.findall(r"--[a-z][a-z.-]+", known)) | {"--no-cache-dir"}


def test_a_second_run_from_the_web_page_begins_anew(pictures: Path) -> None:
    parser = ArgumentParser()
    add_options(parser)
    load = Load(parser.parse_args(Plan("plain", pictures).arguments()))
    first = load.recorder
    load.merge({"stress": {"levels": {}, "stopped": "it had to"}})
    assert load.stopped
    load.start()
    assert not load.stopped
    assert load.recorder is not first
    assert load.pace_s() is None
