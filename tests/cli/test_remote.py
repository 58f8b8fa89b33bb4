import json
import os
from pathlib import Path

import cv2
import pytest

from faceattr_aio import cli
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


def test_a_key_that_is_missing_is_said(start: StartServer, png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out = analyze(capsys, "--server", start(CONFIG).url, png_file)
    assert (status, "Send an API key" in out) == (1, True)


def test_a_server_that_is_not_there_is_given_up_soon(
    png_file: Path, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = analyze(capsys, "--server", f"http://127.0.0.1:{unused_tcp_port}", png_file)
    assert (status, "There is no answer from" in out) == (1, True)
