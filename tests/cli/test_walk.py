import os
from pathlib import Path

import pytest

from faceattr_aio.cli.seen import Seen, name_of
from faceattr_aio.cli.walk import pictures


def test_pictures_are_found_in_folders_and_others_only_by_name(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for file in (deep / "one.jpg", deep.parent / "TWO.PNG", tmp_path / "three.webp", tmp_path / "notes.txt"):
        file.touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "notes.txt")
    found = sorted(file.relative_to(tmp_path).as_posix() for file in pictures([tmp_path]))
    assert found == ["a/b/TWO.PNG", "a/b/c/one.jpg", "link.jpg", "three.webp"]
    named = [tmp_path / "notes.txt", tmp_path / "nowhere.jpg"]
    assert list(pictures(named)) == named


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.jpg").touch()
    scan = os.scandir

    def scan_some(folder: "os.DirEntry[str] | Path") -> object:
        if os.fspath(folder).endswith("closed"):
            raise PermissionError
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scan_some)
    assert sorted(pictures([tmp_path])) == [tmp_path / "closed", tmp_path / "open" / "one.jpg"]


def test_no_more_folders_are_open_than_are_deep(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "one.jpg").touch()
    before, most = len(os.listdir("/proc/self/fd")), 0
    for _ in pictures([tmp_path]):
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
    assert most <= 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_name_is_new_once_and_every_path_has_one(tmp_path: Path) -> None:
    seen = Seen()
    names = [name_of(tmp_path / name) for name in ("a", "b", os.fsdecode(b"\xff\n"), "\N{SNOWMAN}")]
    for name in names:
        name.encode()
        assert seen.add(name)
        assert not seen.add(name)
    seen.close()
