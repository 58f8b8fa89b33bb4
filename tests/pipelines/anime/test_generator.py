"""Loading generators, and converting a picture of any size."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.support.generator import Layout, write_generator
from faceattr_aio.errors import BadOption, StartError, TooManyPixels
from faceattr_aio.inference.models import ModelStore, file_hash
from faceattr_aio.pipelines import Backend
from faceattr_aio.pipelines.anime.predict import Generator, Generators, convert
from faceattr_aio.pipelines.imaging import Floats, Pixels
from faceattr_aio.pipelines.nets import IS_OPENCV_4, Values
from tests.pipelines.anime.conftest import BACKEND, NARROW

pytestmark = pytest.mark.pixels


class ScaleNetwork:
    """Returns its input times a factor, and records the inputs."""

    def __init__(self, factor: float = 1.0) -> None:
        self.inputs: list[Floats] = []
        self._factor = factor

    def run(self, values: Values) -> tuple[Floats, ...]:
        self.inputs.append(values)
        return (np.asarray(values * self._factor),)


class BrokenNetwork:
    """Raises an error on every run."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, values: Values) -> tuple[Floats, ...]:  # noqa: ARG002  # it fails for all
        raise self._error


def convert_with(network: ScaleNetwork | BrokenNetwork, pixels: Pixels) -> Pixels:
    return convert(Generator(network, channels_last=True), pixels)


@pytest.fixture(scope="module")
def generator(drawer: Path) -> Generator:
    return Generators({"mine": drawer}, BACKEND)["mine"]


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (31, 33), (32, 64), (100, 75)])
def test_the_drawing_has_the_size_of_the_picture(size: tuple[int, int], generator: Generator) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert convert(generator, picture).shape == picture.shape


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 64), (100, 75)])
def test_the_input_is_padded_to_multiples_of_32_and_the_drawing_is_cropped(size: tuple[int, int]) -> None:
    network, picture = ScaleNetwork(), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert np.array_equal(convert_with(network, picture), picture)
    assert [side % 32 for side in network.inputs[0].shape[:2]] == [0, 0]
    assert network.inputs[0].shape[0] - size[0] < 32


def test_the_padding_is_the_picture_reflected_at_its_edge() -> None:
    network, picture = ScaleNetwork(), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    convert_with(network, picture)
    (values,) = network.inputs
    assert np.array_equal(values[20:32], values[7:19][::-1])
    assert np.array_equal(values[:, 30:32], values[:, 27:29][:, ::-1])


def test_the_input_is_red_first_and_from_minus_1_to_1() -> None:
    network, red = ScaleNetwork(), np.zeros((32, 32, 3), np.uint8)
    red[..., 2] = 255
    convert_with(network, red)
    assert network.inputs[0].dtype == np.float32
    assert (network.inputs[0] == (1, -1, -1)).all()


def test_values_beyond_the_range_are_clipped() -> None:
    drawn = convert_with(ScaleNetwork(3), np.array([[[0, 128, 255]]], np.uint8))
    assert drawn.tolist() == [[[0, 129, 255]]]


def test_a_picture_that_needs_too_much_memory_is_refused() -> None:
    full, other = cv2.error("Failed to allocate"), cv2.error("Assertion failed")
    full.code, other.code = cv2.Error.StsNoMem, cv2.Error.StsAssert
    picture = np.zeros((8, 8, 3), np.uint8)
    for error, expected in ((full, TooManyPixels), (MemoryError(), TooManyPixels), (other, cv2.error)):
        with pytest.raises(expected):
            convert_with(BrokenNetwork(error), picture)


@pytest.mark.parametrize("size", [(75, 100), (64, 96)])
@pytest.mark.parametrize("turned", [False, True])
def test_rows_of_one_colour_are_drawn_without_edges(size: tuple[int, int], turned: bool, generator: Generator) -> None:
    """Every row (or column) of one colour stays of one colour, from edge to edge."""
    rows = np.random.default_rng(0).integers(0, 256, (size[0], 1, 3), np.uint8).repeat(size[1], axis=1)
    drawn = convert(generator, np.ascontiguousarray(rows.swapaxes(0, 1)) if turned else rows)
    assert np.ptp(drawn.astype(int), axis=0 if turned else 1).max() <= 1
    assert np.ptp(drawn) > 50


@pytest.mark.skipif(not IS_OPENCV_4, reason="for OpenCV 4")
def test_opencv_4_is_refused_with_a_remedy(drawer: Path) -> None:
    with pytest.raises(StartError, match="install 'opencv-python-headless>=5', or set backend = 'openvino'"):
        Generators({"mine": drawer}, "cv2")


@pytest.mark.skipif(IS_OPENCV_4, reason="OpenCV 4 is refused")
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_both_backends_draw_the_same_in_either_layout(layout: Layout, tmp_path: Path, astronaut: Pixels) -> None:
    file = write_generator(tmp_path / "drawer.onnx", NARROW, layout)
    backends: tuple[Backend, ...] = "cv2", "openvino"
    one, other = (convert(Generators({"a": file}, backend)["a"], astronaut).astype(int) for backend in backends)
    assert np.abs(one - other).max() <= 1


def test_the_layout_of_the_channels_is_found(tmp_path: Path, astronaut: Pixels) -> None:
    files = {
        "last": write_generator(tmp_path / "last.onnx", NARROW, "NHWC"),
        "first": write_generator(tmp_path / "first.onnx", NARROW, "NCHW"),
    }
    generators = Generators(files, BACKEND)
    last, first = (convert(generators[style], astronaut).astype(int) for style in ("last", "first"))
    assert np.abs(last - first).max() <= 1


def test_only_the_last_style_stays_loaded(drawer: Path, other_drawer: Path) -> None:
    generators = Generators({"mine": drawer, "other": other_drawer}, BACKEND)
    mine = generators["mine"]
    assert generators["mine"] is mine
    assert generators["other"] is not mine
    assert generators["mine"] is not mine


def test_an_unknown_style_is_refused_with_the_known_ones(drawer: Path, other_drawer: Path) -> None:
    with pytest.raises(BadOption, match="there are mine, other"):
        Generators({"mine": drawer, "other": other_drawer}, BACKEND)["hayao"]


def test_hashes_are_those_of_the_files(drawer: Path, other_drawer: Path) -> None:
    hashes = Generators({"mine": drawer, "other": other_drawer}, BACKEND).hashes
    assert hashes == {"mine": file_hash(drawer), "other": file_hash(other_drawer)}


@pytest.mark.parametrize("backend", sorted({BACKEND, "openvino"}))
def test_a_file_that_is_no_generator_stops_the_start(backend: Backend, tmp_path: Path, store: ModelStore) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no net")
    for file in (text, store.path("dlib-age-v1")):
        with pytest.raises(StartError, match="is no generator in ONNX that draws a picture of any size"):
            Generators({"mine": file}, backend)


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot be read: No such file"):
        Generators({"mine": tmp_path / "nothing.onnx"}, BACKEND)
