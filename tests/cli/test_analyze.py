"""Results, annotated pictures and errors of `analyze`."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceattr_aio.pipelines.imaging import Pixels
from tests.support.cli import analyze

pytestmark = [pytest.mark.pixels, pytest.mark.usefixtures("decoder_environment")]


def test_prints_the_faces_of_a_picture(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = analyze(capsys, png_file)
    assert status == 0
    head, face = out.splitlines()
    assert head == f"{png_file}: 1 face"
    assert face.startswith("  female (")
    assert face.endswith(" at 173,68")
    assert err == ""


def test_limits_the_pixels_of_the_decoder(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(capsys, png_file)[0] == 0
    assert os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] == "50000000"


def test_a_file_that_fails_does_not_stop_the_others(
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


def test_annotates_a_picture(
    png_file: Path, tmp_path: Path, astronaut: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, _ = analyze(capsys, png_file, "--annotate", tmp_path / "out.png")
    assert status == 0
    annotated = cv2.imread(str(tmp_path / "out.png"))
    assert annotated is not None
    changed = np.argwhere((annotated != astronaut).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert (left, right, bottom) == (pytest.approx(173, abs=4), pytest.approx(280, abs=40), pytest.approx(174, abs=4))
    assert top < 68


def test_annotates_several_pictures_into_a_folder(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = tmp_path / "second.png"
    second.write_bytes(png_file.read_bytes())
    status, _, _ = analyze(capsys, png_file, second, "--annotate", tmp_path / "out")
    assert status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "astronaut.annotated.jpg",
        "second.annotated.jpg",
    ]


def test_refuses_to_annotate_two_files_of_the_same_name(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / png_file.name
    other.write_bytes(png_file.read_bytes())
    status, _, err = analyze(capsys, png_file, other, "--annotate", tmp_path / "out")
    assert status == 2
    assert "the same name" in err


def test_reports_an_annotated_picture_that_cannot_be_written(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = analyze(capsys, png_file, "--annotate", tmp_path / "nowhere" / "out.png")
    assert status == 1
    assert "cannot be written" in out


def test_refuses_a_file_as_the_folder_for_several_pictures(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").touch()
    status, _, err = analyze(capsys, png_file, tmp_path / "b.png", "--annotate", tmp_path / "out")
    assert status == 2
    assert "cannot be used as the folder" in err


def test_refuses_to_overwrite_the_source(png_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = png_file.read_bytes()
    status, _, err = analyze(capsys, png_file, "--annotate", png_file)
    assert status == 2
    assert "would overwrite its source" in err
    assert png_file.read_bytes() == before


def test_reports_what_is_not_a_regular_file(png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    status, out, _ = analyze(capsys, tmp_path / "pipe", tmp_path, "/proc/version", png_file, "--json")
    assert status == 1
    assert [json.loads(line).get("error", {}).get("type") for line in out.splitlines()] == [
        "urn:faceattr:no-image"
    ] * 3 + [None]


def test_refuses_an_unsupported_type_for_the_annotated_picture(
    png_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = analyze(capsys, png_file, "--annotate", tmp_path / "out.gif")
    assert status == 2
    assert "use .jpg or .png" in err
