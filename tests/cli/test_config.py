"""Output and exit status of `config show` and `config check`."""

import shutil
import tomllib
from pathlib import Path

import pytest

from faceattr_aio import cli
from faceattr_aio.inference.models import ModelStore


def test_show_prints_the_effective_settings_with_their_origin(
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


def test_the_output_of_show_is_a_valid_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "show"]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "shown.toml").write_text(shown)
    assert cli.main(["config", "show", "--config", str(tmp_path / "shown.toml")]) == 0


def test_show_hides_api_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("[auth]\nkeys = ['hush-hush-hush-hush']\n")
    assert cli.main(["config", "show", "--config", str(tmp_path / "mine.toml")]) == 0
    monkeypatch.setenv("FACEATTR_AUTH__KEYS", "hush-hush-hush-hush,hush-hush-hush-2nd")
    assert cli.main(["config", "show", "--config", str(tmp_path / "mine.toml")]) == 0
    shown = capsys.readouterr()
    assert 'keys = ["**********", "**********"]  # environment\n' in shown.out
    assert "hush" not in shown.out + shown.err


def test_show_reports_invalid_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.toml").write_text("[server]\nport = -1\n")
    assert cli.main(["config", "show", "--config", str(tmp_path / "wrong.toml")]) == 2
    assert "server.port = -1" in capsys.readouterr().err


def test_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def check(file: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error."""
    status = cli.main(["config", "check", "--config", str(file)])
    return status, *capsys.readouterr()


def test_check_reports_valid_settings_and_each_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: ModelStore
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 7\nprocesses = 2\n[inference]\nworkers = 2\n")
    monkeypatch.setenv("FACEATTR_UPLOAD__MAX_PARTS", "3")
    monkeypatch.setenv("FACEATTR_MODELS__DIR", str(store.folder))
    status, out, err = check(file, capsys)
    assert (status, err) == (0, "")
    settings, *models = out.splitlines()
    assert settings == f"The settings are valid; read from {file} and environment."
    assert [model.partition(":")[0] for model in models] == ["blazeface-full-range", "dlib-age-v1", "dlib-gender-v1"]
    assert all(model.endswith(" is intact") for model in models)


def test_check_reports_missing_and_damaged_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], store: ModelStore
) -> None:
    shutil.copy(store.path("dlib-gender-v1"), tmp_path)
    (tmp_path / "age-v1.onnx").write_text("broken")
    file = tmp_path / "mine.toml"
    file.write_text(f"[models]\ndir = '{tmp_path}'\n")
    status, out, _ = check(file, capsys)
    assert status == 2
    assert [line.partition(": ")[2].split(" is ")[1].split()[0].strip(":") for line in out.splitlines()[1:]] == [
        "missing",
        "damaged",
        "intact",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("[server]\nport = -1\n", "server.port = -1"),
        ("[server]\nprocesses = 2\n[inference]\nworkers = 1\n", "2 processes need as many workers"),
        ("[inference]\npool = 'thread'\n[image]\nformats = ['avif']\n", "set inference.pool to 'process'"),
        ("[auth]\nkeys_file = '/nowhere'\n", "/nowhere cannot be read"),
        ("[auth]\nadmin_keys_file = '/nowhere'\n", "/nowhere cannot be read"),
    ],
)
def test_check_reports_invalid_settings_in_one_sentence(
    settings: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.toml").write_text(settings)
    status, out, err = check(tmp_path / "wrong.toml", capsys)
    assert (status, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
