"""Generators in ONNX, run by OpenCV or by OpenVINO. Some take their channels last, as TensorFlow does, some first, as
PyTorch does. Knows nothing of what they draw.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import cv2
import numpy as np

from faceattr_aio.errors import StartError
from faceattr_aio.pipelines import openvino as openvino_runtime
from faceattr_aio.pipelines.anime import Backend
from faceattr_aio.pipelines.anime.generator import Network
from faceattr_aio.pipelines.imaging import Floats

_CHANNELS = 3
IS_OPENCV_4: Final = int(cv2.__version__.partition(".")[0]) < 5  # noqa: PLR2004  # it draws something else


class Cv2Network:
    """A net that `cv2.dnn` runs."""

    def __init__(self, net: cv2.dnn.Net, *, channels_last: bool) -> None:
        self._net = net
        self._channels_last = channels_last

    def run(self, picture: Floats) -> Floats:
        """See Network."""
        blob = picture if self._channels_last else picture.transpose(2, 0, 1)
        self._net.setInput(np.ascontiguousarray(blob[None]))
        drawn: Floats = np.asarray(self._net.forward(), np.float32)[0]
        return drawn if self._channels_last else drawn.transpose(1, 2, 0)


class OpenVinoNetwork:
    """A net that OpenVINO runs."""

    def __init__(self, request: Any, *, channels_last: bool) -> None:
        self._request = request
        self._channels_last = channels_last

    def run(self, picture: Floats) -> Floats:
        """See Network."""
        blob = picture if self._channels_last else picture.transpose(2, 0, 1)
        outputs = self._request.infer([np.ascontiguousarray(blob[None])])
        drawn: Floats = np.asarray(next(iter(outputs.values())), np.float32)[0]
        return drawn if self._channels_last else drawn.transpose(1, 2, 0)


def _with_cv2(data: bytes, *, channels_last: bool) -> Network:
    if IS_OPENCV_4:
        raise StartError(
            "OpenCV 4 cannot run generators of drawings: install 'opencv-python-headless>=5', "
            "or set backend = 'openvino', after pip install 'faceattr-aio[openvino]'."
        )
    net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8), engine=cv2.dnn.ENGINE_CLASSIC)
    return Cv2Network(net, channels_last=channels_last)


def _with_openvino(data: bytes, *, channels_last: bool) -> Network:
    openvino = openvino_runtime.load()
    model = openvino.Core().read_model(data, b"")
    model.reshape([1, -1, -1, _CHANNELS] if channels_last else [1, _CHANNELS, -1, -1])
    return OpenVinoNetwork(openvino_runtime.compile_net(openvino, model), channels_last=channels_last)


READ: Mapping[Backend, Callable[..., Network]] = {"cv2": _with_cv2, "openvino": _with_openvino}
"""Reads the bytes of an ONNX file."""
