"""Nets on OpenVINO, which is there where its extra was installed. Knows nothing of what they compute."""

from pathlib import Path
from typing import Any

import numpy as np

from faceattr_aio.pipelines import openvino as openvino_runtime
from faceattr_aio.pipelines.imaging import Floats


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
    openvino = openvino_runtime.load()
    model = openvino.Core().read_model(path)
    shape = model.input().partial_shape
    shape[0] = 1
    model.reshape(shape)
    if path.suffix == ".tflite":
        model = _channels_first(openvino, model)
    return OpenVinoNetwork(openvino_runtime.compile_net(openvino, model))


def _channels_first(openvino: Any, model: Any) -> Any:
    """The net, whose input has its channels last, for blobs that have them first."""
    prepared = openvino.preprocess.PrePostProcessor(model)
    prepared.input().tensor().set_layout(openvino.Layout("NCHW"))
    prepared.input().model().set_layout(openvino.Layout("NHWC"))
    return prepared.build()
