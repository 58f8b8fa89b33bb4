import json
import os
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import cv2
import pytest
import requests

from faceattr_aio import cli
from faceattr_aio.cli.remote import _ask, _order
from faceattr_aio.errors import UnreadableImage
from faceattr_aio.schemas import Job, Progress
from tests.conftest import StartServer

KEY = "0123456789abcdef"
CONFIG = f"[inference]\nworkers = 1\n[auth]\nkeys = ['{KEY}']\n[pipelines.faces]\n"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the command sets for its workers ends with the test, and there are no model files to do the work with."""
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "1")
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "ERROR")
    monkeypatch.setenv("FACEATTR_MODELS__DIR", str(tmp_path / "no-models"))


def analyze(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit status and what was printed."""
    status = cli.main(["analyze", *map(str, arguments)])
    return status, capsys.readouterr().out


def test_a_server_does_the_work(
    start: StartServer,
    png_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = start(CONFIG)
    (tmp_path / "text.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv("FACEATTR_AUTH__KEYS", KEY)
    files = [png_file, tmp_path / "text.jpg", tmp_path / "nothing.jpg", tmp_path / "pipe"]
    status, out = analyze(capsys, "--server", server.url, "--json", *files)
    good, bad, missing, pipe = (json.loads(line) for line in out.splitlines())
    assert status == 1
    assert list(good) == ["file", "image", "faces", "models"]
    assert len(good["faces"]) == 1
    assert bad["error"]["type"] == "urn:faceattr:unsupported-media"
    assert missing["error"]["detail"] == "The file cannot be read: No such file or directory."
    assert pipe["error"]["type"] == "urn:faceattr:no-image"
    status, out = analyze(capsys, "--server", server.url, png_file, "--annotate", tmp_path / "out.png")
    assert (status, out.splitlines()[0]) == (0, f"{png_file}: 1 face")
    drawn = cv2.imread(str(tmp_path / "out.png"))
    assert drawn is not None
    assert drawn.shape == (512, 512, 3)


def test_jobs_of_a_server_do_the_same(
    start: StartServer,
    png_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, cut = start(CONFIG), tmp_path / "cut.png"
    cut.write_bytes(png_file.read_bytes()[:50_000])
    monkeypatch.setenv("FACEATTR_AUTH__KEYS", KEY)
    files = [png_file, cut, tmp_path / "nothing.jpg"]
    told = [analyze(capsys, "--server", server.url, "--json", *more, *files) for more in ((), ("--jobs", "2"))]
    assert told[0] == told[1]
    assert [list(json.loads(line))[1] for line in told[0][1].splitlines()] == ["image", "error", "error"]
    metrics = requests.get(f"{server.url}/metrics", timeout=30).text
    assert 'faceattr_jobs_ended_total{outcome="done"} 1.0' in metrics


async def test_a_job_that_failed_is_the_failure_that_it_tells_of(png_file: Path) -> None:
    told = {"type": "urn:faceattr:unreadable-image", "detail": "It ends too early.", "status": 422}
    progress = Progress(done=1, of=1)
    job = Job(id="a", status="failed", pipeline="faces", progress=progress, processing_s=0.1, error=told)
    client = Mock(submit=AsyncMock(return_value=job), result=AsyncMock(return_value=job))
    outcome = await _ask(client, _order, png_file, None)
    assert isinstance(outcome, UnreadableImage)
    assert outcome.detail == "It ends too early."


def test_jobs_need_a_server(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["analyze", "--jobs", "2", str(png_file)]) == 2
    assert "name it with --server" in capsys.readouterr().err


def test_a_key_that_is_missing_is_said(start: StartServer, png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = analyze(capsys, "--server", start(CONFIG).url, png_file)
    assert (status, "Send an API key" in out) == (1, True)


def test_a_server_that_is_not_there_is_given_up_soon(
    png_file: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = analyze(capsys, "--server", f"http://127.0.0.1:{unused_tcp_port}", png_file)
    assert (status, "There is no answer from" in out) == (1, True)
