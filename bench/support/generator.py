"""Writes a net with the architecture and size of AnimeGANv2's generator as an ONNX file with random weights. It takes
the time and memory of a published one, and has no licence terms.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Layout = Literal["NHWC", "NCHW"]
WIDTH = 32
"""Channels of the first layer of the published generators."""
_OPSET = 13
_HALVES = 2
_EPSILON = 1e-5


class _Graph:
    """A graph of layers; each method takes the name of an input tensor and returns that of its output."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(seed)

    def constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        """A convolution after padding by reflection: on all sides, or on two if it halves the picture."""
        before, after = (0, 1) if stride == _HALVES else (kernel // 2, kernel // 2)
        if kernel > 1:
            pads = np.array([0, 0, before, before, 0, 0, after, after], np.int64)
            x = self.add("Pad", x, self.constant(pads), mode="reflect")
        shape = (outputs, inputs // groups, kernel, kernel)
        scale = np.sqrt(2 / np.prod(shape[1:]))
        weights = self.constant((self._random.standard_normal(shape) * scale).astype(np.float32))
        return self.add("Conv", x, weights, kernel_shape=[kernel, kernel], strides=[stride, stride], group=groups)

    def norm(self, x: str, channels: int) -> str:
        """Layer normalisation over the whole picture and all channels, in the operators that TensorFlow exports."""
        one, none = np.ones((1, channels, 1, 1), np.float32), np.zeros((1, channels, 1, 1), np.float32)
        centred = self.add("Sub", x, self.add("ReduceMean", x, axes=[1, 2, 3], keepdims=1))
        variance = self.add("ReduceMean", self.add("Mul", centred, centred), axes=[1, 2, 3], keepdims=1)
        deviation = self.add("Sqrt", self.add("Add", variance, self.constant(np.array([_EPSILON], np.float32))))
        scaled = self.add("Mul", self.add("Div", centred, deviation), self.constant(one))
        return self.add("Add", scaled, self.constant(none))

    def layer(self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> str:
        return self.add(
            "LeakyRelu", self.norm(self.conv(x, inputs, outputs, kernel, stride, groups), outputs), alpha=0.2
        )

    def residual(self, x: str, inputs: int, outputs: int) -> str:
        """An inverted residual block: twice as many channels inside, with a depthwise convolution."""
        wide = self.layer(x, inputs, 2 * inputs, 1)
        wide = self.layer(wide, 2 * inputs, 2 * inputs, 3, groups=2 * inputs)
        narrow = self.norm(self.conv(wide, 2 * inputs, outputs, 1), outputs)
        return self.add("Add", x, narrow) if inputs == outputs else narrow

    def twice(self, x: str) -> str:
        """Double the size by bilinear interpolation, computed from the size of the input."""
        size = self.add("Shape", x)
        cut = [self.constant(np.array(numbers, np.int64)) for numbers in ([0], [2], [4])]
        channels, sides = self.add("Slice", size, cut[0], cut[1]), self.add("Slice", size, cut[1], cut[2])
        doubled = self.add("Mul", sides, self.constant(np.array([2, 2], np.int64)))
        wanted = self.add("Concat", channels, doubled, axis=0)
        return self.add("Resize", x, "", "", wanted, mode="linear", coordinate_transformation_mode="half_pixel")


def write_generator(path: Path, width: int = WIDTH, layout: Layout = "NHWC", seed: int = 0) -> Path:
    """Write the ONNX file and return its path. Input and output are red, green and blue from -1 to 1, with sides that
    are multiples of 4. Width 32 makes a file of 8.6 MB.
    """
    graph = _Graph(seed)
    model_input = helper.make_tensor_value_info("input", TensorProto.FLOAT, _shape(layout))
    x = graph.add("Transpose", "input", perm=[0, 3, 1, 2]) if layout == "NHWC" else "input"
    out = graph.add("Tanh", graph.conv(_body(graph, x, width), width, 3, 1))
    name = graph.add("Transpose", out, perm=[0, 2, 3, 1]) if layout == "NHWC" else out
    model_output = helper.make_tensor_value_info(name, TensorProto.FLOAT, _shape(layout))
    net = helper.make_graph(graph.nodes, "generator", [model_input], [model_output], graph.weights)
    model = helper.make_model(net, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def _body(graph: _Graph, x: str, width: int) -> str:
    x = graph.layer(x, 3, width, 7)
    x = graph.layer(x, width, 2 * width, stride=2)
    x = graph.layer(x, 2 * width, 2 * width)
    x = graph.layer(x, 2 * width, 4 * width, stride=2)
    x = graph.layer(graph.layer(x, 4 * width, 4 * width), 4 * width, 4 * width)
    x = graph.residual(x, 4 * width, 8 * width)
    for _ in range(3):
        x = graph.residual(x, 8 * width, 8 * width)
    x = graph.twice(graph.layer(x, 8 * width, 4 * width))
    x = graph.layer(graph.layer(x, 4 * width, 4 * width), 4 * width, 4 * width)
    x = graph.layer(graph.twice(x), 4 * width, 2 * width)
    return graph.layer(graph.layer(x, 2 * width, 2 * width), 2 * width, width, 7)


def _shape(layout: Layout) -> list[int | str]:
    return [1, "height", "width", 3] if layout == "NHWC" else [1, 3, "height", "width"]
