"""Writes a generator for drawings with convolutions in 8 bits. With `backend = "openvino"` it takes less than half of
the time on processors with instructions for it; OpenCV gains nothing.

    python -m bench.quantize generator.onnx small.onnx FOLDER

FOLDER contains some pictures of the kind that will be drawn, which determine the range of the numbers before each
convolution. At the end the distance between the new and the old drawings is printed.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bench.stress.pictures import read_folder
from faceattr_aio.pipelines import imaging
from faceattr_aio.pipelines.anime.predict import Generators, convert
from faceattr_aio.pipelines.imaging import Floats, Pixels
from faceattr_aio.pipelines.nets import OpenVinoNetwork, load_openvino

SIDE = 256
"""Longest side of these pictures."""
_STEP, _MOST = 32, 255
_RARE = 0.05
"""Per cent of the numbers at either end that are clipped."""
Range = tuple[float, float]


def read_pictures(folder: Path) -> list[Pixels]:
    pictures = (imaging.decode(np.frombuffer(picture.data, np.uint8)) for picture in read_folder(folder))
    return [imaging.shrink(picture, SIDE) for picture in pictures]


def find_convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Convolutions with constant weights, except for the last one, which makes the colours."""
    weights = {tensor.name for tensor in model.graph.initializer}
    last = {name for node in model.graph.node if node.op_type == "Tanh" for name in node.input}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    return [node for node in convolutions if node.output[0] not in last]


def find_ranges(file: Path, names: Iterable[str], pictures: Iterable[Pixels]) -> dict[str, Range]:
    """The least and the greatest number in each of these tensors, without the rarest."""
    openvino = load_openvino()
    model = openvino.Core().read_model(file)
    names = list(dict.fromkeys(names))
    first = model.input().partial_shape[1]
    channels_last = first.is_dynamic or first.get_length() != 3  # noqa: PLR2004  # red, green and blue
    added = len(model.outputs)
    model.add_outputs(names)
    model.reshape([1, -1, -1, 3] if channels_last else [1, 3, -1, -1])
    network = OpenVinoNetwork(openvino, model)
    found: dict[str, list[Range]] = {name: [] for name in names}
    for picture in pictures:
        blob = _blob(picture)
        outputs = network.run(blob if channels_last else blob.transpose(2, 0, 1))[added:]
        for name, output in zip(names, outputs, strict=True):
            low, high = np.percentile(output, [_RARE, 100 - _RARE])
            found[name].append((float(low), float(high)))
    return {name: (min(low for low, _ in ends), max(high for _, high in ends)) for name, ends in found.items()}


def quantize(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """Quantize the input of each convolution to 8 bits: one scale for its numbers, and one for each channel of its
    weights.
    """
    graph, nodes = model.graph, list[onnx.NodeProto]()
    chosen = {node.output[0] for node in find_convolutions(model)}
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.output[0] in chosen:
            mark = node.output[0]
            scale, zero = _scale(ranges[node.input[0]])
            _constant(graph, f"{mark}.scale", np.array(scale, np.float32))
            _constant(graph, f"{mark}.zero", np.array(zero, np.uint8))
            scale_names = [f"{mark}.scale", f"{mark}.zero"]
            nodes.append(helper.make_node("QuantizeLinear", [node.input[0], *scale_names], [f"{mark}.short"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{mark}.short", *scale_names], [f"{mark}.taken"]))
            nodes.append(_short_weights(graph, mark, weights[node.input[1]]))
            node.input[0], node.input[1] = f"{mark}.taken", f"{mark}.weights"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _forget_unused(graph)
    onnx.checker.check_model(model)
    return model


def closeness(one: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio in dB; differences above 30 are hard to see."""
    return float(cv2.PSNR(one, other))


def _scale(ends: Range) -> tuple[float, int]:
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    scale = max(high - low, float(np.finfo(np.float32).tiny)) / _MOST
    return scale, round(-low / scale)


def _short_weights(graph: onnx.GraphProto, mark: str, weights: NDArray[np.float32]) -> onnx.NodeProto:
    scales = np.maximum(np.abs(weights).max(axis=(1, 2, 3)), np.finfo(np.float32).tiny) / (_MOST // 2)
    short = (weights / scales[:, None, None, None]).round().astype(np.int8)
    _constant(graph, f"{mark}.weights.short", short)
    _constant(graph, f"{mark}.weights.scale", scales.astype(np.float32))
    _constant(graph, f"{mark}.weights.zero", np.zeros(len(scales), np.int8))
    names = [f"{mark}.weights.{what}" for what in ("short", "scale", "zero")]
    return helper.make_node("DequantizeLinear", names, [f"{mark}.weights"], axis=0)


def _constant(graph: onnx.GraphProto, name: str, values: NDArray[np.generic]) -> None:
    graph.initializer.append(numpy_helper.from_array(values, name))


def _forget_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _blob(picture: Pixels) -> Floats:
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(picture, 0, -height % _STEP, 0, -width % _STEP, cv2.BORDER_REFLECT_101)
    return np.asarray(padded[..., ::-1].astype(np.float32) / 127.5 - 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.quantize")
    parser.add_argument("generator", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("folder", type=Path)
    chosen = parser.parse_args()
    pictures, model = read_pictures(chosen.folder), onnx.load(str(chosen.generator))
    ranges = find_ranges(chosen.generator, [node.input[0] for node in find_convolutions(model)], pictures)
    onnx.save(quantize(model, ranges), str(chosen.output))
    generators = Generators({"old": chosen.generator, "new": chosen.output}, "openvino")
    old, new = ([convert(generators[style], picture) for picture in pictures] for style in ("old", "new"))
    print(f"{np.mean([closeness(*pair) for pair in zip(old, new, strict=True)]):.1f} dB between old and new drawings")


if __name__ == "__main__":
    main()
