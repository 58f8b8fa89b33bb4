"""The generators of all styles, from their files: each proves as it is loaded that it takes pictures of any size. One
at a time is ready to draw, for each keeps the memory that its last picture took. Knows no picture.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from faceattr_aio.errors import BadOption, StartError
from faceattr_aio.pipelines.anime import Backend
from faceattr_aio.pipelines.anime.generator import Network
from faceattr_aio.pipelines.anime.networks import READ

_SHAPES = (32, 64, 3), (64, 32, 3)


class Generators:
    """By style. Raises StartError for a file that is missing or that does not draw."""

    def __init__(self, files: Mapping[str, Path], backend: Backend) -> None:
        self._read = READ[backend]
        self._data = {style: _read_file(path) for style, path in files.items()}
        self._channels_last = {style: self._prove(style, path) for style, path in files.items()}
        self._ready: tuple[str, Network] | None = None

    @property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of the file of each style."""
        return {style: hashlib.sha256(data).hexdigest() for style, data in self._data.items()}

    def __getitem__(self, style: str) -> Network:
        """Raises BadOption for a style that is gone since the request came in."""
        if style not in self._data:
            raise BadOption(f"style: there is no such style; there are {', '.join(self._data)}.")
        if self._ready is None or self._ready[0] != style:
            self._ready = None  # its memory before that of the next
            self._ready = style, self._load(style, channels_last=self._channels_last[style])
        return self._ready[1]

    def _load(self, style: str, *, channels_last: bool) -> Network:
        return self._read(self._data[style], channels_last=channels_last)

    def _prove(self, style: str, path: Path) -> bool:
        """Whether the channels come last."""
        for channels_last in (True, False):
            try:
                network = self._load(style, channels_last=channels_last)
                if all(_draws(network, shape) for shape in _SHAPES):
                    return channels_last
            except (cv2.error, RuntimeError, ValueError):
                continue
        raise StartError(
            f"The file {path} is no generator in ONNX that draws a picture of any size; see docs/anime.md."
        )


def _draws(network: Network, shape: tuple[int, int, int]) -> bool:
    """Whether a picture comes back, and one that is not of one colour."""
    drawn = network.run(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape))
    return drawn.shape == shape and bool(np.isfinite(drawn).all()) and float(np.ptp(drawn)) > 0


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"The file {path} cannot be read: {error.strerror}.") from error
