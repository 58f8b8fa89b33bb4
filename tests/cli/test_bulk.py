import json
from pathlib import Path
from unittest.mock import Mock

import pytest

from faceattr_aio import cli
from faceattr_aio.cli import bulk
from tests.cli.test_analyze import analyze
from tests.conftest import StartServer

pytestmark = pytest.mark.pixels


@pytest.fixture
def folder(tmp_path: Path, png: bytes) -> Path:
    """Two pictures and a bad one, in two folders."""
    inner = tmp_path / "pictures" / "inner"
    inner.mkdir(parents=True)
    (inner / "one.png").write_bytes(png)
    (inner.parent / "two.png").write_bytes(png)
    (inner.parent / "bad.jpg").write_text("no picture")
    (inner.parent / "notes.txt").write_text("not looked for")
    return inner.parent


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets for its workers ends with the test."""
    monkeypatch.setenv("OPENCV_IO_MAX_IMAGE_PIXELS", "1")
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "ERROR")


def read(table: Path) -> dict[str, int | str]:
    """Of each file how many faces it has, or why not."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert len({row["file"] for row in rows}) == len(rows)
    return {Path(row["file"]).name: len(row["faces"]) if "faces" in row else row["error"]["type"] for row in rows}


EXPECTED = {"one.png": 1, "two.png": 1, "bad.jpg": "urn:faceattr:unsupported-media"}


def test_a_folder_becomes_a_table_and_is_gone_on_with(
    folder: Path, tmp_path: Path, png: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.jsonl"
    status, out, err = analyze(capsys, folder, folder / "inner", "--out", table, "--workers", "1")
    assert (status, read(table)) == (1, EXPECTED)
    assert out == f"{table}: 3 files, 1 of them failed; 0 were there before\n"
    assert "3/4" in err or "3/3" in err  # one of them was meant twice
    before = table.read_bytes()
    (folder / "three.png").write_bytes(png)
    table.write_bytes(before[:-5])
    done = Mock(wraps=bulk.row_of)
    monkeypatch.setattr(bulk, "row_of", done)
    status, out, _ = analyze(capsys, folder, "--out", table, "--workers", "1")
    assert (status, read(table)) == (1, EXPECTED | {"three.png": 1})
    assert done.call_count == 2
    assert out.endswith("4 files, 1 of them failed; 2 were there before\n")


def test_a_server_can_do_it(
    folder: Path, tmp_path: Path, start: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.jsonl"
    server = start("[inference]\nworkers = 1\n")
    assert analyze(capsys, folder, "--out", table, "--server", server.url)[0] == 1
    assert read(table) == EXPECTED


def test_all_good_files_are_a_success(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = analyze(capsys, folder / "inner", "--out", tmp_path / "table.csv", "--workers", "1")
    assert status == 0
    assert "1 files, 0 of them failed" in out


@pytest.mark.parametrize("flag", [["--json"], ["--annotate", "out.jpg"]])
def test_what_prints_or_draws_is_refused_beside_a_table(
    flag: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["analyze", str(folder), "--out", str(tmp_path / "table.csv"), *flag]) == 2
    assert "--out takes everything" in capsys.readouterr().err
