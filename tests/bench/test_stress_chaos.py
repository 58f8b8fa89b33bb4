"""What breaks under a load, comes back, and what it costs: with a pipeline that sleeps, so that it is quick; and the
same for what grows.
"""

import shutil
from collections import Counter

import pytest
from aiohttp import ClientConnectionError, ClientSession

from bench.stress import chaos, link, soak
from bench.stress.failures import FAILURES, SLEEPING, Outcome
from bench.stress.probes import Probe, settled
from tests.conftest import StartServer
from tests.support.process import TRICK


def broken(name: str) -> Outcome:
    if missing := FAILURES[name].missing():
        pytest.skip(missing)
    return chaos.cause(name, SLEEPING)


def test_a_killed_worker_costs_one_request_at_most_and_is_replaced() -> None:
    outcome = broken("worker")
    assert outcome.lost <= 1
    assert outcome.whole_s is not None
    assert outcome.whole_s < 30
    assert outcome.outcomes["200"] >= SLEEPING.rate * SLEEPING.seconds


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_lost_instance_costs_what_it_was_at_and_comes_back() -> None:
    outcome = broken("instance")
    assert outcome.lost <= 8  # its limit
    assert outcome.settled_s < 30
    assert outcome.whole_s is not None
    assert outcome.whole_s < 30


def test_a_slow_wire_delays_and_is_forgotten() -> None:
    outcome = broken("slow")
    assert outcome.outcomes["200"] >= SLEEPING.rate * SLEEPING.seconds
    assert outcome.settled_s < 30


def test_cut_connections_cost_their_own_requests_only() -> None:
    outcome = broken("unreliable")
    assert 0 < outcome.lost <= int(outcome.note.split()[0])
    assert outcome.outcomes.keys() <= {"200", "reset"}


def test_a_full_disk_refuses_and_loses_nothing() -> None:
    outcome = broken("disk")
    assert (outcome.lost, outcome.refused > 0) == (0, True)
    assert outcome.settled_s < 10


def test_what_happened_is_told_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--only",
        "unreliable",
        f"--config={SLEEPING.config}",
        f"--path={SLEEPING.path}",
        "--seconds=0.5",
    ]
    assert chaos.main(arguments) == 0
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.startswith("| failure | requests | lost | refused | last error after s |")
    assert row.startswith("| an unreliable network link |")


def test_what_does_not_recover_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def cause(*_: object) -> Outcome:
        raise TimeoutError("never again")

    monkeypatch.setattr(chaos, "cause", cause)
    assert chaos.main(["--only", "worker"]) == chaos.FAILED
    assert "worker: no recovery within 60 s: never again" in capsys.readouterr().out


def test_it_has_settled_when_the_last_that_failed_has_ended() -> None:
    probes = [Probe(1.0, 0.5, "200"), Probe(2.0, 1.5, "reset"), Probe(3.0, 0.1, "503"), Probe(4.0, 1.0, "200")]
    assert settled(probes, 2.5) == 1.0
    assert settled(probes, 4.0) == 0.0


async def test_the_proxy_cuts_when_it_is_told_to_and_is_clear_again(start: StartServer, client: ClientSession) -> None:
    server, faults = start(TRICK), link.LinkFaults(resets=1.0)
    async with link.unreliable(server.url, faults) as url:
        with pytest.raises(ClientConnectionError):
            await client.post(f"{url}/trick", data=b"\xff\xd8\xff")
        assert faults.cut == 1
        faults.clear()
        async with client.get(f"{url}/livez") as response:
            assert response.status == 200


def soaked(memory: float = 0.0, files: float = 0.0, outcome: str = "200") -> soak.Soaked:
    """An hour, by the minute, in which memory and files grow by so much."""
    rows: list[tuple[float, tuple[float, ...]]] = [
        (60.0 * n, (100 + memory * n / 60, 20 + files * n / 60, 9.0, 20.0 + n % 2, 40.0)) for n in range(61)
    ]
    return soak.Soaked(Counter({outcome: 1000}), rows)


@pytest.mark.parametrize(
    ("found", "grows"),
    [(soaked(), set()), (soaked(memory=500), {"memory"}), (soaked(files=60), {"descriptors"})],
)
def test_what_grows_is_named(found: soak.Soaked, grows: set[str]) -> None:
    assert {slope.figure.name for slope in found.slopes() if not slope.kept} == grows
    assert ("**grows**" in "\n".join(soak.report(found))) == bool(grows)


def test_a_soak_that_was_too_short_says_nothing() -> None:
    short = soaked()
    short.slices = short.slices[:5]
    with pytest.raises(ValueError, match="soak longer"):
        short.slopes()


@pytest.mark.pixels
async def test_a_server_is_soaked_and_nothing_stays_behind(start: StartServer) -> None:
    found = await soak.soak(start("[inference]\nworkers = 1\nlimit = 4\n"), seconds=5.0, load=0.5, slice_s=0.5)
    assert (found.left, found.undocumented()) == (0, {})
    assert len(found.slices) == 10
    assert len(found.slopes()) == len(soak.FIGURES)
    assert found.counts["200"] > 0
