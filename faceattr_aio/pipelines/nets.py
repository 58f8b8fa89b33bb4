"""Neural networks behind one interface, run by OpenCV or OpenVINO, and the decoding that SSD detectors share."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from faceattr_aio.errors import StartError
from faceattr_aio.pipelines import Backend
from faceattr_aio.pipelines.imaging import Floats, Pixels

IS_OPENCV_4: Final = int(cv2.__version__.partition(".")[0]) < 5  # noqa: PLR2004  # OpenCV 5 has another engine
_ENGINE: dict[str, Any] = {} if IS_OPENCV_4 else {"engine": cv2.dnn.ENGINE_CLASSIC}
"""OpenCV 5: its new engine returns only one of BlazeFace's two outputs."""

_TELEMETRY = "openvino_telemetry"
_OPENVINO_CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_NUM_THREADS": 1,
    "ENABLE_CPU_PINNING": False,  # the operating system places the workers on the cores
    "INFERENCE_PRECISION_HINT": "f32",  # otherwise results depend on whether the processor has 16-bit arithmetic
}

Values = npt.NDArray[Any]
Layers = Sequence[tuple[int, int]]
"""Cells per side and anchors per cell, layer by layer."""


class Network(Protocol):
    """A loaded network. Not thread-safe."""

    def run(self, values: Values) -> tuple[Floats, ...]:
        """Compute the outputs for one picture.

        Args:
            values: the input without the batch dimension, in the layout and range that the network takes.

        Returns:
            The outputs (float32) without the batch dimension, in the order of the file or as requested when it was
            read.

        """


class Cv2Network:
    """A network run by `cv2.dnn`. Not thread-safe."""

    def __init__(self, net: cv2.dnn.Net) -> None:
        self._net = net
        self._outputs = net.getUnconnectedOutLayersNames()

    def run(self, values: Values) -> tuple[Floats, ...]:
        """See Network."""
        self._net.setInput(np.ascontiguousarray(values[None]))
        return tuple(np.asarray(output, np.float32)[0] for output in self._net.forward(self._outputs))


class OpenVinoNetwork:
    """A network run by OpenVINO on the CPU, in the calling thread. Not thread-safe."""

    def __init__(self, openvino: Any, model: Any) -> None:
        self._request = openvino.Core().compile_model(model, "CPU", _OPENVINO_CONFIG).create_infer_request()

    def run(self, values: Values) -> tuple[Floats, ...]:
        """See Network."""
        outputs = self._request.infer([np.ascontiguousarray(values[None])], share_inputs=True)
        return tuple(np.asarray(output)[0] for output in outputs.values())


def read_network(source: Path | bytes, backend: Backend, shape: Sequence[int] | None = None) -> Network:
    """Read a network with one input of floats.

    Args:
        source: a .tflite or .onnx file, or the bytes of an ONNX file; OpenCV 5 reads a network for pictures of any
            size from bytes only. The input of a .tflite file is given with the channels first.
        backend: the library that runs it.
        shape: the input's shape with the batch dimension, -1 for any length; by default that of the file. Only
            OpenVINO needs it.

    Raises:
        StartError: OpenVINO cannot be imported.

    """
    if backend == "openvino":
        return _read_with_openvino(source, shape)
    if isinstance(source, bytes):
        return Cv2Network(cv2.dnn.readNetFromONNX(np.frombuffer(source, np.uint8), **_ENGINE))
    read = cv2.dnn.readNetFromTFLite if source.suffix == ".tflite" else cv2.dnn.readNetFromONNX
    return Cv2Network(read(str(source), **_ENGINE))


def _read_with_openvino(source: Path | bytes, shape: Sequence[int] | None) -> Network:
    openvino = load_openvino()
    core = openvino.Core()
    model = core.read_model(source, b"") if isinstance(source, bytes) else core.read_model(source)
    model.reshape(shape or [1, *model.input().partial_shape[1:]])
    if isinstance(source, Path) and source.suffix == ".tflite":
        prepared = openvino.preprocess.PrePostProcessor(model)
        prepared.input().tensor().set_layout(openvino.Layout("NCHW"))
        prepared.input().model().set_layout(openvino.Layout("NHWC"))
        model = prepared.build()
    return OpenVinoNetwork(openvino, model)


