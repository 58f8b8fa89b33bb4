"""The pipeline that all peers serve, loaded as a worker of faceattr_aio does."""

import tempfile
from pathlib import Path
from typing import Any

from bench.speed.ceiling import load
from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines.faces import FaceOptions


class Model:
    """The loaded nets, on one thread of OpenCV. Not thread-safe."""

    def __init__(self) -> None:
        self._pipeline = load()

    def analyze(self, path: Path) -> dict[str, Any]:
        """The faces in a picture on disk, as in the answer of `faceattr-aio serve`."""
        return self._pipeline.predict(path, FaceOptions(), Clock())

    def analyze_bytes(self, picture: bytes) -> dict[str, Any]:
        """The same for a picture in memory, which is written to a file because the pipeline reads files."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(picture)
            file.flush()
            return self.analyze(Path(file.name))
