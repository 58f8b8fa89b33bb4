"""Nets that look at a square of pixels, on OpenVINO. Only the outputs that are wanted are computed. Knows nothing of
what the numbers mean.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from faceattr_aio.pipelines import openvino as openvino_runtime
from faceattr_aio.pipelines.imaging import Floats, Pixels

Range = Literal["0..1", "-1..1"]
_RANGES: dict[Range, tuple[float, float]] = {"0..1": (0.0, 255.0), "-1..1": (127.5, 127.5)}
"""What is taken from a pixel, and by what the rest is divided."""


class Network(Protocol):
    """A loaded net whose input is `side` x `side` pixels. Not safe for threads."""

    side: int

    def run(self, pixels: Pixels) -> tuple[Floats, ...]:
        """The outputs, in the order in which they were named, without the dimension for the picture."""


class OpenVinoNetwork:
    """A net that OpenVINO runs, on one picture at a time."""

    def __init__(self, request: Any, side: int) -> None:
        self.side = side
        self._request = request

    def run(self, pixels: Pixels) -> tuple[Floats, ...]:
        """See Network."""
        outputs = self._request.infer([pixels[None]], share_inputs=True)
        return tuple(np.asarray(output)[0] for output in outputs.values())


def read(path: Path, outputs: Sequence[str], values: Range) -> Network:
    """The net in a .tflite file that takes red, green and blue in the range `values`.

    Raises StartError where OpenVINO cannot be imported.
    """
    openvino = openvino_runtime.load("holistic", otherwise="")
    whole = openvino.Core().read_model(path)
    wanted = openvino.Model([whole.output(name) for name in outputs], whole.get_parameters())
    model = _for_pixels(openvino, wanted, *_RANGES[values])
    return OpenVinoNetwork(openvino_runtime.compile_net(openvino, model), model.input().shape[1])


def _for_pixels(openvino: Any, model: Any, mean: float, scale: float) -> Any:
    """The net with the way from our pixels to its numbers before it."""
    colours = openvino.preprocess.ColorFormat
    prepared = openvino.preprocess.PrePostProcessor(model)
    picture = prepared.input()
    picture.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    picture.tensor().set_color_format(colours.BGR)
    picture.model().set_layout(openvino.Layout("NHWC"))
    steps = picture.preprocess().convert_element_type(openvino.Type.f32).convert_color(colours.RGB)
    steps.mean(mean).scale(scale)
    return prepared.build()
