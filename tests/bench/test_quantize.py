from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from bench.accuracy.quantize import closeness, find_convolutions, find_ranges, quantize
from bench.support.generator import Layout, write_generator
from faceattr_aio.pipelines.anime.predict import Generators, convert
from faceattr_aio.pipelines.imaging import Pixels


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_an_8_bit_generator_draws_almost_the_same_on_both_backends(
    layout: Layout, tmp_path: Path, astronaut: Pixels
) -> None:
    file, short = write_generator(tmp_path / "long.onnx", 8, layout), tmp_path / "short.onnx"
    picture = np.asarray(cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA), np.uint8)
    model = onnx.load(str(file))
    ranges = find_ranges(file, [node.input[0] for node in find_convolutions(model)], [picture])
    onnx.save(quantize(model, ranges), str(short))
    assert short.stat().st_size < 0.5 * file.stat().st_size
    generators = {"long": Generators({"it": file}, "openvino"), "cv2": Generators({"it": short}, "cv2")}
    generators["openvino"] = Generators({"it": short}, "openvino")
    drawn = {name: convert(one["it"], picture) for name, one in generators.items()}
    for backend in ("cv2", "openvino"):
        assert 20 < closeness(drawn[backend], drawn["long"]) < 60


def test_the_last_convolution_stays_in_32_bits(tmp_path: Path) -> None:
    model = onnx.load(str(write_generator(tmp_path / "long.onnx", 4)))
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(find_convolutions(model)) == len(convolutions) - 1
