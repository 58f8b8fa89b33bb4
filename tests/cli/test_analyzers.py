"""`analyze` with a server, by requests and by jobs."""

import json
import os
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import cv2
import pytest
import requests

from faceattr_aio import cli
from faceattr_aio.cli.analyzers import _analyze_remotely
from faceattr_aio.errors import UnreadableImage
from faceattr_aio.schemas import Job, Progress
from tests.conftest import StartServer
from tests.support.cli import analyze

KEY = "0123456789abcdef"
CONFIG = f"[inference]\nworkers = 1\n[auth]\nkeys = ['{KEY}']\n[pipelines.faces]\n"


pytestmark = pytest.mark.usefixtures("decoder_environment")


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without model files, the pictures can only be analyzed by the server."""
    monkeypatch.setenv("FACEATTR_MODELS__DIR", str(tmp_path / "no-models"))


def test_a_server_analyzes_and_annotates(
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
    status, out, _ = analyze(capsys, "--server", server.url, "--json", *files)
    good, bad, missing, pipe = (json.loads(line) for line in out.splitlines())
    assert status == 1
    assert list(good) == ["file", "image", "faces", "models"]
    assert len(good["faces"]) == 1
    assert bad["error"]["type"] == "urn:faceattr:unsupported-media"
    assert missing["error"]["detail"] == "The file cannot be read: No such file or directory."
    assert pipe["error"]["type"] == "urn:faceattr:no-image"
    status, out, _ = analyze(capsys, "--server", server.url, png_file, "--annotate", tmp_path / "out.png")
    assert (status, out.splitlines()[0]) == (0, f"{png_file}: 1 face")
    annotated = cv2.imread(str(tmp_path / "out.png"))
    assert annotated is not None
    assert annotated.shape == (512, 512, 3)


def test_jobs_of_a_server_give_the_same_results(
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
    results = [analyze(capsys, "--server", server.url, "--json", *more, *files)[:2] for more in ((), ("--jobs", "2"))]
    assert results[0] == results[1]
    assert [list(json.loads(line))[1] for line in results[0][1].splitlines()] == ["image", "error", "error"]
    metrics = requests.get(f"{server.url}/metrics", timeout=30).text
    assert 'faceattr_jobs_ended_total{outcome="done"} 1.0' in metrics


async def test_the_failure_of_a_job_is_the_outcome_of_the_file(png_file: Path) -> None:
    failure = {"type": "urn:faceattr:unreadable-image", "detail": "It ends too early.", "status": 422}
    progress = Progress(done=1, of=1)
    job = Job(id="a", status="failed", pipeline="faces", progress=progress, processing_s=0.1, error=failure)
    client = Mock(submit=AsyncMock(return_value=job), result=AsyncMock(return_value=job))
    outcome = await _analyze_remotely(client, png_file, None, use_job=True)
    assert isinstance(outcome, UnreadableImage)
    assert outcome.detail == "It ends too early."


def test_refuses_jobs_without_a_server(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["analyze", "--jobs", "2", str(png_file)]) == 2
    assert "set --server" in capsys.readouterr().err


def test_reports_a_missing_api_key(start: StartServer, png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = analyze(capsys, "--server", start(CONFIG).url, png_file)
    assert (status, "Send a valid API key" in out) == (1, True)


def test_reports_a_server_that_cannot_be_reached(
    png_file: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = analyze(capsys, "--server", f"http://127.0.0.1:{unused_tcp_port}", png_file)
    assert (status, "There is no response from" in out) == (1, True)
