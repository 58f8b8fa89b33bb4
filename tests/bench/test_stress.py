"""A whole stress test from the start of a service to its report, and the resources that are measured meanwhile."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bench.stress import __main__ as program
from bench.stress import services, watch
from bench.stress.measurements import Targets, read
from bench.stress.pictures import make_folder, read_folder
from bench.stress.scrape import scrape
from bench.stress.services import OURS, UNBOUNDED, ServiceFailedError
from bench.stress.templates import load_preset
from bench.stress.watch import Sample, Watch, machine_cpu_s, usage
from bench.support.served import Server
from tests.bench.stressed import GROWING, SERVED, measured, run, sleep_preset
from tests.support.process import PATIENCE_S, start_server

NOTHING = Targets(most_mean_ms=None, most_p99_ms=None, most_failed=None)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("server"), f"{SERVED}seconds = 0.02\n", {})
    yield server
    server.kill()


def test_stresses_a_service_and_writes_a_report(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PERIOD_S", 0.5)
    pictures = make_folder(tmp_path / "pictures", (64,))
    arguments = [f"--url={server.url}", f"--pid={server.pid}", f"--preset={sleep_preset(tmp_path)}"]
    arguments += ["--users=1,8", "--seconds=2", "--settle=0.5", f"--pictures={pictures}", f"--reports={tmp_path / 'r'}"]
    arguments += ["--check", "--most-mean-ms=60000", "--most-p99-ms=60000", f"--plot={tmp_path / 'plot.png'}"]
    assert program.main(arguments) == 0
    page = Path(capsys.readouterr().out.splitlines()[2])
    assert page.name == "report.html"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    found = read(page.parent)
    gives_up, honours = found.runs
    assert (gives_up.honours_retry_after, honours.honours_retry_after) == (False, True)
    alone, together = gives_up.steps
    assert alone.goodput_per_s > 1
    assert alone.refused_per_s == 0
    assert together.refused_per_s > 0
    assert honours.steps[1].answered_after.count > 0
    assert together.failed_per_s == 0
    assert alone.by_picture.keys() == {"portrait-64.jpg"}
    assert together.usage is not None
    assert together.usage.cpu_server > 0
    assert together.usage.cpu_load > 0
    assert together.usage.most_connections >= 8
    assert together.usage.memory_bytes > 20e6
    assert gives_up.start is not None
    assert gives_up.start.first_ms > 0
    if gives_up.prometheus:
        answered = sum(step.accepted.count for step in gives_up.steps)
        assert gives_up.prometheus.answers["200"] >= answered
        assert gives_up.prometheus.most_in_flight <= 2


@pytest.mark.parametrize(("goodput", "status"), [(1.0, 0), (1e6, program.FAILED)])
def test_a_missed_target_fails_the_check(
    goodput: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = NOTHING.model_copy(update={"least_goodput_per_s": goodput})
    monkeypatch.setattr(program, "run_all", lambda *_: measured().model_copy(update={"targets": asked}))
    monkeypatch.setattr(program, "write", lambda *_: "report.html")
    assert program.main([f"--reports={tmp_path}", "--check"]) == status
    assert program.main([f"--reports={tmp_path / 'again'}"]) == 0


def test_a_regression_since_the_last_run_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = run(*(one.model_copy(update={"goodput_per_s": 1.0}) for one in GROWING))
    monkeypatch.setattr(program, "write", lambda *_: "report.html")
    for found, status in (
        (measured(made="2026-01-01"), 0),
        (measured(made="2026-01-02"), 0),
        (measured(slower, made="2026-01-03"), program.FAILED),
    ):
        monkeypatch.setattr(program, "run_all", lambda *_, now=found: now.model_copy(update={"targets": NOTHING}))
        assert program.main([f"--reports={tmp_path}", "--check"]) == status


@pytest.mark.pixels
@pytest.mark.parametrize(("serve", "name"), [(services.serve_ours, OURS), (services.serve_unbounded, UNBOUNDED)])
def test_starts_and_stops_this_server_and_the_unbounded_one(serve: services.Serve, name: str, tmp_path: Path) -> None:
    (picture,) = read_folder(make_folder(tmp_path, (256,)))
    request = load_preset("plain").requests[0].fill(picture.data)
    with serve(request) as service:
        assert service.name == name
        assert service.start is not None
        assert service.start.launch_s > 0
        assert services.send(service.url, request)[0] == 200
    with pytest.raises(requests.ConnectionError):
        services.send(service.url, request)


def test_an_unexpected_answer_is_reported_before_any_load(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "PATIENCE_S", 1.0)
    request = load_preset("spec002").requests[0].fill(b"")
    with (
        pytest.raises(ServiceFailedError, match=r"/predict did not accept POST 'predict': 404"),
        services.found(request, server.url),
    ):
        pass


def samples(server: Server, number: int) -> list[Sample]:
    watching = Watch(server.pid, server.url)
    end = time.monotonic() + PATIENCE_S
    while len(watching.samples) < number and time.monotonic() < end:
        requests.get(f"{server.url}/livez", timeout=5)
    watching.close()
    return watching.samples


def test_measures_cpu_connections_files_and_loop_lag_from_outside(server: Server) -> None:
    seen = samples(server, 3)
    used = usage(seen, seen[0].at, seen[-1].at - seen[0].at)
    assert used is not None
    assert 0.02 < used.cpu_server < 1.2
    assert 0 <= used.cpu_others < machine_cpu_s()
    assert used.most_open_files > 5
    assert used.memory_bytes > 20e6
    assert seen[-1].lag_count > seen[0].lag_count
    assert 0 <= used.loop_lag_ms < 1000
    assert used.received_bytes_per_s > 1000
    assert usage(seen, seen[-1].at + 100, 10) is None


def test_the_watch_ends_with_its_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    watching = Watch(process.pid, "http://127.0.0.1:9")
    process.kill()
    process.wait()
    watching.close()
    assert len(watching.samples) <= 2


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_counts_the_answers(server: Server, tmp_path: Path) -> None:
    with scrape(server.url, tmp_path) as prometheus:
        assert prometheus is not None
        for _ in range(7):
            assert requests.post(f"{server.url}/sleep", data=b"\xff\xd8\xff", timeout=5).status_code == 415
        counted = prometheus.count()
    assert counted is not None
    assert counted.answers["415"] == 7
    assert counted.version


def test_runs_without_prometheus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with scrape("http://127.0.0.1:9", tmp_path) as prometheus:
        assert prometheus is None
