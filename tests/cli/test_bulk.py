"""Folders into a table: the scan, resuming, and the command."""

import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from faceattr_aio import cli
from faceattr_aio.cli import bulk
from faceattr_aio.cli.bulk import ResumeIndex, name_of, scan
from tests.conftest import StartServer
from tests.support.cli import analyze

pytestmark = [pytest.mark.pixels, pytest.mark.usefixtures("decoder_environment")]


def test_scan_finds_pictures_in_folders_and_any_file_that_is_named(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for file in (deep / "one.jpg", deep.parent / "TWO.PNG", tmp_path / "three.webp", tmp_path / "notes.txt"):
        file.touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "notes.txt")
    found = sorted(file.relative_to(tmp_path).as_posix() for file in scan([tmp_path]))
    assert found == ["a/b/TWO.PNG", "a/b/c/one.jpg", "link.jpg", "three.webp"]
    named = [tmp_path / "notes.txt", tmp_path / "nowhere.jpg"]
    assert list(scan(named)) == named


def test_scan_yields_a_folder_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.jpg").touch()
    scandir = os.scandir

    def scan_some(folder: "os.DirEntry[str] | Path") -> object:
        if os.fspath(folder).endswith("closed"):
            raise PermissionError
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan_some)
    assert sorted(scan([tmp_path])) == [tmp_path / "closed", tmp_path / "open" / "one.jpg"]


def test_scan_keeps_one_folder_open_for_each_level(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "one.jpg").touch()
    before, most = len(os.listdir("/proc/self/fd")), 0
    for _ in scan([tmp_path]):
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
    assert most <= 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_index_reports_each_path_as_new_once(tmp_path: Path) -> None:
    index = ResumeIndex()
    names = [name_of(tmp_path / name) for name in ("a", "b", os.fsdecode(b"\xff\n"), "\N{SNOWMAN}")]
    for name in names:
        name.encode()
        assert index.add(name)
        assert not index.add(name)
    index.close()


@pytest.fixture
def folder(tmp_path: Path, png: bytes) -> Path:
    """Two pictures and a bad one, in two folders."""
    inner = tmp_path / "pictures" / "inner"
    inner.mkdir(parents=True)
    (inner / "one.png").write_bytes(png)
    (inner.parent / "two.png").write_bytes(png)
    (inner.parent / "bad.jpg").write_text("no picture")
    (inner.parent / "notes.txt").write_text("not a picture")
    return inner.parent


def read(table: Path) -> dict[str, int | str]:
    """Return the number of faces of each file, or the type of its error."""
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    assert len({row["file"] for row in rows}) == len(rows)
    return {Path(row["file"]).name: len(row["faces"]) if "faces" in row else row["error"]["type"] for row in rows}


EXPECTED = {"one.png": 1, "two.png": 1, "bad.jpg": "urn:faceattr:unsupported-media"}


def test_writes_a_row_for_each_file_and_resumes(
    folder: Path, tmp_path: Path, png: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "table.jsonl"
    status, out, err = analyze(capsys, folder, folder / "inner", "--out", table, "--workers", "1")
    assert (status, read(table)) == (1, EXPECTED)
    assert out == f"{table}: 3 files, 1 of them failed; 0 were already there\n"
    assert "3/4" in err or "3/3" in err  # one file is in both folders
    before = table.read_bytes()
    (folder / "three.png").write_bytes(png)
    table.write_bytes(before[:-5])
    row_of = Mock(wraps=bulk.row_of)
    monkeypatch.setattr(bulk, "row_of", row_of)
    status, out, _ = analyze(capsys, folder, "--out", table, "--workers", "1")
    assert (status, read(table)) == (1, EXPECTED | {"three.png": 1})
    assert row_of.call_count == 2
    assert out.endswith("4 files, 1 of them failed; 2 were already there\n")


def test_a_server_can_analyze_the_files(
    folder: Path, tmp_path: Path, start: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "table.jsonl"
    server = start("[inference]\nworkers = 1\n")
    assert analyze(capsys, folder, "--out", table, "--server", server.url)[0] == 1
    assert read(table) == EXPECTED


def test_succeeds_if_no_file_fails(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = analyze(capsys, folder / "inner", "--out", tmp_path / "table.csv", "--workers", "1")
    assert status == 0
    assert "1 files, 0 of them failed" in out


@pytest.mark.parametrize("flag", [["--json"], ["--annotate", "out.jpg"]])
def test_refuses_to_print_or_annotate_besides_the_table(
    flag: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["analyze", str(folder), "--out", str(tmp_path / "table.csv"), *flag]) == 2
    assert "--out cannot be combined" in capsys.readouterr().err
