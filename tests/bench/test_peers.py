"""The comparison with other servers: those without further dependencies, and those that fail."""

import os
import select
import sys
import time
from collections.abc import Iterator

import pytest

from bench.load.overload import INCONCLUSIVE
from bench.peers import __main__ as program
from bench.peers import measuring
from bench.peers.catalogue import PEERS, RAW, Peer
from bench.peers.measuring import Measured, Point
from bench.peers.table import COLUMNS
from bench.support.openloop import Record
from bench.support.served import children

pytestmark = pytest.mark.pixels


def cells(row: str) -> dict[str, str]:
    return dict(zip(COLUMNS, row.strip("| ").split(" | "), strict=True))


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """No child process remains, and every core is available again."""
    before, cores = set(children(os.getpid())), os.sched_getaffinity(0)
    yield
    assert set(children(os.getpid())) == before
    assert os.sched_getaffinity(0) == cores


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The printed lines."""
    assert program.main([*arguments, "--rounds", "1", "--seconds", "0.5"]) == 0
    return capsys.readouterr().out.splitlines()


def failing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str) -> str:
    """The last printed line if the only server is this Python program."""
    peer = Peer("broken", (), RAW, lambda port, _: [sys.executable, "-c", code, str(port)])
    monkeypatch.setattr(program, "PEERS", (peer,))
    return compared(capsys)[-1]


def test_measures_faceattr_aio_and_plain_aiohttp_at_three_loads(capsys: pytest.CaptureFixture[str]) -> None:
    head, _, *rows = compared(capsys, "--only", "faceattr-aio", "--only", "aiohttp")
    assert list(cells(head).values()) == list(COLUMNS)
    ours, plain = map(cells, rows[:2])
    assert (ours["server"], plain["server"]) == ("faceattr-aio", "aiohttp")
    for row in (ours, plain):
        assert float(row["first 200"].removesuffix(" s")) > 0
        assert float(row["goodput"].removesuffix("/s")) > 0
        assert int(row["memory"].removesuffix(" MB")) > 20
        assert (row["resets"], row["other errors"]) == ("0", "0")
    assert (ours["refused p50 / p99 ms"] != "-", plain["refused p50 / p99 ms"]) == (True, "-")
    assert [line.split(" ")[0] for line in rows[2:]] == ["", "faceattr-aio:", "aiohttp:"]


def test_a_server_that_does_not_start_is_reported_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = failing(monkeypatch, capsys, "raise SystemExit('there is no model')")
    assert line == "broken: not measured in full: did not start: there is no model"


def test_a_server_that_never_answers_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "START_PATIENCE_S", 1.0)
    began = time.monotonic()
    line = failing(monkeypatch, capsys, "import time; time.sleep(600)")
    assert line.startswith("broken: not measured in full: no answer within 1 s; last outcome: ClientConnectorError")
    assert time.monotonic() - began < 30


def test_a_server_has_the_first_core_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    first = min(os.sched_getaffinity(0))
    line = failing(monkeypatch, capsys, "import os; print('cores', *os.sched_getaffinity(0))")
    assert line.endswith(f"did not start: cores {first}")


CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session={elsewhere})
print(child.pid, flush=True)
if {stays}: child.wait()
"""


def has_ended(pid: int) -> bool:
    """Wait up to ten seconds for the end of a process."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10)[0])
    finally:
        os.close(handle)


@pytest.mark.parametrize(("elsewhere", "stays"), [(True, True), (False, False)], ids=["own session", "orphan"])
def test_child_processes_of_a_server_end_with_it(
    elsewhere: bool, stays: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measuring, "START_PATIENCE_S", 2.0)
    line = failing(monkeypatch, capsys, CHILD.format(elsewhere=elsewhere, stays=stays))
    assert has_ended(int(line.split()[-1]))


CHEAT = """
import sys
from aiohttp import web
async def answer(request):
    return web.json_response({"faces": []})
app = web.Application()
app.router.add_post("/analyze", answer)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""


def test_a_server_with_another_answer_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "its answer differs from that of faceattr_aio" in failing(monkeypatch, capsys, CHEAT)


def test_a_server_that_is_not_installed_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = Peer("absent", ("no-such-distribution",), RAW, PEERS[0].command)
    monkeypatch.setattr(program, "PEERS", (peer,))
    row, _, line = compared(capsys)[2:]
    assert row.startswith("| absent | not measured |")
    assert line == "absent: not measured in full: no-such-distribution not installed"


def made_up(goodput: float) -> Measured:
    point = Point(0.0, goodput, Record())
    return Measured(1.0, point, point, point, 1)


@pytest.mark.parametrize(("second", "status"), [(95.0, 0), (50.0, INCONCLUSIVE)])
def test_a_large_spread_over_the_rounds_is_inconclusive(
    second: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rounds = iter([made_up(100.0), made_up(second)])

    async def measure(*_: object) -> Measured:
        return next(rounds)

    monkeypatch.setattr(program, "measure", measure)
    assert program.main(["--only", "faceattr-aio", "--rounds", "2"]) == status
    assert ("inconclusive" in capsys.readouterr().out) == bool(status)
