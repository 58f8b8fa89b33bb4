import tomllib
from pathlib import Path

import pytest

from faceattr_aio import cli


def test_the_effective_settings_are_shown_with_their_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 7\n[pipelines.faces]\ndetector = 'yunet'\n")
    monkeypatch.setenv("FACEATTR_UPLOAD__MAX_PARTS", "3")
    assert cli.main(["config", "show", "--config", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"port = 7  # {file}\n" in out
    assert f'detector = "yunet"  # {file}\n' in out
    assert "max_parts = 3  # environment\n" in out
    assert 'host = "127.0.0.1"  # default\n' in out
    assert tomllib.loads(out)["pipelines"]["faces"]["yunet_side"] == 320


def test_what_is_shown_is_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "shown.toml").write_text(shown)
    assert cli.main(["config", "show", "--config", str(tmp_path / "shown.toml")]) == 0


def test_a_key_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("[auth]\nkeys = ['hush-hush-hush-hush']\n")
    assert cli.main(["config", "show", "--config", str(tmp_path / "mine.toml")]) == 0
    monkeypatch.setenv("FACEATTR_AUTH__KEYS", "hush-hush-hush-hush,hush-hush-hush-2nd")
    assert cli.main(["config", "show", "--config", str(tmp_path / "mine.toml")]) == 0
    shown = capsys.readouterr()
    assert 'keys = ["**********", "**********"]  # environment\n' in shown.out
    assert "hush" not in shown.out + shown.err


def test_wrong_settings_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.toml").write_text("[server]\nport = -1\n")
    assert cli.main(["config", "show", "--config", str(tmp_path / "wrong.toml")]) == 2
    assert "server.port = -1" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == "0.1.0"
