"""Failures under load and the recovery from them, with a pipeline that sleeps; and the detection of growth."""

import shutil
from collections import Counter

import pytest
from aiohttp import ClientConnectionError, ClientSession

from bench.stress import chaos, link, soak
from bench.stress.failures import FAILURES, SLEEPING, Outcome, Setting
from bench.stress.probes import Probe, settled
from tests.conftest import StartServer
from tests.support.process import TRICK


def broken(name: str) -> Outcome:
    if missing := FAILURES[name].missing():
        pytest.skip(missing)
    return chaos.cause(name, SLEEPING)


@pytest.fixture(scope="module")
def unreliable() -> Outcome:
    return broken("unreliable")


def test_a_killed_worker_costs_one_request_at_most_and_is_replaced() -> None:
    outcome = broken("worker")
    assert outcome.lost <= 1
    assert outcome.whole_s is not None
    assert outcome.whole_s < 30
    assert outcome.outcomes["200"] >= SLEEPING.rate * SLEEPING.seconds


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_lost_instance_costs_its_requests_in_progress_and_recovers() -> None:
    outcome = broken("instance")
    assert outcome.lost <= 8  # its limit
    assert outcome.settled_s < 30
    assert outcome.whole_s is not None
    assert outcome.whole_s < 30


def test_a_slow_link_delays_requests_until_it_recovers() -> None:
    outcome = broken("slow")
    assert outcome.outcomes["200"] >= SLEEPING.rate * SLEEPING.seconds
    assert outcome.settled_s < 30


def test_reset_connections_cost_their_own_requests_only(unreliable: Outcome) -> None:
    assert 0 < unreliable.lost <= int(unreliable.note.split()[0])
    assert unreliable.outcomes.keys() <= {"200", "reset"}


def test_a_full_disk_refuses_and_loses_nothing() -> None:
    outcome = broken("disk")
    assert (outcome.lost, outcome.refused > 0) == (0, True)
    assert outcome.settled_s < 10


def test_prints_a_table_of_outcomes(
    unreliable: Outcome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Setting]] = []

    def cause(name: str, setting: Setting) -> Outcome:
        asked.append((name, setting))
        return unreliable

    monkeypatch.setattr(chaos, "cause", cause)
    options = [f"--config={SLEEPING.config}", f"--path={SLEEPING.path}", "--seconds=1", "--rate=40"]
    assert chaos.main(["--only", "unreliable", *options]) == 0
    assert asked == [("unreliable", SLEEPING)]
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.startswith("| failure | requests | lost | refused | last error after s |")
    assert row.startswith("| an unreliable network link |")


def test_a_failure_without_recovery_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def cause(*_: object) -> Outcome:
        raise TimeoutError("no worker")

    monkeypatch.setattr(chaos, "cause", cause)
    assert chaos.main(["--only", "worker"]) == chaos.FAILED
    assert "worker: no recovery within 60 s: no worker" in capsys.readouterr().out


def test_has_settled_when_the_last_request_without_success_has_ended() -> None:
    probes = [Probe(1.0, 0.5, "200"), Probe(2.0, 1.5, "reset"), Probe(3.0, 0.1, "503"), Probe(4.0, 1.0, "200")]
    assert settled(probes, 2.5) == 1.0
    assert settled(probes, 4.0) == 0.0


async def test_the_proxy_resets_connections_until_it_is_cleared(start: StartServer, client: ClientSession) -> None:
    server, faults = start(TRICK), link.LinkFaults(resets=1.0)
    async with link.unreliable(server.url, faults) as url:
        with pytest.raises(ClientConnectionError):
            await client.post(f"{url}/trick", data=b"\xff\xd8\xff")
        assert faults.cut == 1
        faults.clear()
        async with client.get(f"{url}/livez") as response:
            assert response.status == 200


def soaked(memory: float = 0.0, files: float = 0.0, outcome: str = "200") -> soak.Soaked:
    """An hour, with a slice each minute, in which memory and descriptors grow by so much."""
    rows: list[tuple[float, tuple[float, ...]]] = [
        (60.0 * n, (100 + memory * n / 60, 20 + files * n / 60, 9.0, 20.0 + n % 2, 40.0)) for n in range(61)
    ]
    return soak.Soaked(Counter({outcome: 1000}), rows)


@pytest.mark.parametrize(
    ("found", "grows"),
    [(soaked(), set()), (soaked(memory=500), {"memory"}), (soaked(files=60), {"descriptors"})],
)
def test_names_the_growing_figures(found: soak.Soaked, grows: set[str]) -> None:
    assert {slope.figure.name for slope in found.slopes() if not slope.kept} == grows
    assert ("**grows**" in "\n".join(soak.report(found))) == bool(grows)


def test_a_soak_that_was_too_short_has_no_result() -> None:
    short = soaked()
    short.slices = short.slices[:5]
    with pytest.raises(ValueError, match="soak longer"):
        short.slopes()


@pytest.mark.pixels
async def test_a_short_soak_leaves_nothing_behind(start: StartServer) -> None:
    found = await soak.soak(start("[inference]\nworkers = 1\nlimit = 4\n"), seconds=3.0, load=0.5, slice_s=0.3)
    assert (found.left, found.undocumented()) == (0, {})
    assert len(found.slices) == 10
    assert len(found.slopes()) == len(soak.FIGURES)
    assert found.counts["200"] > 0
