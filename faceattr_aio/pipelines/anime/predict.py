"""The anime pipeline in a worker: decode, redraw and encode."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from faceattr_aio.errors import BadOption, StartError, TooManyPixels
from faceattr_aio.pipeline import Clock, LoadSpec
from faceattr_aio.pipelines import Backend, imaging
from faceattr_aio.pipelines.anime import AnimeOptions, AnimeSettings
from faceattr_aio.pipelines.imaging import Floats, Pixels
from faceattr_aio.pipelines.nets import IS_OPENCV_4, Network, read_network

Result = dict[str, Any]


class AnimePipeline:
    """The generators of one worker. Not thread-safe: each worker has its own."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load and test the generators. Raises StartError when one cannot be used here."""
        settings = spec.settings
        assert isinstance(settings, AnimeSettings)
        if spec.own_process:
            imaging.limit_threads()
        files = {style: spec.files[name].path for style, name in settings.published.items()} | settings.files
        self._generators = Generators(files, settings.backend)
        self.models = {f"anime-{style}": digest for style, digest in self._generators.hashes.items()}
        self._working_side = spec.working_side
        self._drawn: dict[Path, Pixels] = {}

    def predict(self, path: Path, options: AnimeOptions, clock: Clock) -> Result:
        """Draw the picture, keep the drawing for `encode`, and return its `width` and `height` in pixels and `style`.

        Raises BadOption, UnreadableImage, TooComplex or TooManyPixels.
        """
        side = min(options.max_side, self._working_side)
        # A JPEG may be decoded to less than the given side: twice the side leaves enough to scale down.
        pixels = imaging.shrink(imaging.read(path, 2 * side).pixels, side)
        clock.lap("decode")
        drawn = convert(self._generators[options.style], pixels)
        clock.lap("convert")
        self._drawn = {path: drawn}
        height, width = drawn.shape[:2]
        return {"width": width, "height": height, "style": options.style}

    def encode(self, result: Result, media_type: str, path: Path) -> bytes:  # noqa: ARG002  # it is in the picture
        """Return the drawing of the last predicted picture, encoded as `media_type`."""
        return imaging.encode(self._drawn.pop(path), media_type)

    def close(self) -> None:
        """Do nothing: the pipeline holds only memory."""


_STEP = 32
"""The sides of a generator's input are multiples of it."""
_HALF = 127.5
_TEST_SHAPES = (32, 64, 3), (64, 32, 3)


@dataclass(frozen=True)
class Generator:
    """A loaded generator, with its channels last (TensorFlow) or first (PyTorch). Not thread-safe."""

    network: Network
    channels_last: bool

    def run(self, picture: Floats) -> Floats:
        """Redraw a picture: height x width x 3 (float32; red, green, blue; -1 to 1), both sides multiples of 32.

        The result has the same form, but may exceed the range.
        """
        (drawn, *_) = self.network.run(picture if self.channels_last else picture.transpose(2, 0, 1))
        return drawn if self.channels_last else drawn.transpose(1, 2, 0)


class Generators:
    """The generators of all styles. Only the last one used stays loaded, because each keeps its working memory.

    Not thread-safe.
    """

    def __init__(self, files: Mapping[str, Path], backend: Backend) -> None:
        """Read the ONNX file of each style and test that it draws pictures of any size.

        Raises:
            StartError: a file is missing or is no such generator, or the backend cannot run it.

        """
        self._backend: Backend = backend
        self._data = {style: _read_file(path) for style, path in files.items()}
        if backend == "cv2" and IS_OPENCV_4:
            raise StartError(
                "OpenCV 4 cannot run generators of drawings: install 'opencv-python-headless>=5', "
                "or set backend = 'openvino', after pip install 'faceattr-aio[openvino]'."
            )
        self._channels_last = {style: self._find_layout(style, path) for style, path in files.items()}
        self._loaded: tuple[str, Generator] | None = None

    @property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of the file of each style."""
        return {style: hashlib.sha256(data).hexdigest() for style, data in self._data.items()}

    def __getitem__(self, style: str) -> Generator:
        """Return the loaded generator. Raises BadOption if a reload removed the style after the request was parsed."""
        if style not in self._data:
            raise BadOption(f"style: there is no such style; there are {', '.join(self._data)}.")
        if self._loaded is None or self._loaded[0] != style:
            self._loaded = None  # frees its memory before the next one is loaded
            self._loaded = style, self._load(style, channels_last=self._channels_last[style])
        return self._loaded[1]

    def _load(self, style: str, *, channels_last: bool) -> Generator:
        shape = (1, -1, -1, 3) if channels_last else (1, 3, -1, -1)
        return Generator(read_network(self._data[style], self._backend, shape), channels_last)

    def _find_layout(self, style: str, path: Path) -> bool:
        """Return True if the channels are last, found by drawing with either layout."""
        for channels_last in (True, False):
            with suppress(cv2.error, RuntimeError, ValueError, IndexError):
                generator = self._load(style, channels_last=channels_last)
                if all(_draws(generator, shape) for shape in _TEST_SHAPES):
                    return channels_last
        raise StartError(
            f"The file {path} is no generator in ONNX that draws a picture of any size; see docs/anime.md."
        )


def _draws(generator: Generator, shape: tuple[int, int, int]) -> bool:
    """Return True if the result is a picture of the same shape and not of one colour."""
    drawn = generator.run(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape))
    return drawn.shape == shape and bool(np.isfinite(drawn).all()) and float(np.ptp(drawn)) > 0


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"The file {path} cannot be read: {error.strerror}.") from error


def convert(generator: Generator, pixels: Pixels) -> Pixels:
    """Redraw the picture at its size, padded by reflection to sides that the generator can halve.

    Raises TooManyPixels when the worker's memory does not suffice.
    """
    height, width = pixels.shape[:2]
    try:
        padded = cv2.copyMakeBorder(pixels, 0, -height % _STEP, 0, -width % _STEP, cv2.BORDER_REFLECT_101)
        drawn = generator.run(padded[..., ::-1].astype(np.float32) / _HALF - 1)[:height, :width, ::-1]
        return np.asarray(((drawn + 1) * _HALF).clip(0, 255).round(), np.uint8)
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        message = "Drawing the picture takes more memory than allowed: ask for a smaller max_side."
        raise TooManyPixels.from_exception(error, message) from error