def read_caffe(layers: Path, weights: Path) -> Network:
    """Read a Caffe network with OpenCV 4.

    Raises:
        StartError: the OpenCV is version 5, which has no reader for Caffe files, or the files cannot be read.

    """
    if not IS_OPENCV_4:
        raise StartError(
            "OpenCV 5 cannot read Caffe nets: install 'opencv-python-headless<5', "
            "or choose another detector and classifier."
        )
    try:
        net: cv2.dnn.Net = cv2.dnn.readNetFromCaffe(str(layers), str(weights))  # type: ignore[attr-defined]  # OpenCV 4
    except cv2.error as error:
        raise StartError(f"{weights.name} and {layers.name} cannot be read as a Caffe net.") from error
    return Cv2Network(net)


def read_pixel_network(path: Path, outputs: Sequence[str], *, signed: bool) -> Network:
    """Read a .tflite file with OpenVINO as a network that takes Pixels of the size of its input.

    Only the named outputs are computed, which `run` returns in the given order. The conversion of the pixels to red,
    green and blue, from 0 to 1 or, if `signed`, from -1 to 1, becomes part of the network.

    Raises:
        StartError: OpenVINO cannot be imported.

    """
    openvino = load_openvino("holistic", otherwise="")
    model = openvino.Core().read_model(path)
    part = openvino.Model([model.output(name) for name in outputs], model.get_parameters())
    mean, scale = (127.5, 127.5) if signed else (0.0, 255.0)
    colours, layout = openvino.preprocess.ColorFormat, openvino.Layout("NHWC")
    prepared = openvino.preprocess.PrePostProcessor(part)
    picture = prepared.input()
    picture.tensor().set_element_type(openvino.Type.u8).set_layout(layout).set_color_format(colours.BGR)
    picture.model().set_layout(layout)
    steps = picture.preprocess().convert_element_type(openvino.Type.f32).convert_color(colours.RGB)
    steps.mean(mean).scale(scale)
    return OpenVinoNetwork(openvino, prepared.build())


def load_openvino(extra: str = "openvino", otherwise: str = ", or set backend = 'cv2'") -> Any:
    """Import OpenVINO without its telemetry, which would report each import from a thread and a process of its own.

    OpenVINO has a stub for when the telemetry package is not installed, and uses it when the import fails.

    Raises:
        StartError: the import fails. The message names the `extra` to install, and what to do `otherwise`.

    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # documented: the import then fails
    try:
        return import_module("openvino")
    except ImportError as error:
        message = f"OpenVINO cannot be loaded ({error}): run pip install 'faceattr-aio[{extra}]'{otherwise}."
        raise StartError(message) from error
    finally:
        if sys.modules[_TELEMETRY] is None:
            del sys.modules[_TELEMETRY]


def make_blob(pixels: Pixels, side: int, scale: float, mean: Sequence[float], *, rgb: bool) -> Floats:
    """Resize the picture and return 3 x side x side numbers (x - mean) x scale (float32).

    With `rgb` the channels are red, green, blue, otherwise blue, green, red; `mean` has the same order.
    """
    return np.asarray(cv2.dnn.blobFromImage(pixels, scale, (side, side), tuple(mean), swapRB=rgb)[0])


def make_anchors(layers: Layers) -> Floats:
    """Return the n x 2 centres of the cells as shares of the side: layer by layer, row by row, once per anchor."""
    centres = [(np.indices((cells, cells))[::-1].reshape(2, -1).T + 0.5) / cells for cells, _ in layers]
    return np.concatenate([np.repeat(xy, count, axis=0) for xy, (_, count) in zip(centres, layers, strict=True)])


def decode_boxes(numbers: Floats, anchors: Floats) -> tuple[Floats, Floats]:
    """Decode the boxes and keypoints of an SSD detector of MediaPipe's kind.

    Args:
        numbers: n x (4 + 2k): for each anchor the offset of the box's centre, the box's size, and the offsets of k
            keypoints.
        anchors: n x 2, in the same unit.

    Returns:
        The sizes (n x 2), and the centres followed by the keypoints (n x (1 + k) x 2).

    """
    pairs = numbers.reshape(len(numbers), numbers.shape[1] // 2, 2)
    return pairs[:, 1], np.delete(pairs, 1, axis=1) + anchors[:, None]


def sigmoid(logits: Floats) -> Floats:
    """Return probabilities of the same dtype for logits of any size."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -80, 80))))


def self_test_error(failure: str, otherwise: str = "") -> StartError:
    """Return the error to raise when a pipeline gives a wrong result for its own test picture.

    The files may be intact and the networks still not compute the right numbers on this machine.
    """
    return StartError(
        f"The models do not work here: in the self-test {failure}. Run 'faceattr-aio models verify'{otherwise}."
    )
