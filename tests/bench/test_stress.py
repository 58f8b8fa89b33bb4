"""A stress test as a whole: from the start of a service to its report; and what is seen from outside meanwhile."""

import shutil
import time
from pathlib import Path

import pytest
import requests

from bench.stress import __main__ as program
from bench.stress import services
from bench.stress.measurements import Targets, read
from bench.stress.pictures import make_folder, read_folder
from bench.stress.scrape import scrape
from bench.stress.services import OURS, UNBOUNDED, ServiceFailedError
from bench.stress.templates import load_preset
from bench.stress.watch import Sample, Watch, machine_cpu_s, usage
from bench.support.served import Server
from tests.bench.stressed import GROWING, SERVED, measured, run, sleep_preset
from tests.conftest import StartServer
from tests.support.process import PATIENCE_S

NOTHING = Targets(most_mean_ms=None, most_p99_ms=None, most_failed=None)
SLEEPING = f"{SERVED}seconds = 0.02\n"


def test_a_service_is_stressed_and_the_report_is_there(
    tmp_path: Path, start: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server, pictures = start(SLEEPING), make_folder(tmp_path / "pictures", (64,))
    arguments = [f"--url={server.url}", f"--pid={server.pid}", f"--preset={sleep_preset(tmp_path)}"]
    arguments += ["--users=1,8", "--seconds=3", "--settle=1", f"--pictures={pictures}", f"--reports={tmp_path / 'r'}"]
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
    assert program.main([f"--reports={tmp_path}", "--check"]) == status
    assert program.main([f"--reports={tmp_path / 'again'}"]) == 0


def test_what_is_worse_than_last_time_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = run(*(one.model_copy(update={"goodput_per_s": 1.0}) for one in GROWING))
    for found, status in (
        (measured(made="2026-01-01"), 0),
        (measured(made="2026-01-02"), 0),
        (measured(slower, made="2026-01-03"), program.FAILED),
    ):
        monkeypatch.setattr(program, "run_all", lambda *_, now=found: now.model_copy(update={"targets": NOTHING}))
        assert program.main([f"--reports={tmp_path}", "--check"]) == status


@pytest.mark.pixels
@pytest.mark.parametrize(("serve", "name"), [(services.serve_ours, OURS), (services.serve_unbounded, UNBOUNDED)])
def test_ours_and_an_unbounded_one_are_started_and_ended(serve: services.Serve, name: str, tmp_path: Path) -> None:
    (picture,) = read_folder(make_folder(tmp_path, (256,)))
    request = load_preset("plain").requests[0].fill(picture.data)
    with serve(request) as service:
        assert service.name == name
        assert service.start is not None
        assert service.start.launch_s > 0
        assert services.send(service.url, request)[0] == 200
    with pytest.raises(requests.ConnectionError):
        services.send(service.url, request)


def test_a_service_that_answers_wrongly_is_told_before_any_load(
    start: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "PATIENCE_S", 1.0)
    server, request = start(SLEEPING), load_preset("spec002").requests[0].fill(b"")
    with (
        pytest.raises(ServiceFailedError, match=r"/predict did not accept POST 'predict': 404"),
        services.found(request, server.url),
    ):
        pass


def samples(server: Server, number: int) -> list[Sample]:
    watch = Watch(server.pid, server.url)
    end = time.monotonic() + PATIENCE_S
    while len(watch.samples) < number and time.monotonic() < end:
        requests.get(f"{server.url}/livez", timeout=5)
    watch.close()
    return watch.samples


def test_cpu_connections_files_and_loop_lag_are_seen_from_outside(start: StartServer) -> None:
    server = start(SLEEPING)
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


def test_a_service_that_ends_ends_the_watch(start: StartServer) -> None:
    server = start(SLEEPING)
    watch = Watch(server.pid, server.url)
    server.kill()
    watch.close()
    assert len(watch.samples) <= 2


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_a_real_prometheus_counts_what_was_answered(start: StartServer, tmp_path: Path) -> None:
    server = start(SLEEPING)
    with scrape(server.url, tmp_path) as prometheus:
        assert prometheus is not None
        for _ in range(7):
            assert requests.post(f"{server.url}/sleep", data=b"\xff\xd8\xff", timeout=5).status_code == 415
        counted = prometheus.count()
    assert counted is not None
    assert counted.answers["415"] == 7
    assert counted.version


def test_without_a_prometheus_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with scrape("http://127.0.0.1:9", tmp_path) as prometheus:
        assert prometheus is None
