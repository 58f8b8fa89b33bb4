import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceattr_aio import cli
from faceattr_aio.pipelines.imaging import Pixels

pytestmark = pytest.mark.pixels

PIXELS = "OPENCV_IO_MAX_IMAGE_PIXELS"


def analyze(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, what was printed, and what was said beside it."""
    status = cli.main(["analyze", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_one_picture_gives_its_faces(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = analyze(capsys, png_file)
    assert status == 0
    head, face = out.splitlines()
    assert head == f"{png_file}: 1 face"
    assert face.startswith("  female (")
    assert face.endswith(" at 173,68")
    assert err == ""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sets for its workers ends with the test."""
    monkeypatch.setenv(PIXELS, "1")
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "ERROR")


def test_the_bound_of_the_settings_is_that_of_the_decoder(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(capsys, png_file)[0] == 0
    assert os.environ[PIXELS] == "50000000"


def test_one_bad_file_does_not_stop_the_rest(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    status, out, err = analyze(capsys, tmp_path / "text.jpg", tmp_path / "nothing.jpg", png_file, "--json")
    assert status == 1
    bad, missing, good = (json.loads(line) for line in out.splitlines())
    assert bad["error"]["type"] == "urn:faceattr:unsupported-media"
    assert "No such file" in missing["error"]["detail"]
    assert (good["file"], len(good["faces"])) == (str(png_file), 1)
    assert "3/3" in err  # the progress bar


def test_a_picture_can_be_drawn_on(
    png_file: Path, tmp_path: Path, astronaut: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, _ = analyze(capsys, png_file, "--annotate", tmp_path / "out.png")
    assert status == 0
    drawn = cv2.imread(str(tmp_path / "out.png"))
    assert drawn is not None
    changed = np.argwhere((drawn != astronaut).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert (left, right, bottom) == (pytest.approx(173, abs=4), pytest.approx(280, abs=40), pytest.approx(174, abs=4))
    assert top < 68


def test_several_are_drawn_into_a_folder(png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = tmp_path / "second.png"
    second.write_bytes(png_file.read_bytes())
    status, _, _ = analyze(capsys, png_file, second, "--annotate", tmp_path / "out")
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "astronaut.annotated.jpg",
        "second.annotated.jpg",
    ]


def test_two_files_of_one_name_are_not_drawn_into_one(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / png_file.name
    other.write_bytes(png_file.read_bytes())
    status, _, err = analyze(capsys, png_file, other, "--annotate", tmp_path / "out")
    assert status == 2
    assert "the same name" in err


def test_a_picture_that_cannot_be_written_is_that_files_failure(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = analyze(capsys, png_file, "--annotate", tmp_path / "nowhere" / "out.png")
    assert status == 1
    assert "cannot be written" in out


def test_a_file_as_the_folder_for_several_is_refused(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").touch()
    status, _, err = analyze(capsys, png_file, tmp_path / "b.png", "--annotate", tmp_path / "out")
    assert status == 2
    assert "cannot be the folder" in err


def test_a_picture_is_not_drawn_over_itself(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = png_file.read_bytes()
    status, _, err = analyze(capsys, png_file, "--annotate", png_file)
    assert status == 2
    assert "drawn over itself" in err
    assert png_file.read_bytes() == before


def test_what_is_no_file_is_that_ones_failure(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    status, out, _ = analyze(capsys, tmp_path / "pipe", tmp_path, "/proc/version", png_file, "--json")
    assert status == 1
    assert [json.loads(line).get("error", {}).get("type") for line in out.splitlines()] == [
        "urn:faceattr:no-image"
    ] * 3 + [None]


def test_a_target_that_is_no_picture_type_is_refused(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = analyze(capsys, png_file, "--annotate", tmp_path / "out.gif")
    assert status == 2
    assert "end it in .jpg or .png" in err
