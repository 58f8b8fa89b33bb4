from pathlib import Path

import numpy as np
import pytest

from bench.support.generator import Layout, write_generator
from faceattr_aio.errors import BadOption, StartError
from faceattr_aio.inference.models import ModelStore, file_hash
from faceattr_aio.pipelines.anime import Backend
from faceattr_aio.pipelines.anime.generator import convert
from faceattr_aio.pipelines.anime.loading import Generators
from faceattr_aio.pipelines.anime.networks import IS_OPENCV_4
from faceattr_aio.pipelines.imaging import Pixels
from tests.pipelines.anime.conftest import BACKEND, NARROW

pytestmark = pytest.mark.pixels


@pytest.mark.skipif(not IS_OPENCV_4, reason="for OpenCV 4")
def test_opencv_4_is_refused_with_what_to_do(drawer: Path) -> None:
    with pytest.raises(StartError, match="install 'opencv-python-headless>=5', or set backend = 'openvino'"):
        Generators({"mine": drawer}, "cv2")


@pytest.mark.skipif(IS_OPENCV_4, reason="OpenCV 4 is refused")
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_both_backends_draw_the_same_wherever_the_channels_are(
    layout: Layout, tmp_path: Path, astronaut: Pixels
) -> None:
    file = write_generator(tmp_path / "drawer.onnx", NARROW, layout)
    backends: tuple[Backend, ...] = "cv2", "openvino"
    one, other = (convert(Generators({"a": file}, backend)["a"], astronaut).astype(int) for backend in backends)
    assert np.abs(one - other).max() <= 1


def test_channels_last_and_first_are_told_apart_by_what_they_draw(tmp_path: Path, astronaut: Pixels) -> None:
    files = {
        "last": write_generator(tmp_path / "last.onnx", NARROW, "NHWC"),
        "first": write_generator(tmp_path / "first.onnx", NARROW, "NCHW"),
    }
    generators = Generators(files, BACKEND)
    last, first = (convert(generators[style], astronaut).astype(int) for style in ("last", "first"))
    assert np.abs(last - first).max() <= 1


def test_only_the_style_that_was_asked_for_last_is_ready(drawer: Path, other_drawer: Path) -> None:
    generators = Generators({"mine": drawer, "other": other_drawer}, BACKEND)
    mine = generators["mine"]
    assert generators["mine"] is mine
    assert generators["other"] is not mine
    assert generators["mine"] is not mine


def test_a_style_that_is_gone_is_told_with_those_there_are(drawer: Path, other_drawer: Path) -> None:
    with pytest.raises(BadOption, match="there are mine, other"):
        Generators({"mine": drawer, "other": other_drawer}, BACKEND)["hayao"]


def test_each_file_is_known_by_its_hash(drawer: Path, other_drawer: Path) -> None:
    hashes = Generators({"mine": drawer, "other": other_drawer}, BACKEND).hashes
    assert hashes == {"mine": file_hash(drawer), "other": file_hash(other_drawer)}


@pytest.mark.parametrize("backend", sorted({BACKEND, "openvino"}))
def test_a_file_that_does_not_draw_stops_the_start(backend: Backend, tmp_path: Path, store: ModelStore) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no net")
    for file in (text, store.path("dlib-age-v1")):
        with pytest.raises(StartError, match="is no generator in ONNX that draws a picture of any size"):
            Generators({"mine": file}, backend)


def test_a_file_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read: No such file"):
        Generators({"mine": tmp_path / "nothing.onnx"}, BACKEND)
