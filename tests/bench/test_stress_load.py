"""Levels of load, their records, the early end of a run; and Locust itself, against real servers."""

import json
import re
import subprocess
import time
from argparse import ArgumentParser
from collections.abc import Iterator
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
from bench.support.served import Server, environment
from bench.support.sleeper import SLEEP
from tests.bench.stressed import SLEEP_S, sleep_preset, unbounded
from tests.support.process import PATIENCE_S, ROOT, start_server

SLEEPERS = {"/sleep": SLEEP_S, "/slow": 0.2, "/quick": 0.0, "/analyze": 0.0}
"""Seconds of sleep by path."""
GOOD, BAD, REFUSED = Answer("accepted", "200"), Answer("failed", "timed out"), Answer("refused", "503", 1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one worker, a limit of two, and a sleeping pipeline at each path."""
    settings = "[inference]\nworkers = 1\nlimit = 2\n"
    for path, seconds in SLEEPERS.items():
        name = path.removeprefix("/")
        settings += f"{SLEEP.replace('.sleep]', f'.{name}]').replace('/sleep', path)}seconds = {seconds}\n"
    server = start_server(tmp_path_factory.mktemp("server"), settings, {})
    yield server
    server.kill()


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
def test_a_shape_has_its_levels(shape: str, numbers: tuple[float, ...], users: list[int]) -> None:
    levels = SHAPES[shape](numbers, 10.0, 2.0, 2.0)
    assert [level.users for level in levels] == users
    assert (levels[0].pace_s == pytest.approx(2.0)) == (shape == "rate")


def test_a_level_counts_after_its_settling_time() -> None:
    course = Course([Level(1, 10, 2), Level(5, 10, 2)])
    assert [course.counting(at) for at in (1.9, 2.0, 9.9, 10.0, 12.0, 20.0)] == [None, 0, 0, None, 1, None]
    assert [course.index(at) for at in (0, 9.9, 10, 19.9, 20)] == [0, 0, 1, 1, None]


def test_adds_the_records_of_two_processes() -> None:
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


def test_a_level_that_was_cut_short_counts_for_its_actual_duration() -> None:
    recorder = Recorder(Course([Level(1, 10, 2), Level(5, 10, 2), Level(9, 10, 2)]))
    assert [step.seconds for step in recorder.steps(100.0, 116.0)] == [8.0, 4.0]


def test_a_run_ends_early_with_a_reason_when_most_requests_fail() -> None:
    collapse = Collapse(10.0)
    for tick in range(300):
        collapse.add(tick / 10, GOOD if tick < 150 else BAD)
        if reason := collapse.reason(tick / 10):
            break
    assert 19 < tick / 10 < 22
    assert reason is not None
    assert reason.endswith("of them: timed out")


@pytest.mark.parametrize("answer", [GOOD, REFUSED, Answer("rejected", "400")])
def test_a_service_that_refuses_in_time_has_not_collapsed(answer: Answer) -> None:
    collapse = Collapse(10.0)
    for tick in range(300):
        collapse.add(tick / 10, answer)
    assert collapse.reason(30.0) is None


def test_a_few_requests_are_not_enough_to_decide() -> None:
    collapse = Collapse(10.0)
    for tick in range(19):
        collapse.add(float(tick), BAD)
    assert collapse.reason(19.0) is None


def test_an_unbounded_queue_collapses_and_this_server_does_not(tmp_path: Path, server: Server, pictures: Path) -> None:
    plan = Plan(
        sleep_preset(tmp_path), pictures, (2, 40), seconds=3, settle_s=1, think_s=(0.1, 0.2), patience_s=0.4,
        keep_going=True,
    )  # fmt: skip
    flat, _ = drive(server.url, plan, tmp_path)
    with unbounded() as url:
        collapsed, _ = drive(url, plan, tmp_path)
    assert flat[1].goodput_per_s > 0.5 * flat[0].goodput_per_s > 0
    assert flat[1].refused_per_s > 10 * flat[1].failed_per_s
    assert collapsed[0].goodput_per_s > 2
    assert collapsed[1].goodput_per_s < 0.2 * collapsed[0].goodput_per_s
    assert collapsed[1].outcomes["timed out"] > 50


def test_a_run_ends_by_itself_when_every_request_fails(tmp_path: Path, pictures: Path) -> None:
    plan = Plan(sleep_preset(tmp_path), pictures, (60,), seconds=60, settle_s=1, patience_s=0.2, window_s=2.0)
    began = time.monotonic()
    with unbounded() as url:
        steps, stopped = drive(url, plan, tmp_path)
    assert time.monotonic() - began < 40
    assert stopped is not None
    assert "failed within 2 s" in stopped
    assert steps[0].seconds < 30


def test_broken_requests_get_their_expected_errors(tmp_path: Path, server: Server, pictures: Path) -> None:
    (step,), stopped = drive(server.url, Plan("hostile", pictures, (4,), seconds=3, settle_s=0.5), tmp_path)
    assert stopped is None
    assert step.failed_per_s == step.goodput_per_s == 0
    assert step.outcomes.keys() <= {"400", "413", "415", "503", "closed by the test"}
    assert step.rejected.count > 10


def test_clients_that_honour_retry_after_wait_and_get_their_answer(
    tmp_path: Path, server: Server, pictures: Path
) -> None:
    plan = Plan(
        sleep_preset(tmp_path, "/slow"), pictures, (8,), seconds=4.5, settle_s=1, think_s=(0.5, 1.0), honour=True
    )
    (step,), _ = drive(server.url, plan, tmp_path)
    assert step.refused.count > 0
    assert step.refused_per_s < 8  # each waits for a second at least
    assert step.answered_after.p99_ms >= 1000 > step.accepted.p50_ms


def test_locust_workers_keep_a_rate_together_and_their_master_adds_their_results(
    tmp_path: Path, server: Server, pictures: Path
) -> None:
    port, result = free_port(), tmp_path / "result.json"
    plan = Plan(sleep_preset(tmp_path, "/quick"), pictures, (20,), "rate", seconds=5, settle_s=2, patience_s=1.0)
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


def test_serves_the_web_page_without_headless(tmp_path: Path, pictures: Path) -> None:
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


def test_an_unreadable_preset_fails_with_the_message_of_locust(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(LocustFailedError, match=r"nowhere\.toml"):
        drive("http://127.0.0.1:9", Plan(str(tmp_path / "nowhere.toml"), pictures), tmp_path)


def test_the_compose_file_uses_existing_options() -> None:
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


def test_a_second_run_from_the_web_page_starts_without_earlier_results(pictures: Path) -> None:
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
