"""Nets on OpenVINO, which is there where its extra was installed. A net has one thread; nothing is set for the whole
process. Knows nothing of what they compute.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from faceattr_aio.errors import StartError
from faceattr_aio.imaging import Floats

_REPORTER = "openvino_telemetry"
_CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_NUM_THREADS": 1,
    "ENABLE_CPU_PINNING": False,  # the system knows which cores the other workers use
    "INFERENCE_PRECISION_HINT": "f32",  # else the answer depends on whether the processor has 16-bit arithmetic
}


class OpenVinoNetwork:
    """A net that OpenVINO runs, on one picture at a time."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def run(self, blob: Floats) -> tuple[Floats, ...]:
        """All outputs, the smallest first."""
        outputs = self._request.infer([blob], share_inputs=True)
        return tuple(sorted(outputs.values(), key=np.size))


def read(path: Path) -> OpenVinoNetwork:
    """The net in a file of the type .tflite or .onnx. Raises StartError where OpenVINO cannot be imported."""
    try:
        openvino = _import_silently()
    except ImportError as error:
        raise StartError(
            f"backend 'openvino' cannot be loaded ({error}): "
            "run pip install 'faceattr-aio[openvino]', or set backend = 'cv2'."
        ) from error
    core = openvino.Core()
    model = core.read_model(path)
    shape = model.input().partial_shape
    shape[0] = 1
    model.reshape(shape)
    if path.suffix == ".tflite":
        model = _channels_first(openvino, model)
    return OpenVinoNetwork(core.compile_model(model, "CPU", _CONFIG).create_infer_request())


def _import_silently() -> Any:
    """OpenVINO reports each import to its maker's statistics, from a thread and a process of its own. It has a stand-in
    for where the reporter is not installed, and takes it when that cannot be imported.
    """
    absent = _REPORTER not in sys.modules
    if absent:
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # documented: stops the import
    try:
        return import_module("openvino")
    finally:
        if absent:
            del sys.modules[_REPORTER]


def _channels_first(openvino: Any, model: Any) -> Any:
    """The net, whose input has its channels last, for blobs that have them first."""
    prepared = openvino.preprocess.PrePostProcessor(model)
    prepared.input().tensor().set_layout(openvino.Layout("NCHW"))
    prepared.input().model().set_layout(openvino.Layout("NHWC"))
    return prepared.build()
