"""Errors that prevent the start of a real server: one sentence and exit status 2."""

import socket
from pathlib import Path

import pytest

from tests.support.cli import run


def test_reports_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(tmp_path, "serve", "--port", str(port))
    assert ended.returncode == 2
    assert (
        ended.stderr
        == f"faceattr-aio: Port {port} on 127.0.0.1 is in use: stop the other program or choose another port.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--host", "no.such.host.invalid"], {}, "host no.such.host.invalid cannot be resolved"),
        (["--host", "a..b"], {}, "host a..b cannot be resolved"),
        ([], {"FACEATTR_SERVER": "x"}, "The environment variables cannot be parsed"),
        (["--workers", "0"], {}, "inference.workers = '0', from flag"),
        (["--config", "nowhere.toml"], {}, "nowhere.toml does not exist"),
        ([], {"FACEATTR_MODELS__DIR": "/nowhere"}, "is missing: run 'faceattr-aio models pull'"),
        ([], {"FACEATTR_UPLOAD__DIR": "/nowhere"}, "Uploads cannot be stored in /nowhere"),
    ],
)
def test_reports_an_invalid_setting_in_one_sentence(
    arguments: list[str], variables: dict[str, str], message: str, tmp_path: Path
) -> None:
    ended = run(tmp_path, "serve", "--port", "0", *arguments, **variables)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_reports_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "face_detection_full_range.tflite").write_bytes(b"damaged")
    ended = run(tmp_path, "serve", "--port", "0", FACEATTR_MODELS__DIR=str(tmp_path))
    assert ended.returncode == 2
    assert "is damaged" in ended.stderr
    assert "run 'faceattr-aio models pull'" in ended.stderr
